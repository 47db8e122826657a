"""The files of a COLMAP model, text and binary, without keypoints and points. https://colmap.github.io/format.html

Nothing but what poses need is held: the points line of an image is looked at, not split, and in binary files skipped by
seeking, so that a model of any size opens in the time its disk takes.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.pixels import distortion, unit_square
from mirage.formats.cameras.poses import MAX_FRAMES
from mirage.formats.cameras.quaternions import unit_quaternion
from mirage.formats.source import MIB, numbers, reason, regular_file

ACCEPTS = "a COLMAP model (cameras and images, .txt or .bin)"
LINE = 64 * MIB  # of keypoints in one image: a million
FILE = 64 * 1024 * MIB
HEADING = 4096  # bytes of an image's own line
T = TypeVar("T")

_F, _FF = ("f", "cx", "cy"), ("fx", "fy", "cx", "cy")
MODELS: dict[str, tuple[str, ...] | None] = {
    "SIMPLE_PINHOLE": _F,
    "PINHOLE": _FF,
    "SIMPLE_RADIAL": (*_F, "k"),
    "RADIAL": (*_F, "k1", "k2"),
    "OPENCV": (*_FF, "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": (*_FF, "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": (*_FF, "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "FOV": (*_FF, "omega"),
    "SIMPLE_RADIAL_FISHEYE": (*_F, "k"),
    "RADIAL_FISHEYE": (*_F, "k1", "k2"),
    "THIN_PRISM_FISHEYE": (*_FF, "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "RAD_TAN_THIN_PRISM_FISHEYE": (*_FF, *(f"k{i}" for i in range(6)), "p0", "p1", "s0", "s1", "s2", "s3"),
    "SIMPLE_DIVISION": (*_F, "k"),
    "DIVISION": (*_FF, "k"),
    "SIMPLE_FISHEYE": _F,
    "FISHEYE": _FF,
    "EUCM": (*_FF, "alpha", "beta"),
    "EQUIRECTANGULAR": None,
}
"""Camera models by name, in the order of their numbers in binary files, with their parameters (pycolmap 4.2.1)."""
PERSPECTIVE = tuple(name for name, parameters in MODELS.items() if parameters)
BENT = tuple(name for name in PERSPECTIVE if "FISHEYE" in name or name == "EUCM")  # no pinhole even with zeros


@dataclass(frozen=True)
class Lens:
    """A camera: its model's name, the images' (H, W), the model's parameters. `id` is only for messages."""

    id: int | str
    model: str
    size: tuple[int, int]
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class Image:
    """A registered image: `pose` is qw qx qy qz tx ty tz, world-to-camera."""

    id: int
    pose: tuple[float, ...]
    camera: int
    name: str


@dataclass(frozen=True)
class Rig:
    """Its reference camera, and poses sensor-from-rig of the others (None: not known)."""

    reference: int
    sensors: dict[int, tuple[float, ...] | None]


@dataclass(frozen=True)
class Frame:
    """A pose rig-from-world and the images taken there: pairs (camera, image)."""

    id: int
    rig: int
    pose: tuple[float, ...]
    images: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Model:
    """`frames` is None for models older than COLMAP 3.12."""

    cameras: dict[int, Lens]
    images: list[Image]
    rigs: dict[int, Rig]
    frames: list[Frame] | None
    warnings: tuple[str, ...] = ()

    @property
    def together(self) -> bool:
        """Whether several cameras look at once."""
        return any(len(frame.images) > 1 for frame in self.frames or ())


def intrinsics_of(camera: Lens, *, source: str) -> tuple[Tensor, str | None, list[str]]:
    """Unit-square intrinsics, the distortion in words, and what is odd."""
    where = f"{source}: camera {camera.id}"
    names = MODELS[camera.model]
    if names is None:
        raise InputError(
            f"{where} is {camera.model}, which is no perspective camera; accepted: {', '.join(PERSPECTIVE)}"
        )
    if len(camera.parameters) != len(names):
        raise InputError(f"{where} has {len(camera.parameters)} parameters; {camera.model} has {len(names)}")
    values: Mapping[str, float] = dict(zip(names, camera.parameters, strict=True))
    fx = values.get("fx", values.get("f", 0.0))
    row = torch.tensor([fx, values.get("fy", fx), values["cx"], values["cy"]], dtype=torch.float64)
    unit, odd = unit_square(row, camera.size, source=where)
    words = distortion({name: value for name, value in values.items() if name not in ("f", "fx", "fy", "cx", "cy")})
    if camera.model in BENT:
        words = f"{camera.model}" + (f" {words}" if words else "")
    elif words is not None:
        words = f"{camera.model} {words}"
    return unit, words, odd


# -- text -----------------------------------------------------------------------------------------------------------


def text_model(folder: Path) -> Model:
    """cameras.txt, images.txt and, where they are, rigs.txt and frames.txt."""
    cameras = dict(_rows(folder / "cameras.txt", _lens))
    images, said = _images(folder / "images.txt")
    if not (folder / "frames.txt").exists() or not (folder / "rigs.txt").exists():
        return Model(cameras, images, {}, None, said)
    rigs = dict(_rows(folder / "rigs.txt", _rig))
    return Model(cameras, images, rigs, list(_rows(folder / "frames.txt", _frame)), said)


def _images(file: Path) -> tuple[list[Image], tuple[str, ...]]:
    """Every image has two lines, its own and that of its points, which may be empty and has three numbers a point."""
    images: list[Image] = []
    told = None
    lines = _lines(file)
    for number, line in lines:
        if not line.strip():
            continue
        if line.startswith(b"#"):
            found = re.match(rb"#\s*Number of images:\s*(\d{1,9})", line[:200])
            told = int(found[1]) if found else told
            continue
        where = f"{file}: line {number}"
        words = _text(line[:HEADING], where=where).split(maxsplit=9)
        if len(words) != 10:
            raise InputError(f"{where} has {len(words)} columns; COLMAP has 10 (id qw qx qy qz tx ty tz camera name)")
        values = numbers(words[:9], where=where)
        unit_quaternion(values[1:5], where=where)
        images.append(Image(_id(words[0], where), tuple(values[1:8]), _id(words[8], where), words[9].strip()))
        if len(images) > MAX_FRAMES:
            raise InputError(f"{file} has more than {MAX_FRAMES} images; at most that many are accepted")
        number, points = next(lines, (number + 1, b""))
        if not _is_points(points):
            raise InputError(
                f"{file}: line {number} is not a line of points (X Y POINT3D_ID, three numbers each, or empty); have "
                "the blank lines been stripped?"
            )
    if told is not None and told != len(images):
        return images, (f"{file.name} tells of {told} images and has {len(images)}",)
    return images, ()


def _is_points(line: bytes) -> bool:
    """By its length and its first and last point; a line longer than an image's own can be no image's own."""
    if not line.strip():
        return True
    first, last = line[:300].split(), line[-100:].split()
    whole = len(line) > HEADING or len(line.split()) % 3 == 0
    return whole and len(first) >= 3 and all(re.fullmatch(rb"[+-]?\d+", word) for word in (first[2], last[-1]))


def _lens(words: list[str], where: str) -> tuple[int, Lens]:
    if len(words) < 4 or words[1] not in MODELS:
        raise InputError(
            f"{where} has the camera model {' '.join(words[1:2])[:40]!r}; accepted: {', '.join(PERSPECTIVE)}"
        )
    width, height, *parameters = numbers(words[2:], where=where)
    return _checked_lens(_id(words[0], where), words[1], (height, width), tuple(parameters), where=where)


def _checked_lens(
    id: int, model: str, size: tuple[float, float], parameters: tuple[float, ...], *, where: str
) -> tuple[int, Lens]:
    if not (1 <= size[0] <= 1e6 and 1 <= size[1] <= 1e6):
        raise InputError(f"{where} has an image of {size[1]:g} x {size[0]:g}; expected at least 1 x 1")
    return id, Lens(id, model, (round(size[0]), round(size[1])), parameters)


def _rig(words: list[str], where: str) -> tuple[int, Rig]:
    """RIG_ID NUM_SENSORS REF_TYPE REF_ID then (TYPE ID HAS_POSE [pose])."""
    if len(words) < 2 or (words[1] != "0" and len(words) < 4):
        raise InputError(f"{where} has {len(words)} columns; a rig has at least 4")
    if words[1] == "0":
        return _id(words[0], where), Rig(-1, {})
    sensors: dict[int, tuple[float, ...] | None] = {}
    at = 4
    while at < len(words):
        has = words[at + 2 : at + 3] == ["1"]
        pose = numbers(words[at + 3 : at + 10], where=where) if has else None
        if len(words) < at + 3 or (pose is not None and len(pose) != 7):
            raise InputError(f"{where} ends within a sensor; expected TYPE ID HAS_POSE and seven numbers of a pose")
        if words[at] == "CAMERA":
            sensors[_id(words[at + 1], where)] = tuple(pose) if pose else None
        at += 10 if has else 3
    return _id(words[0], where), Rig(_id(words[3], where) if words[2] == "CAMERA" else -1, sensors)


def _frame(words: list[str], where: str) -> Frame:
    """FRAME_ID RIG_ID pose NUM_DATA_IDS then (TYPE SENSOR_ID DATA_ID)."""
    if len(words) < 10 or (len(words) - 10) % 3:
        raise InputError(f"{where} has {len(words)} columns; a frame has 10 and three per image")
    pose = numbers(words[2:9], where=where)
    unit_quaternion(pose[:4], where=where)
    data = [words[at : at + 3] for at in range(10, len(words), 3)]
    taken = tuple((_id(sensor, where), _id(image, where)) for kind, sensor, image in data if kind == "CAMERA")
    return Frame(_id(words[0], where), _id(words[1], where), tuple(pose), taken)


def _rows(file: Path, parse: Callable[[list[str], str], T]) -> Iterator[T]:
    for number, line in _lines(file):
        where = f"{file}: line {number}"
        if len(line) > MIB:
            raise InputError(f"{where} has {len(line)} bytes; at most {MIB} are accepted")
        words = [] if line.startswith(b"#") else _text(line, where=where).split()
        if words:
            if number > 2 * MAX_FRAMES:
                raise InputError(f"{file} has more than {2 * MAX_FRAMES} lines")
            yield parse(words, where)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """One by one, so that a file of any size takes the memory of its longest line."""
    path = regular_file(file, accepts=ACCEPTS, limit=FILE)
    with path.open("rb", buffering=4 * MIB) as stream:
        if stream.read(3) != b"\xef\xbb\xbf":
            stream.seek(0)
        number = 0
        while line := stream.readline(LINE):
            number += 1
            if len(line) == LINE:
                raise InputError(f"{file}: line {number} is longer than {LINE // MIB} MiB")
            yield number, line


def _text(line: bytes, *, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not text ({reason(error)}); expected {ACCEPTS}") from error


def _id(word: str, where: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 20):
        raise InputError(f"{where} has the id {word[:40]!r}; expected a whole number")
    return int(word)


# -- binary ---------------------------------------------------------------------------------------------------------


def binary_model(folder: Path) -> Model:
    """cameras.bin, images.bin and, where they are, rigs.bin and frames.bin. Little-endian."""
    cameras = dict(_entries(folder / "cameras.bin", _binary_lens))
    images = list(_entries(folder / "images.bin", _binary_image))
    if not (folder / "frames.bin").exists() or not (folder / "rigs.bin").exists():
        return Model(cameras, images, {}, None)
    rigs = dict(_entries(folder / "rigs.bin", _binary_rig))
    return Model(cameras, images, rigs, list(_entries(folder / "frames.bin", _binary_frame)))


class _Reader:
    """Numbers from a binary file, with a refusal where it ends."""

    def __init__(self, stream: BinaryIO, path: Path):
        self.stream, self.path, self.size = stream, path, path.stat().st_size

    def take(self, layout: str) -> tuple:
        length = struct.calcsize("<" + layout)
        data = self.stream.read(length)
        if len(data) < length:
            raise InputError(f"{self.path} is cut: it ends within an entry; expected {ACCEPTS}")
        return struct.unpack("<" + layout, data)

    def name(self) -> str:
        start = self.stream.tell()
        data, end = b"", -1
        while end < 0 and len(data) < HEADING and (more := self.stream.read(256)):
            data += more
            end = data.find(b"\0")
        if end < 0:
            raise InputError(f"{self.path} has a name that does not end; expected {ACCEPTS}")
        self.stream.seek(start + end + 1)
        return _text(data[:end], where=str(self.path))

    def skip(self, length: int) -> None:
        if self.stream.tell() + length > self.size:
            raise InputError(f"{self.path} is cut: it tells of more than its {self.size} bytes; expected {ACCEPTS}")
        self.stream.seek(length, 1)


def _entries(file: Path, entry: Callable[[_Reader], T]) -> Iterator[T]:
    path = regular_file(file, accepts=ACCEPTS, limit=FILE)
    with path.open("rb") as stream:
        reader = _Reader(stream, path)
        (count,) = reader.take("Q")
        if count > MAX_FRAMES:
            raise InputError(f"{file} tells of {count} entries; at most {MAX_FRAMES} are accepted")
        for _ in range(count):
            yield entry(reader)


def _binary_lens(reader: _Reader) -> tuple[int, Lens]:
    id, model, width, height = reader.take("IiQQ")
    where = f"{reader.path}: camera {id}"
    if not 0 <= model < len(MODELS):
        raise InputError(f"{where} has the camera model {model}; accepted: 0 to {len(MODELS) - 1}")
    name = list(MODELS)[model]
    parameters = numbers(reader.take(f"{len(MODELS[name] or (0, 0))}d"), where=where)
    return _checked_lens(id, name, (height, width), tuple(parameters), where=where)


def _binary_image(reader: _Reader) -> Image:
    id, *pose, camera = reader.take("I7dI")
    where = f"{reader.path}: image {id}"
    numbers(pose, where=where)
    unit_quaternion(pose[:4], where=where)
    name = reader.name()
    reader.skip(24 * reader.take("Q")[0])
    return Image(id, tuple(pose), camera, name)


def _binary_rig(reader: _Reader) -> tuple[int, Rig]:
    id, count = reader.take("II")
    if count == 0:
        return id, Rig(-1, {})
    kind, reference = reader.take("iI")
    sensors: dict[int, tuple[float, ...] | None] = {}
    for _ in range(min(count, MAX_FRAMES) - 1):
        other, sensor, has = reader.take("iIB")
        pose = tuple(numbers(reader.take("7d"), where=f"{reader.path}: rig {id}")) if has else None
        if other == 0:
            sensors[sensor] = pose
    return id, Rig(reference if kind == 0 else -1, sensors)


def _binary_frame(reader: _Reader) -> Frame:
    id, rig, *pose, count = reader.take("II7dI")
    where = f"{reader.path}: frame {id}"
    numbers(pose, where=where)
    unit_quaternion(pose[:4], where=where)
    taken = [reader.take("iIQ") for _ in range(min(count, MAX_FRAMES))]
    return Frame(id, rig, tuple(pose), tuple((sensor, image) for kind, sensor, image in taken if kind == 0))
