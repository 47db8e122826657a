"""camera_path.json of nerfstudio's viewer: camera-to-world, OpenGL axes, 16 numbers; `fov` is vertical, in degrees, and
the aspect that of render_width and render_height (an entry's own `aspect` is often 1). https://docs.nerf.studio

`camera_path[].camera_to_world` is by rows. `keyframes[].matrix` is by columns in old exports (three.js, a JSON string)
and by rows in new ones (viser): where the translation stands says which.
"""

import json
import math
from typing import Any

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import by_rows
from mirage.formats.cameras.pixels import sides
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers, reason


def sniff(content: Content) -> bool:
    """A camera path, or its key frames."""
    return isinstance(content.document, dict) and bool({"camera_path", "keyframes"} & content.keys)


def read(content: Content, options: CameraOptions) -> Poses:
    """The path; its key frames where it has no path."""
    document, source = content.document, content.source
    kind = str(document.get("camera_type", "perspective"))
    if kind not in ("perspective", "fisheye"):
        raise InputError(f"{source} has the camera type {kind[:40]!r}; accepted: perspective, fisheye")
    entries, key, warnings = document.get("camera_path"), "camera_to_world", []
    if not entries:
        entries, key = document.get("keyframes"), "matrix"
        warnings.append("it has no path between its key frames: the key frames themselves are read")
    if not isinstance(entries, list):
        raise InputError(f"{source} has no list 'camera_path'; expected nerfstudio's camera_path.json")
    check_count(len(entries), source=source)
    size = options.size
    if size is None and {"render_height", "render_width"} <= document.keys():
        size = sides(document, "render_height", "render_width", where=source)
    rows, intrinsics = [], []
    for index, entry in enumerate(entries):
        where = f"{source}: {'frame' if key == 'camera_to_world' else 'key frame'} {index}"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is a {type(entry).__name__}; expected an object with {key!r}")
        rows.append(_sixteen(entry.get(key), where=f"{where}: {key!r}"))
        fov = numbers([entry.get("fov", document.get("default_fov", 50.0))], where=f"{where}: 'fov'")[0]
        if not 0 < fov < 180:
            raise InputError(f"{where} has the fov {fov:g}; expected degrees between 0 and 180")
        fy = 0.5 / math.tan(math.radians(fov) / 2)
        aspect = size[1] / size[0] if size else _aspect(entry, where=where)
        intrinsics.append([fy / aspect, fy, 0.5, 0.5])
    if size is None:
        warnings.append("it has no render size: the aspect of its entries is taken")
    fps = document.get("fps")
    times = None
    if key == "camera_to_world" and isinstance(fps, int | float) and 0 < fps < 1e6:
        times = torch.arange(len(rows), dtype=torch.float64) / fps
    return Poses(
        by_rows(torch.tensor(rows, dtype=torch.float64), source=source, usual="columns" if key == "matrix" else "rows"),
        "c2w",
        torch.tensor(intrinsics, dtype=torch.float64),
        axes="opengl",
        units="normalized",
        confidence="stated",
        times=times,
        size=size,
        lens="fisheye" if kind == "fisheye" else None,
        warnings=tuple(warnings),
    )


def _sixteen(value: Any, *, where: str) -> list[float]:
    if isinstance(value, str):
        try:
            value = json.loads(value[:10_000])
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is no list in a string ({reason(error)}); expected 16 numbers") from error
    if isinstance(value, list) and len(value) == 4 and all(isinstance(row, list) and len(row) == 4 for row in value):
        value = [number for row in value for number in row]
    if not isinstance(value, list) or len(value) != 16:
        raise InputError(f"{where} is no list of 16 numbers")
    return numbers(value, where=where)


def _aspect(entry: dict[str, Any], *, where: str) -> float:
    aspect = numbers([entry.get("aspect", 1.0)], where=f"{where}: 'aspect'")[0]
    if not 0.01 < aspect < 100:
        raise InputError(f"{where} has the aspect {aspect:g}; expected width over height")
    return aspect


FORMAT = CameraFormat("camera_path", "nerfstudio camera_path.json", "json", sniff, read)
