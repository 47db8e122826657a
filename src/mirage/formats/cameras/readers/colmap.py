"""COLMAP models, text or binary: a folder with cameras, images and (since 3.12) rigs and frames. https://colmap.github.io/format.html

Poses are world-to-camera, `qw qx qy qz tx ty tz`, OpenCV axes; intrinsics in pixels, centre of the first pixel at
(0.5, 0.5). Where there are frames their poses count, cam_from_world = sensor_from_rig rig_from_world, and those of the
images are ignored, as COLMAP ignores them. Keypoints are never read: in an images file of 78 MB poses are 20 kB.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.colmapfiles import Model, binary_model, intrinsics_of, text_model
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.cameras.walks import one_walk
from mirage.geometry.pose import make_pose, rotation_from_quaternion
from mirage.natural import natural

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SUBFOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "0")


def sniff(content: Content) -> bool:
    """images.txt or images.bin in the folder, or where COLMAP's own projects have them below it.

    A transforms.json above a model was made from it (ns-process-data leaves both), so then it is what is meant.
    """
    place = _model_folder(content.path)
    return place is not None and (place == content.path or not (content.path / "transforms.json").exists())


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the natural order of the images' names (their ids have no order in time)."""
    folder = _model_folder(content.path)
    assert folder is not None
    binary = (folder / "images.bin").exists()
    model = binary_model(folder) if binary else text_model(folder)
    check_count(len(model.images), source=str(folder))
    warnings = list(model.warnings)
    if binary and (folder / "images.txt").exists():
        warnings.append("it holds a binary and a text model: the binary one is read, as COLMAP does")
    if folder != content.path and folder.name == "0" and any(folder.parent.glob("[1-9]*/images.*")):
        warnings.append(
            f"there are several models beside {folder.name}: COLMAP could not join them; {folder.name} is read"
        )
    poses, said = _poses(model, source=str(folder))
    warnings += said
    images = [image for image in model.images if image.id in poses]
    names = [image.name for image in images]
    order, said = one_walk(
        names, options, source=str(folder), cameras=[str(image.camera) for image in images], together=model.together
    )
    warnings += said
    images = [images[i] for i in order]
    rows, lenses = [], {}
    for image in images:
        if image.camera not in model.cameras:
            known = sorted(model.cameras)[:8]
            raise InputError(f"{folder}: image {image.name[:60]!r} names the camera {image.camera}; there are {known}")
        if image.camera not in lenses:
            lenses[image.camera] = intrinsics_of(model.cameras[image.camera], source=str(folder))
        rows.append(lenses[image.camera][0])
    bent = next((words for _, words, _ in lenses.values() if words is not None), None)
    warnings += dict.fromkeys(said for _, _, odd in lenses.values() for said in odd)
    sizes = {model.cameras[image.camera].size for image in images}
    return Poses(
        torch.stack([poses[image.id] for image in images]),
        "w2c",
        torch.stack(rows),
        units="pixels",
        pixel_centers="half",
        quaternion="wxyz",
        confidence="stated",
        names=tuple(image.name for image in images),
        size=sizes.pop() if len(sizes) == 1 else None,
        lens=bent,
        warnings=tuple(warnings),
    )


def _model_folder(folder: Path) -> Path | None:
    for place in (folder, *(folder / name for name in SUBFOLDERS)):
        if (place / "images.txt").exists() or (place / "images.bin").exists():
            return place
    numbered = sorted((path for path in folder.glob("sparse/[0-9]*") if path.is_dir()), key=natural)
    return next((path for path in numbered if any(path.glob("images.*"))), None)


def _poses(model: Model, *, source: str) -> tuple[dict[int, Tensor], list[str]]:
    """World-to-camera [4,4] by image id."""
    own = dict(zip((image.id for image in model.images), _matrices([i.pose for i in model.images]), strict=True))
    if model.frames is None:
        return own, []
    ids, mounted, rigs = [], [], []
    for frame in model.frames:
        rig = model.rigs.get(frame.rig)
        for sensor, image in frame.images:
            pose = IDENTITY if rig is not None and sensor == rig.reference else rig and rig.sensors.get(sensor)
            if pose is None:
                raise InputError(
                    f"{source}: frame {frame.id} is of rig {frame.rig}, which has no pose of camera {sensor}"
                )
            ids.append(image)
            mounted.append(pose)
            rigs.append(frame.pose)
    poses = dict(zip(ids, _matrices(mounted) @ _matrices(rigs), strict=True)) if ids else {}
    missing = [image.name for image in model.images if image.id not in poses]
    if len(missing) == len(model.images):
        raise InputError(f"{source}: none of its images stands in a frame; expected frames with poses")
    said = []
    if missing:
        said.append(
            f"{len(missing)} of its images stand in no frame and have no pose ({missing[0][:60]}, ...): left out"
        )
    there = [image for image in model.images if image.id in poses]
    ours, theirs = (torch.stack([table[image.id] for image in there]) for table in (own, poses))
    differs = (ours - theirs).abs().amax((1, 2)) > 1e-5 * (1 + ours.abs().amax((1, 2)))
    if differs.any():
        first = there[int(differs.nonzero()[0])].name[:60]
        said.append(
            f"{int(differs.sum())} of its images have another pose in images than in frames ({first}, ...): COLMAP "
            "3.12 and later use frames, and so is it read"
        )
    return poses, said


def _matrices(values: Sequence[Sequence[float]]) -> Tensor:
    """qw qx qy qz tx ty tz of each [F,7] -> [F,4,4]."""
    rows = torch.tensor(values, dtype=torch.float64).view(-1, 7)
    return make_pose(rotation_from_quaternion(rows[:, [1, 2, 3, 0]]), rows[:, 4:])


FORMAT = CameraFormat("colmap", "COLMAP model", "folder", sniff, read)
