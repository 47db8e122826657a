"""transforms.json, one layout with three customs. Camera-to-world 4x4 in OpenGL camera axes (y up, z backward), pixels
with the centre of the first at (0.5, 0.5), intrinsics for all frames or per frame.

    nerfstudio     where a key stands at the top and in a frame, the top wins. https://docs.nerf.studio
    instant-ngp    the frame wins; also camera_angle_x/y, x_fov/y_fov, is_fisheye, equirectangular, ...
                   github.com/NVlabs/instant-ngp
    Blender        NeRF-synthetic: camera_angle_x alone, no size. github.com/bmild/nerf
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.content import ACCEPTS, CameraFormat, Content, parsed
from mirage.formats.cameras.matrices import flat
from mirage.formats.cameras.pixels import distortion, sides, unit_square
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.cameras.walks import one_walk
from mirage.formats.image import image_size
from mirage.formats.source import numbers, read_text

PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
BENT = ("OPENCV_FISHEYE", "FISHEYE624", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "THIN_PRISM_FISHEYE")
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y", "x_fov", "y_fov")
FLAT = ("equirectangular", "latlong", "orthographic")  # instant-ngp's words for what is no perspective camera
OF_NGP = ("aabb_scale", "is_fisheye", "x_fov", "y_fov", *FLAT)
OF_NERFSTUDIO = ("camera_model", "applied_transform", "ply_file_path", "orientation_override", "train_filenames")
FILES = ("transforms.json", "transforms_train.json")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def sniff_nerfstudio(content: Content) -> bool:
    """A list of frames, or of nothing that another format knows."""
    return _sniff(content) == "nerfstudio"


def sniff_ngp(content: Content) -> bool:
    """With keys that only instant-ngp has."""
    return _sniff(content) == "instant-ngp"


def sniff_blender(content: Content) -> bool:
    """An angle and no size."""
    return _sniff(content) == "blender"


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the natural order of their images' names (files list them in any order)."""
    document, source = content.document, content.source
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list):
        raise InputError(f"{source} has no list 'frames'; expected a transforms.json")
    check_count(len(frames), source=source)
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise InputError(
                f"{source}: frame {index} is a {type(frame).__name__}; expected an object with 'transform_matrix'"
            )
    names = [str(frame.get("file_path", "")) for frame in frames]
    warnings: list[str] = []
    if all(names):
        order, said = one_walk(names, options, source=source)
        warnings += said
    else:
        order = list(range(len(frames)))
    top = {key: value for key, value in document.items() if key != "frames"}
    top_wins = _top_wins(top, frames, options, source=source)
    rows, lens = [], None
    known: dict[tuple, tuple[Tensor, str | None, list[str], tuple[int, int] | None]] = {}
    size = None
    for index in order:
        where = f"{source}: frame {index}"
        own = {key: value for key, value in frames[index].items() if key in KEYS}
        merged = {**own, **top} if top_wins else {**top, **own}
        key = tuple(sorted((k, repr(v)) for k, v in merged.items() if k in KEYS))
        if key not in known:
            known[key] = _intrinsics(merged, content.path, names[index], options, where=where)
        unit, bent, odd, size = known[key]
        rows.append(unit)
        lens = lens or bent
        warnings += [words for words in odd if words not in warnings]
    poses = [_pose(frames[index], where=f"{source}: frame {index}") for index in order]
    matrices = stacked(poses)
    if torch.isfinite(matrices).all():
        check_bottom_row(matrices, source=source)
    return Poses(
        matrices,
        "c2w",
        torch.stack(rows),
        axes="opengl",
        units="pixels",
        pixel_centers=options.pixel_centers or "half",
        names=tuple(names[index] for index in order) if all(names) else None,
        size=size,
        lens=lens,
        warnings=tuple(warnings),
    )


KEYS = (*FOCAL, "w", "h", "cx", "cy", "camera_model", "is_fisheye", "distortion_params", *DISTORTION, *FLAT)


def _sniff(content: Content) -> str | None:
    document = content.document
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        return None
    frames = document["frames"]
    first = frames[0] if frames and isinstance(frames[0], dict) else {}
    if any(key in document or key in first for key in OF_NERFSTUDIO):
        return "nerfstudio"
    if any(key in document or key in first for key in OF_NGP):
        return "instant-ngp"
    angle = "camera_angle_x" in document and not {"w", "h", "fl_x"} & (document.keys() | first.keys())
    return "blender" if angle else "nerfstudio"


def _top_wins(top: Mapping[str, Any], frames: list[dict], options: CameraOptions, *, source: str) -> bool:
    """Whose value counts where the top of the file and a frame have the same key."""
    both = [key for key in KEYS if key in top and any(key in frame and frame[key] != top[key] for frame in frames)]
    if not both or options.read_as is not None:
        return options.read_as == "nerfstudio"
    ngp = any(key in top or key in frames[0] for key in OF_NGP)
    if ngp != any(key in top or key in frames[0] for key in OF_NERFSTUDIO):
        return not ngp
    key = both[0]
    other = next(frame[key] for frame in frames if key in frame and frame[key] != top[key])
    raise InputError(
        f"{source} has {key} {str(top[key])[:20]} at the top and {str(other)[:20]} in a frame: nerfstudio reads the "
        "top, instant-ngp the frame; expected the option read-as to say 'nerfstudio' or 'instant-ngp'"
    )


def _pose(frame: Mapping[str, Any], *, where: str) -> list[float]:
    if not isinstance(frame.get("transform_matrix"), list):
        raise InputError(f"{where} has no 4x4 'transform_matrix'")
    values = flat(frame["transform_matrix"], where=f"{where}: 'transform_matrix'")
    return values if len(values) == 16 else [*values, 0.0, 0.0, 0.0, 1.0]


def _intrinsics(
    values: Mapping[str, Any], file: Path, name: str, options: CameraOptions, *, where: str
) -> tuple[Tensor, str | None, list[str], tuple[int, int] | None]:
    """Fractions of the image, the distortion in words, what is odd, and the size."""
    lens = _lens(values, where=where)
    if not any(key in values for key in FOCAL):
        raise InputError(f"{where} lacks intrinsics; expected w, h and fl_x, fl_y, cx, cy (or camera_angle_x)")
    size = options.size or _size(values, file, name, where=where)
    if size is None:
        return *_without_size(values, options, where=where), None
    height, width = size
    fx = _focal(values, "x", width, where=where)
    fy = _focal(values, "y", height, where=where)
    fx, fy = (fx or fy), (fy or fx)
    assert fx is not None
    assert fy is not None
    cx, cy = numbers([values.get("cx", width / 2), values.get("cy", height / 2)], where=where)
    row = torch.tensor([fx, fy, cx, cy], dtype=torch.float64)
    unit, odd = unit_square(row, size, pixel_centers=options.pixel_centers or "half", source=where)
    return unit, lens, odd, size


def _without_size(
    values: Mapping[str, Any], options: CameraOptions, *, where: str
) -> tuple[Tensor, str | None, list[str]]:
    """An angle needs no size; the other side follows from the aspect of whoever asks, or from 4:3."""
    wide, high = _angle(values, "x", where=where), _angle(values, "y", where=where)
    if wide is None and high is None:
        raise InputError(f"{where} lacks the images' size; expected w and h beside fl_x, or the option size (H, W)")
    fx, fy = (None if angle is None else 0.5 / math.tan(angle / 2) for angle in (wide, high))
    given = options.intrinsics
    aspect = 4 / 3 if given is None else float(given[1] / given[0])
    said = []
    if fx is None or fy is None:
        said.append(
            "it does not tell the images' size: their other field of view is "
            + ("that of square pixels at 4:3" if given is None else "that of square pixels at the image's aspect")
        )
    if fx is None:
        assert fy is not None
        fx = fy / aspect
    unit = torch.tensor([fx, fx * aspect if fy is None else fy, 0.5, 0.5], dtype=torch.float64)
    return unit, _lens(values, where=where), said


def _lens(values: Mapping[str, Any], *, where: str) -> str | None:
    flat_world = [key for key in FLAT if values.get(key) is True]
    model = str(values.get("camera_model", "OPENCV")).upper()
    if flat_world or model not in (*PINHOLES, *BENT):
        got = f"is {flat_world[0]}" if flat_world else f"has the camera model {model[:40]!r}"
        raise InputError(f"{where} {got}; accepted: {', '.join((*PINHOLES, *BENT))}")
    coefficients = {key: numbers([values[key]], where=where)[0] for key in DISTORTION if key in values}
    given = values.get("distortion_params")
    if given is not None:
        if not isinstance(given, list) or len(given) > 12:
            raise InputError(f"{where} has distortion_params {str(given)[:40]}; expected k1 k2 k3 k4 p1 p2")
        found = numbers(given, where=f"{where}: distortion_params")
        coefficients |= dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), found, strict=False))
    words = distortion(coefficients)
    if values.get("is_fisheye") is True or model in BENT:
        return "fisheye" + (f" {words}" if words else "")
    return words


def _size(values: Mapping[str, Any], file: Path, name: str, *, where: str) -> tuple[int, int] | None:
    """(H, W) as the file says, else that of the image itself, else twice the principal point."""
    if "w" in values and "h" in values:
        return sides(values, "h", "w", where=where)
    for image in (file.parent / name, file.parent / f"{name}.png"):
        if name and "\0" not in name and len(name) < 1000 and image.suffix.lower() in PICTURES and image.is_file():
            return image_size(image)
    if "fl_x" in values and "cx" in values and "cy" in values:
        return sides(
            {axis: 2 * numbers([values[axis]], where=where)[0] for axis in ("cx", "cy")}, "cy", "cx", where=where
        )
    return None


def _focal(values: Mapping[str, Any], axis: str, side: int, *, where: str) -> float | None:
    if f"fl_{axis}" in values:
        return numbers([values[f"fl_{axis}"]], where=where)[0]
    angle = _angle(values, axis, where=where)
    return None if angle is None else side / 2 / math.tan(angle / 2)


def _angle(values: Mapping[str, Any], axis: str, *, where: str) -> float | None:
    for key, unit in ((f"camera_angle_{axis}", 1.0), (f"{axis}_fov", math.pi / 180)):
        if key in values:
            angle = numbers([values[key]], where=where)[0] * unit
            if not 0 < angle < math.pi:
                raise InputError(f"{where} has {key} {values[key]:g}; expected an angle between 0 and 180 degrees")
            return angle
    return None


def sniff_folder(content: Content) -> bool:
    """transforms.json, or the training half of Blender's."""
    return any((content.path / name).is_file() for name in FILES)


def read_folder(content: Content, options: CameraOptions) -> Poses:
    """The folder's transforms.json, by whichever custom."""
    file = next(content.path / name for name in FILES if (content.path / name).is_file())
    return read(Content(file, "json", document=parsed(read_text(file, accepts=ACCEPTS), source=str(file))), options)


NERFSTUDIO = CameraFormat("nerfstudio", "nerfstudio transforms.json", "json", sniff_nerfstudio, read)
INSTANT_NGP = CameraFormat("instant-ngp", "instant-ngp transforms.json", "json", sniff_ngp, read)
BLENDER = CameraFormat("blender", "Blender (NeRF-synthetic) transforms.json", "json", sniff_blender, read)
FOLDER = CameraFormat("nerfstudio-folder", "folder with transforms.json", "folder", sniff_folder, read_folder)
