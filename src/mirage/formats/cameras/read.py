"""Camera paths from files of any format. `F`: poses.

camera = load_cameras("clip.txt")                                       # RealEstate10K, found by its content
record = read_cameras("poses.txt", CameraOptions(quaternion="wxyz"))    # what the file cannot say, a person may
"""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras import tables
from mirage.formats.cameras.content import ACCEPTS, CameraFormat, Content, opened
from mirage.formats.cameras.poses import Convention, finished
from mirage.formats.cameras.readers import formats
from mirage.formats.cameras.record import CameraOptions, CameraRecord
from mirage.geometry.camera import Camera
from mirage.kinds import checked

_log = logging.getLogger(__name__)


@checked
def load_cameras(
    path: str | os.PathLike[str],
    convention: Convention | None = None,
    *,
    intrinsics: Tensor | None = None,
    options: CameraOptions | None = None,
    lens: Literal["path", "images"] = "path",
    dtype: torch.dtype = torch.float64,
) -> Camera:
    """The trajectory [F] in a file or folder, its format found by what is in it; what `read_cameras` warns of is
    logged.

    `convention` ("c2w", "w2c") and `intrinsics` [4] are short for those of `options`. `lens`: for a "path" a distorted
    lens does not matter; for "images" it is refused, because a pinhole does not describe them. float64, because
    georeferenced positions need it until the path is made relative.
    """
    options = options or CameraOptions()
    if convention not in (None, "c2w", "w2c"):
        raise InputError(f"unknown convention {convention!r}; accepted: 'c2w', 'w2c'")
    options = replace(
        options,
        pose=convention or options.pose,
        intrinsics=intrinsics if intrinsics is not None else options.intrinsics,
    )
    record = read_cameras(path, options)
    if lens == "images" and record.lens is not None:
        raise InputError(
            f"{path} has lens distortion ({record.lens}); only cameras of undistorted images are accepted here "
            "(COLMAP's image_undistorter makes them)"
        )
    for warning in record.warnings:
        _log.warning("%s: %s", path, warning)
    return record.camera.to(dtype)


def read_cameras(path: str | os.PathLike[str], options: CameraOptions | None = None) -> CameraRecord:
    """The path in a file or folder with all that is known of it; see `CameraRecord`.

    Raises `InputError` where the file is of no known format, of two, or damaged: with NaN, mirrors, scales, or of
    unequal lines. Rotations are freed of the rounding of text files.
    """
    options = options or CameraOptions()
    content = opened(Path(path))
    format = _chosen(content, options.read_as)
    return finished(format.read(content, options), source=str(path), format=format.name, options=options)


def _chosen(content: Content, name: str | None) -> CameraFormat:
    if name is not None:
        named = [format for format in formats() if format.name == name]
        if not named:
            raise InputError(f"unknown camera format {name!r}; accepted: {', '.join(f.name for f in formats())}")
        if named[0].kind != content.kind:
            raise InputError(f"{content.source} is {_WORDS[content.kind]}; {named[0].title} is {_WORDS[named[0].kind]}")
        return named[0]
    claims = [format for format in formats() if format.kind == content.kind and format.sniff(content)]
    if len(claims) > 1:
        titles = " and as ".join(format.title for format in claims)
        names = " or ".join(repr(format.name) for format in claims)
        raise InputError(f"{content.source} can be read as {titles}; expected the option read-as to say {names}")
    if not claims:
        raise InputError(f"{content.source} {_unknown(content)}; expected {ACCEPTS}")
    return claims[0]


_WORDS = {"folder": "a folder", "text": "text", "json": "JSON", "arrays": "a file of arrays"}


def _unknown(content: Content) -> str:
    """What was got, for the message that no format knows it."""
    if content.kind == "folder":
        return "is a folder without cameras (COLMAP's images, transforms.json, frame-*.pose.txt, pose/, ...)"
    if content.kind == "arrays":
        return (
            f"has the arrays {[name[:40] for name in sorted(content.arrays)[:12]]}: none are c2w or w2c of a known tool"
        )
    if content.kind == "json":
        found = (
            f"the keys {[key[:40] for key in sorted(content.keys)[:12]]}"
            if content.keys
            else f"a {type(content.document).__name__}"
        )
        return f"has {found}: no known camera file"
    if not content.rows:
        return "is empty"
    if not tables.numeric(content.rows[-1]):
        return f"is text of words ({' '.join(content.rows[0])[:40]!r}, ...), not of numbers"
    return f"has {len(content.rows[-1])} columns: RealEstate10K has 19 or 18, TUM 8 or 7, KITTI 12"
