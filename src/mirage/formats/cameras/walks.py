"""Which images of a file are one walk, and in which order: by the numbers in their names, and of one camera only."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from mirage.errors import InputError
from mirage.formats.cameras.record import CameraOptions
from mirage.natural import natural


def one_walk(
    names: Sequence[str],
    options: CameraOptions,
    *,
    source: str,
    cameras: Sequence[str] | None = None,
    together: bool = False,
) -> tuple[list[int], tuple[str, ...]]:
    """Indices of the images of one camera in the natural order of their names, and what there is to say of it.

    Images in two folders are those of two cameras (or of two films), and so are those of two `cameras` (an id for each
    image) that stand on one rig and look `together`, or whose names begin otherwise (left_1, right_1). Which one is
    meant is then asked.
    """
    folders = [str(PurePosixPath(name.replace("\\", "/")).parent) for name in names]
    groups: dict[str, list[int]] = {}
    for index, folder in enumerate(folders):
        groups.setdefault(folder, []).append(index)
    if (
        len(groups) == 1
        and cameras is not None
        and (together or options.camera in cameras or _side_by_side(names, cameras))
    ):
        groups = {}
        for index, camera in enumerate(cameras):
            groups.setdefault(camera, []).append(index)
    if options.camera is not None:
        chosen = _asked(groups, options.camera, cameras)
        if chosen is None:
            raise InputError(f"{source} has no camera {options.camera[:60]!r}; it has {_listed(groups)}")
    elif len(groups) > 1:
        raise InputError(
            f"{source} has several cameras, which are not one walk: {_listed(groups)}; expected the option camera "
            "to say one"
        )
    else:
        chosen = list(range(len(names)))
    order = sorted(chosen, key=lambda index: natural(names[index]))
    if order == sorted(chosen, key=lambda index: names[index]):
        return order, ()
    return order, (
        "the numbers in its names have no leading zeros: read as 1, 2, 10 (instant-ngp does too; nerfstudio 1.1.5 "
        "reads 1, 10, 2)",
    )


def _side_by_side(names: Sequence[str], cameras: Sequence[str]) -> bool:
    """Whether names but for their numbers and cameras say the same, and each has several images."""
    kinds = [re.sub(r"[0-9]+", "#", name) for name in names]
    pairs = Counter(zip(kinds, cameras, strict=True))
    return 1 < len(pairs) == len(set(kinds)) == len(set(cameras)) and min(pairs.values()) > 1


def _asked(groups: dict[str, list[int]], camera: str, ids: Sequence[str] | None) -> list[int] | None:
    if camera in groups:
        return groups[camera]
    last = [group for group in groups if PurePosixPath(group).name == camera]
    if len(last) == 1:
        return groups[last[0]]
    if ids is not None and camera in ids:
        return [index for index, own in enumerate(ids) if own == camera]
    return None


def _listed(groups: dict[str, list[int]]) -> str:
    shown = [f"{name[:60]} ({len(indices)} images)" for name, indices in list(groups.items())[:6]]
    return ", ".join(shown) + (", ..." if len(groups) > 6 else "")
