"""What was filmed, and all that lies beside it: pictures, cameras, captions, depth. `F`: frames, `H W`: pixels.

NAME.mp4 or NAME/            the frames: a video, or a folder of pictures in the natural order of their names (2 before
                             10)
NAME.txt, .npz, .json        its cameras, one per frame, in any format of `load_cameras` (RealEstate10K, TUM, ...)
NAME.caption.txt             what is seen, in words; or captions.json beside all of them: {NAME: words}
NAME.depth/ or NAME.depth.npz    depth of every frame: maps in the order of their names, or an array depth [F,H,W]

for name, footage in find_footage("clips").items():
    pictures = footage.frames(range(0, 97, 4))
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras import CameraOptions, load_cameras
from mirage.formats.depth import load_depth
from mirage.formats.image import load_image
from mirage.formats.source import read_npz, read_text, reason
from mirage.formats.video import video_frames
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.natural import natural

PICTURES, VIDEOS = (".png", ".jpg", ".jpeg", ".webp"), (".mp4", ".mkv", ".webm", ".mov")
CAMERAS = (".txt", ".npz", ".json")
MAPS = (".png", ".pgm", ".npy", ".npz")


@dataclass(frozen=True)
class Footage:
    """One video or folder of pictures; `cameras` and `depth`: where they lie, None where there are none."""

    pictures: Path
    cameras: Path | None
    depth: Path | None
    caption: str

    def count(self) -> int:
        """F. A video is decoded for it, because what its header says is not always so."""
        if self.pictures.is_dir():
            return len(_listed(self.pictures, PICTURES))
        return sum(1 for _ in video_frames(self.pictures))

    def frames(self, numbers: Sequence[int]) -> Tensor:
        """Frames of these ascending numbers, uint8 [n,3,H,W]."""
        found: list[Tensor] = []
        if self.pictures.is_dir():
            paths = _listed(self.pictures, PICTURES)
            found = [(load_image(paths[i]) * 255).round().to(torch.uint8) for i in numbers if i < len(paths)]
        else:
            wanted = set(numbers)
            for i, frame in enumerate(video_frames(self.pictures)):
                if i in wanted:
                    found.append(rearrange(torch.from_numpy(frame.rgb()), "h w c -> c h w"))
                if len(found) == len(wanted):
                    break
        if len(found) != len(numbers):
            raise InputError(f"{self.pictures} ends after {len(found)} of the {len(numbers)} frames that are needed")
        if len({frame.shape for frame in found}) > 1:
            raise InputError(f"the frames of {self.pictures} have several sizes; expected one")
        return torch.stack(found)

    def camera(self, reading: CameraOptions | None = None) -> Camera:
        """Cameras [F] in float64, as the file has them, in order of time; distorted lenses are refused. `reading`: what
        the files themselves cannot say."""
        if self.cameras is None:
            accepted = ", ".join(f"{self.pictures.stem}{ending}" for ending in CAMERAS)
            raise InputError(f"{self.pictures} has no cameras; expected one of {accepted} beside it")
        return load_cameras(self.cameras, options=reading, lens="images")

    def depth_maps(self, numbers: Sequence[int]) -> DepthMap:
        """Depth [n,H,W] of frames of these numbers, at its own resolution."""
        if self.depth is None:
            raise InputError(f"{self.pictures} has no depth; expected {self.pictures.stem}.depth/ or .depth.npz beside")
        if self.depth.is_dir():
            paths = _listed(self.depth, MAPS)
            if numbers and max(numbers) >= len(paths):
                raise InputError(f"{self.depth} has {len(paths)} maps; expected one per frame, {max(numbers) + 1}")
            maps = [load_depth(paths[i]) for i in numbers]
            if len({depth.shape for depth in maps}) > 1:
                raise InputError(f"the maps of {self.depth} have several sizes; expected one")
            return DepthMap.concatenate([depth[None] for depth in maps])
        arrays = read_npz(self.depth, accepts="an array depth [F,H,W]")
        depth = arrays.get("depth", arrays.get("depths"))  # geometry.npz of the published code has the second
        if depth is None or depth.ndim != 3 or (numbers and max(numbers) >= len(depth)):
            shapes = {name: list(array.shape) for name, array in arrays.items()}
            raise InputError(f"{self.depth} has {shapes}; expected depth [F,H,W], a map for every frame")
        return DepthMap(torch.from_numpy(depth[list(numbers)]).float())


def find_footage(
    folder: str | os.PathLike[str],
    *,
    cameras: str | os.PathLike[str] | None = None,
    captions: str | os.PathLike[str] | None = None,
) -> dict[str, Footage]:
    """By name, everything in `folder` that has frames: videos, and folders of pictures.

    `cameras`: a folder of camera files by name, where they do not lie beside the frames (RealEstate10K keeps them
    apart). `captions`: a JSON file {NAME: words} or a folder of NAME.txt; without, see the module's docstring.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; expected videos (NAME.mp4, ...) or folders of pictures in it")
    poses = folder if cameras is None else Path(cameras)
    if not poses.is_dir():
        raise InputError(f"there is no folder {poses}; expected camera files NAME.txt, .npz or .json in it")
    said = _captions(folder, None if captions is None else Path(captions))
    found: dict[str, Footage] = {}
    for path in sorted(folder.iterdir(), key=natural):
        filmed = path.suffix.lower() in VIDEOS or (
            path.is_dir()
            and path.suffix != ".depth"
            and any(child.suffix.lower() in PICTURES for child in path.iterdir())
        )
        if not filmed:
            continue
        name = _name(path)
        if name in found:
            raise InputError(f"{folder} has {found[name].pictures.name} and {path.name}; expected one footage per name")
        one = footage_of(path, cameras=poses)
        found[name] = replace(one, caption=" ".join(said[name].split())) if name in said else one
    if not found:
        raise InputError(f"{folder} has no videos ({', '.join(VIDEOS)}) and no folders of pictures")
    return found


def footage_of(path: Path, *, cameras: Path | None = None) -> Footage:
    """One video or folder of pictures, with what lies beside it; `cameras`: the folder of camera files, if another."""
    name, beside = _name(path), path.parent / f"{_name(path)}.caption.txt"
    return Footage(
        path,
        _first((cameras or path.parent) / f"{name}{ending}" for ending in CAMERAS),
        _first(path.parent / f"{name}{ending}" for ending in (".depth", ".depth.npz")),
        " ".join(read_text(beside, accepts="a caption").split()) if beside.is_file() else "",
    )


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _captions(folder: Path, given: Path | None) -> dict[str, str]:
    if given is not None and given.is_dir():
        return {path.stem: read_text(path, accepts="a caption") for path in sorted(given.glob("*.txt"))}
    file = given if given is not None else folder / "captions.json"
    if given is None and not file.is_file():
        return {}
    try:
        content = json.loads(read_text(file, accepts="captions as JSON {NAME: words}"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not JSON ({reason(error)}); expected captions {{NAME: words}}") from error
    if not isinstance(content, dict) or not all(isinstance(words, str) for words in content.values()):
        raise InputError(f"{file} is no table of captions; expected {{NAME: words}}")
    return content


def _listed(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in endings), key=natural)


def _first(paths) -> Path | None:
    return next((path for path in paths if path.exists()), None)
