"""OpenSfM's reconstruction.json: shots with `rotation` (axis times angle) and `translation`, world-to-camera, OpenCV
axes; focal lengths as fractions of the image's longer side. https://opensfm.org/docs/dataset.html
"""

from collections.abc import Mapping
from typing import Any

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.pixels import distortion, sides
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.cameras.walks import one_walk
from mirage.formats.source import numbers
from mirage.geometry.pose import exp_rotation, make_pose

PERSPECTIVE = ("perspective", "brown", "radial", "simple_radial")
FISHEYE = ("fisheye", "fisheye_opencv", "fisheye62", "fisheye624", "dual")
LENS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def sniff(content: Content) -> bool:
    """Objects with shots and cameras."""
    return bool(_reconstructions(content.document))


def read(content: Content, options: CameraOptions) -> Poses:
    """The largest reconstruction, its shots in the natural order of their names."""
    source = content.source
    found = _reconstructions(content.document)
    chosen = max(found, key=lambda part: len(part["shots"]))
    warnings: list[str] = []
    if len(found) > 1:
        warnings.append(f"it has {len(found)} parts that could not be joined: the largest is read")
    shots, cameras = chosen["shots"], chosen["cameras"]
    check_count(len(shots), source=source)
    names = list(shots)
    for name in names:
        if not isinstance(shots[name], dict) or str(shots[name].get("camera")) not in cameras:
            raise InputError(f"{source}: shot {name[:60]!r} names no camera that is there")
    ids = [str(shots[name]["camera"]) for name in names]
    instances = chosen.get("rig_instances")
    together = isinstance(instances, dict) and any(_shots_of(instance) > 1 for instance in instances.values())
    order, said = one_walk(names, options, source=source, cameras=ids, together=together)
    lenses = {
        id: _lens(cameras[id], where=f"{source}: camera {id[:60]!r}") for id in dict.fromkeys(ids[i] for i in order)
    }
    values = [_six(shots[names[i]], where=f"{source}: shot {names[i][:60]!r}") for i in order]
    vectors = torch.tensor(values, dtype=torch.float64)
    sizes = {size for _, _, size in lenses.values()}
    return Poses(
        make_pose(exp_rotation(vectors[:, :3]), vectors[:, 3:]),
        "w2c",
        torch.stack([lenses[ids[i]][0] for i in order]),
        units="normalized",
        confidence="stated",
        names=tuple(names[i] for i in order),
        size=sizes.pop() if len(sizes) == 1 else None,
        lens=next((words for _, words, _ in lenses.values() if words is not None), None),
        warnings=(*warnings, *said),
    )


def _reconstructions(document: Any) -> list[dict[str, Any]]:
    parts = document if isinstance(document, list) else [document]
    return [
        part
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("shots"), dict) and isinstance(part.get("cameras"), dict)
    ]


def _shots_of(instance: object) -> int:
    ids = instance.get("shot_ids", instance.get("rig_camera_ids")) if isinstance(instance, dict) else None
    return len(ids) if isinstance(ids, list | dict) else 0


def _six(shot: Mapping[str, Any], *, where: str) -> list[float]:
    rotation, translation = shot.get("rotation"), shot.get("translation")
    for part in (rotation, translation):
        if not isinstance(part, list) or len(part) != 3:
            raise InputError(f"{where} lacks 'rotation' and 'translation' of three numbers")
    return numbers([*(rotation or ()), *(translation or ())], where=where)


def _lens(camera: Any, *, where: str) -> tuple[torch.Tensor, str | None, tuple[int, int]]:
    """Unit-square intrinsics, the distortion in words, the size."""
    if not isinstance(camera, dict) or not {"width", "height"} <= camera.keys():
        raise InputError(f"{where} has no width and height")
    height, width = sides(camera, "height", "width", where=where)
    kind = str(camera.get("projection_type", "perspective"))
    if kind not in (*PERSPECTIVE, *FISHEYE):
        raise InputError(f"{where} is {kind[:40]!r}; accepted: {', '.join((*PERSPECTIVE, *FISHEYE))}")
    focal = camera.get("focal", camera.get("focal_x"))
    if focal is None:
        raise InputError(f"{where} has no 'focal'")
    fx, fy = numbers([camera.get("focal_x", focal), camera.get("focal_y", focal)], where=where)
    cx, cy = numbers([camera.get("c_x", 0.0), camera.get("c_y", 0.0)], where=where)
    longer = max(height, width)
    row = [fx * longer / width, fy * longer / height, 0.5 + cx * longer / width, 0.5 + cy * longer / height]
    words = distortion({key: numbers([camera[key]], where=where)[0] for key in LENS if key in camera})
    if kind in FISHEYE:
        words = kind + (f" {words}" if words else "")
    return torch.tensor(row, dtype=torch.float64), words, (height, width)


FORMAT = CameraFormat("opensfm", "OpenSfM reconstruction.json", "json", sniff, read)
