"""A rollout on disk, ours or anybody's: frames and the cameras they were asked for. `F`: frames, `H W`: pixels.

walk/
  frames/000.png 001.png ...     or the pictures in the folder itself, or one video (.mp4, .mkv, .webm, .mov)
  cameras.npz                    c2w [F,4,4] and intrinsics [F,4]; or cameras.txt (RealEstate10K, TUM), cameras.json
  known.npz                      optional: mask [T,h,w], what the memory knew of each view before it was made
  estimated.npz (.txt, .json)    optional: cameras that somebody's pose estimator found in the frames
"""

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.cameras import CameraOptions, load_cameras, save_cameras
from mirage.formats.image import load_image, save_image
from mirage.formats.source import read_npz
from mirage.formats.video import load_video
from mirage.geometry.camera import Camera
from mirage.natural import natural

PICTURES, VIDEOS = (".png", ".jpg", ".jpeg", ".webp"), (".mp4", ".mkv", ".webm", ".mov")
CAMERAS = ("cameras.npz", "cameras.txt", "cameras.json")
ESTIMATES = ("estimated.npz", "estimated.txt", "estimated.json")


@dataclass(frozen=True, eq=False)
class Rollout:
    """`frames` uint8 [F,3,H,W], `camera` [F] as commanded, the name of the folder they came from, and `coverage`: the
    share of the target cells that the memory filled, None where the folder does not say."""

    name: str
    frames: Tensor
    camera: Camera
    coverage: float | None = None

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.camera):
            raise InputError(
                f"{self.name} has {len(self.frames)} frames and {len(self.camera)} cameras; expected one each"
            )

    def pictures(self, index: slice | Tensor = slice(None)) -> Tensor:
        """Some frames as floats in [0, 1]: [*,3,H,W]."""
        return self.frames[index].float() / 255


def load_rollout(folder: str | os.PathLike[str], *, reading: CameraOptions | None = None) -> Rollout:
    """Frames and cameras of one folder, counted against each other. `reading`: what a camera file cannot say itself."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; a rollout is a folder with frames and {CAMERAS[0]}")
    found = [folder / name for name in CAMERAS if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder} has no cameras; expected one of {', '.join(CAMERAS)}")
    check_numbering(folder)
    frames = load_frames(folder)
    if len(frames) < 2:
        raise InputError(f"{folder} has one frame; a rollout has at least two, for one is a picture and no walk")
    return Rollout(folder.name, frames, load_cameras(found[0], options=reading), _coverage(folder / "known.npz"))


def load_frames(folder: str | os.PathLike[str]) -> Tensor:
    """uint8 [F,3,H,W] from a folder of pictures in the natural order of their names (2 before 10), or from its one
    video."""
    folder = Path(folder)
    pictures = _pictures(folder)
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)
    if not pictures and len(videos) == 1:
        return load_video(videos[0])
    if not pictures:
        raise InputError(f"{folder} has no pictures and {len(videos)} videos; expected frames/*.png or one video")
    frames = [(load_image(path) * 255).round().to(torch.uint8) for path in pictures]
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"the pictures of {pictures[0].parent} have several sizes; expected one")
    return torch.stack(frames)


def check_numbering(folder: Path) -> None:
    """Raise `InputError` where the pictures of a rollout are numbered and one is missing or there twice: all after it
    would be scored against the camera of another. Times, which are no numbering, have gaps of any length."""
    pictures = _pictures(folder)
    numbers = [number for path in pictures if (number := _number(path)) is not None]
    if len(numbers) < len(pictures) or len(numbers) < 3:
        return
    gaps = [after - before for before, after in pairwise(numbers)]
    step = max(set(gaps), key=lambda gap: (gaps.count(gap), -gap))
    for path, number, gap in zip(pictures[1:], numbers[1:], gaps, strict=True):
        if gap == 0:
            raise InputError(
                f"{path.parent} has frame {number} twice, as {path.name} too; expected one picture a frame"
            )
        if gap > step and all(other % step == 0 for other in gaps):
            raise InputError(
                f"{path.parent} has no frame {number - gap + step}: the picture before {path.name} is missing; "
                "expected every frame of the rollout"
            )


def _pictures(folder: Path) -> list[Path]:
    """In the natural order of their names."""
    inside = folder / "frames" if (folder / "frames").is_dir() else folder
    found = [path for path in inside.iterdir() if path.suffix.lower() in PICTURES and "sheet" not in path.stem]
    return sorted(found, key=natural)


def _number(path: Path) -> int | None:
    """The last run of digits in a picture's name."""
    found = re.findall(r"[0-9]+", path.stem)
    return int(found[-1]) if found and len(found[-1]) < 16 else None


def estimated_cameras(folder: str | os.PathLike[str], *, reading: CameraOptions | None = None) -> Camera | None:
    """The path [F] that a pose estimator found in the frames of a folder, if its file is there."""
    found = next((Path(folder) / name for name in ESTIMATES if (Path(folder) / name).is_file()), None)
    return None if found is None else load_cameras(found, options=reading)


def save_rollout(
    folder: str | os.PathLike[str], frames: Tensor, camera: Camera, *, known: Tensor | None = None
) -> None:
    """Write frames [F,3,H,W] in [0, 1], cameras [F] and what the memory knew, bool [T,h,w], so that `load_rollout`
    reads them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if known is not None:
        with replacing(folder / "known.npz") as beside, beside.open("wb") as file:
            np.savez_compressed(file, mask=known.cpu().numpy())
    save_frames(folder / "frames", frames)
    save_cameras(folder / "cameras.npz", camera, format="npz")


def save_frames(folder: str | os.PathLike[str], frames: Tensor) -> None:
    """000.png, 001.png, ... of frames [F,3,H,W] in [0, 1]; pictures of an earlier, longer rollout are removed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        save_image(folder / f"{index:03d}.png", frame)
    kept = {f"{index:03d}.png" for index in range(len(frames))}
    for path in folder.glob("*.png"):
        if path.name not in kept:
            path.unlink()


def _coverage(path: Path) -> float | None:
    if not path.is_file():
        return None
    arrays = read_npz(path, accepts="an .npz with a bool mask [T,h,w]")
    if "mask" not in arrays or arrays["mask"].ndim != 3 or arrays["mask"].size == 0:
        raise InputError(f"{path} has the arrays {sorted(arrays)[:8]}; expected a bool mask [T,h,w]")
    return float((arrays["mask"] != 0).mean())
