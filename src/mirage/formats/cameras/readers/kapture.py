"""Kapture folders: sensors/sensors.txt, trajectories.txt, perhaps rigs.txt and records_camera.txt; comma separated.
https://github.com/naver/kapture/blob/main/kapture_format.adoc

Trajectories are `timestamp, device, qw, qx, qy, qz, tx, ty, tz`, world-to-device; rigs `rig, sensor, qw .. tz` are
rig-to- sensor; cameras have COLMAP's models, in pixels. OpenCV axes.
"""

from pathlib import Path

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.colmapfiles import MODELS, Lens, intrinsics_of
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.quaternions import unit_quaternion
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers, read_text
from mirage.geometry.pose import make_pose, rotation_from_quaternion

ACCEPTS = "a Kapture file (comma separated text)"
DEPTH = 8  # of rigs within rigs


def sniff(content: Content) -> bool:
    """sensors/ with sensors.txt and trajectories.txt."""
    return _sensors(content.path) is not None


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses of one camera, in order of time."""
    folder = _sensors(content.path)
    assert folder is not None
    source = str(folder)
    cameras = {}
    for where, words in _rows(folder / "sensors.txt"):
        if len(words) > 2 and words[2] == "camera":
            cameras[words[0]] = (where, words[3:])
    rigs: dict[str, list[tuple[str, Tensor]]] = {}
    if (folder / "rigs.txt").exists():
        for where, words in _rows(folder / "rigs.txt"):
            if len(words) != 9:
                raise InputError(f"{where} has {len(words)} values; a rig has 9 (rig, sensor, qw qx qy qz tx ty tz)")
            rigs.setdefault(words[0], []).append((words[1], _pose(words[2:], where=where)))
    poses: dict[str, dict[int, Tensor]] = {}
    for where, words in _rows(folder / "trajectories.txt"):
        if len(words) != 9:
            raise InputError(f"{where} has {len(words)} values; a trajectory has 9 (time, device, qw .. tz)")
        if "" in words[2:]:
            continue  # Kapture allows a rotation or a position alone
        for sensor, pose in _mounted(words[1], _pose(words[2:], where=where), rigs, where=where):
            if sensor in cameras:
                poses.setdefault(sensor, {})[_time(words[0], where=where)] = pose
    check_count(sum(map(len, poses.values())), source=source)
    chosen = options.camera
    if chosen is None and len(poses) == 1:
        chosen = next(iter(poses))
    if chosen not in poses:
        listed = ", ".join(f"{name[:60]} ({len(found)} poses)" for name, found in list(poses.items())[:6])
        if options.camera is None:
            raise InputError(
                f"{source} has several cameras, which are not one walk: {listed}; expected the option camera to say one"
            )
        raise InputError(f"{source} has no camera {chosen!r}; it has {listed}")
    stamps = sorted(poses[chosen])
    lens = _lens(chosen, *cameras[chosen])
    values, bent, odd = (None, None, []) if lens is None else intrinsics_of(lens, source=source)
    images = _images(folder, chosen)
    nanoseconds = stamps[0] > 10**14
    return Poses(
        torch.stack([poses[chosen][stamp] for stamp in stamps]),
        "w2c",
        values,
        units="pixels",
        pixel_centers="half",
        quaternion="wxyz",
        confidence="stated",
        times=torch.tensor(stamps, dtype=torch.float64) / 1e9 if nanoseconds else None,
        names=tuple(images[stamp] for stamp in stamps) if all(stamp in images for stamp in stamps) else None,
        size=lens.size if lens is not None else None,
        lens=bent,
        warnings=tuple(odd),
    )


def _sensors(folder: Path) -> Path | None:
    for place in (folder / "sensors", folder):
        if (place / "sensors.txt").is_file() and (place / "trajectories.txt").is_file():
            return place
    return None


def _rows(file: Path):
    for number, line in enumerate(read_text(file, accepts=ACCEPTS).splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield f"{file}: line {number}", [word.strip() for word in line.split(",")]


def _pose(words: list[str], *, where: str) -> Tensor:
    values = numbers(words, where=where)
    unit_quaternion(values[:4], where=where)
    w, x, y, z, *translation = values
    rotation = rotation_from_quaternion(torch.tensor([x, y, z, w], dtype=torch.float64))
    return make_pose(rotation, torch.tensor(translation, dtype=torch.float64))


def _mounted(device: str, pose: Tensor, rigs: dict, *, where: str, depth: int = 0) -> list[tuple[str, Tensor]]:
    """The sensors on a device with their poses; a device that is no rig is its own."""
    if device not in rigs:
        return [(device, pose)]
    if depth == DEPTH:
        raise InputError(f"{where}: the rig {device!r} holds rigs more than {DEPTH} deep")
    found = []
    for sensor, from_rig in rigs[device]:
        found += _mounted(sensor, from_rig @ pose, rigs, where=where, depth=depth + 1)
    return found


def _time(word: str, *, where: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 20):
        raise InputError(f"{where} has the time stamp {word[:40]!r}; expected a whole number")
    return int(word)


def _lens(name: str, where: str, words: list[str]) -> Lens | None:
    if words[:1] == ["UNKNOWN_CAMERA"] or not words:
        return None
    if words[0] not in MODELS or len(words) < 3:
        raise InputError(f"{where}: camera {name!r} has the model {words[0][:40]!r}; accepted: {', '.join(MODELS)}")
    width, height, *parameters = numbers(words[1:], where=where)
    if not (1 <= width <= 1e6 and 1 <= height <= 1e6):
        raise InputError(f"{where} has an image of {width:g} x {height:g}; expected at least 1 x 1")
    return Lens(name, words[0], (round(height), round(width)), tuple(parameters))


def _images(folder: Path, camera: str) -> dict[int, str]:
    if not (folder / "records_camera.txt").is_file():
        return {}
    rows = _rows(folder / "records_camera.txt")
    return {_time(words[0], where=where): words[2] for where, words in rows if len(words) > 2 and words[1] == camera}


FORMAT = CameraFormat("kapture", "Kapture folder", "folder", sniff, read)
