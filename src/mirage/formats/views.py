"""Where a walk begins that begins with more than one view: pictures or a film of one place, their cameras, depth.

    views = open_views(["a.jpg", "b.jpg", "c.jpg"], cameras="poses.txt", depth="depths/")
    views = open_views(["room.mp4"])                     # with room.txt, and room.depth/, beside it (footage.py)
    views = views.fitted((704, 1280))
    for frame, camera, depth in views: ...               # each enters the memory; the walk goes on from the last

`V`: views, `H W`: pixels. Poses are as seen from the last view, in the file's own scale, which depth has to be in too.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras import CameraOptions, load_cameras
from mirage.formats.footage import PICTURES, VIDEOS, Footage, footage_of
from mirage.formats.photograph import Fit, Photograph, fitted, fitted_depth, open_photograph, photograph_of
from mirage.formats.trajectories import square_pixels
from mirage.formats.video import video_frames
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.natural import natural

MOST = 16  # views of a film or a folder, unless more are asked for


@dataclass(frozen=True, eq=False)
class Views:
    """`camera` [V], each through all of its photograph; `depth`, of some or none. The last is where one stands."""

    photographs: tuple[Photograph, ...]
    camera: Camera
    depth: tuple[DepthMap | None, ...]

    def __len__(self) -> int:
        return len(self.photographs)

    def __iter__(self) -> Iterator[tuple[Tensor, Camera, DepthMap | None]]:
        """(pixels [3,H,W], camera, depth [h,w] or None) of each."""
        for number, photograph in enumerate(self.photographs):
            yield photograph.pixels, self.camera[number], self.depth[number]

    def fitted(self, size: tuple[int, int], *, fit: Fit = "crop") -> "Views":
        """All at one size (H, W); cameras and depth follow."""
        pairs = [fitted(photograph, self.camera[n], size, fit=fit) for n, photograph in enumerate(self.photographs)]
        depth = tuple(None if known is None else fitted_depth(known, size, fit=fit) for known in self.depth)
        cameras = Camera.concatenate([camera[None] for _, camera in pairs])
        return Views(tuple(photograph for photograph, _ in pairs), cameras, depth)

    def receipt(self) -> list[dict[str, Any]]:
        """Plain values for a receipt, a view each."""
        return [photograph.receipt() for photograph in self.photographs]


def open_views(
    sources: Sequence[str | os.PathLike[str]],
    *,
    cameras: str | os.PathLike[str] | None = None,
    depth: str | os.PathLike[str] | None = None,
    fov: float | None = None,
    reading: CameraOptions | None = None,
    most: int = MOST,
) -> Views:
    """Views from several pictures in the order given, or from one film or folder of pictures.

    cameras     a file of poses, one for each picture or each frame of the film; without, the one that lies beside
    depth       a folder of maps or an .npz, one for each picture or frame; without, what lies beside, or none
    fov         degrees across every picture, in place of what the camera file or EXIF says
    reading     what a person says of the camera file, where it cannot
    most        of a film or folder so many views, evenly spread, its first and last among them
    """
    paths = [Path(source) for source in sources]
    if not paths:
        raise InputError("got no pictures; expected one film, one folder of pictures, or several pictures")
    if most < 1:
        raise InputError(f"got at most {most} views; expected 1 or more")
    if len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix.lower() in VIDEOS):
        footage = footage_of(paths[0])
        count = footage.count()
        numbers = sorted({round(i) for i in torch.linspace(0, count - 1, min(most, count)).tolist()})
        photographs = _of_footage(footage, numbers)
    else:
        footage, count, numbers = Footage(paths[0], None, None, ""), len(paths), list(range(len(paths)))
        photographs = [open_photograph(path) for path in paths]
    footage = replace(
        footage,
        cameras=footage.cameras if cameras is None else Path(cameras),
        depth=footage.depth if depth is None else Path(depth),
    )
    photographs = [photograph_of(photograph, fov) for photograph in photographs]
    maps = [None] * len(numbers) if footage.depth is None else list(_maps(footage.depth_maps(numbers)))
    camera = _cameras(footage, photographs, count, numbers, fov, reading)
    seen = tuple(_seen(photograph, camera[n]) for n, photograph in enumerate(photographs))
    return Views(seen, camera, tuple(maps))


def _seen(photograph: Photograph, camera: Camera) -> Photograph:
    """With the field of view of its camera, which may be that of the file."""
    if torch.allclose(camera.intrinsics, photograph.camera.intrinsics, rtol=1e-5):
        return photograph
    return replace(photograph, fov=math.degrees(2 * math.atan(0.5 / float(camera.intrinsics[0]))), fov_from="cameras")


def _of_footage(footage: Footage, numbers: Sequence[int]) -> list[Photograph]:
    if footage.pictures.is_dir():
        paths = [path for path in footage.pictures.iterdir() if path.suffix.lower() in PICTURES]
        return [open_photograph(sorted(paths, key=natural)[number]) for number in numbers]
    curve = next(video_frames(footage.pictures)).curve
    notes = () if curve is None else (f"tone-mapped from {curve} to sRGB",)
    named = zip(numbers, footage.frames(numbers), strict=True)
    return [replace(photograph_of(f), source=f"{footage.pictures}, frame {n}", notes=notes) for n, f in named]


def _cameras(
    footage: Footage,
    photographs: Sequence[Photograph],
    count: int,
    numbers: Sequence[int],
    fov: float | None,
    reading: CameraOptions | None,
) -> Camera:
    """[V]. Intrinsics: asked, else the camera file's, else each picture's own."""
    if footage.cameras is None:
        if len(photographs) > 1:
            raise InputError(f"{len(photographs)} views need their cameras: a file with a pose for each of {count}")
        return photographs[0].camera[None]
    own = torch.stack([photograph.camera.intrinsics for photograph in photographs])
    path = load_cameras(footage.cameras, intrinsics=own[0], options=reading)
    if len(path) != count:
        raise InputError(f"{footage.cameras} has {len(path)} poses and there are {count} pictures; expected one each")
    path = path[torch.tensor(list(numbers))]
    path = path.relative_to(path[-1]).to(torch.float32)  # georeferenced positions are too large for single precision
    if fov is not None:
        return path.with_intrinsics(own)
    seen = torch.stack([square_pixels(path[n], photograph.size).intrinsics for n, photograph in enumerate(photographs)])
    unknown = (path.intrinsics == own[0]).all(-1, keepdim=True)  # the file has none, and got the first picture's
    return path.with_intrinsics(torch.where(unknown, own, seen))


def _maps(depth: DepthMap) -> Iterator[DepthMap]:
    for number in range(len(depth)):
        yield depth[number]
