"""`camera`, `inspect`, `export` and `convert`: files that people have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import Positional, arg

from mirage.cli.arguments.common import Writing, speaking, unset
from mirage.request import CameraReading

CameraFormat = Literal[
    "re10k",
    "tum",
    "kitti",
    "euroc",
    "log",
    "colmap",
    "colmap_bin",
    "nerfstudio",
    "instant-ngp",
    "camera_path",
    "3dgs",
    "llff",
    "open3d",
    "motionctrl",
    "recammaster",
    "worldplay",
    "npz",
    "lyra",
    "da3",
    "vggt",
]
"""Camera formats that are written: those of `mirage.formats.cameras.Format`, which is not imported for being heavy."""
FORMATS = "{" + ",".join(get_args(CameraFormat)) + "}"


@dataclass(frozen=True, kw_only=True)
class PathEdits:
    """What is done to a path before it is used, in this order; see docs/camera_paths.md."""

    first: Annotated[
        int | None, arg(name="from", metavar="A", help_behavior_hint="(default: from its first frame, which is 0)")
    ] = None
    """Leave out what comes before this frame."""
    last: Annotated[int | None, arg(name="to", metavar="B", help_behavior_hint="(default: to its last frame)")] = None
    """Leave out what comes after this frame."""
    path_scale: Annotated[float, arg(metavar="X")] = 1.0
    """Make every way so many times as long: 0.01 for a path in centimetres."""
    level: bool = False
    """Take roll out: every horizon lies flat."""
    smooth: bool = False
    """Take shake out; both ends stay where they are."""
    smooth_frames: Annotated[float, arg(metavar="N")] = 4.0
    """Over how many frames --smooth averages (standard deviation)."""
    by: Literal["time", "length"] = "time"
    """What the frames of a resampled path stand evenly in: time (its stamps, if the file has any) or length."""
    fly_through: bool = False
    """Take its poses for key frames: resample along a smooth curve through them instead of straight from each to the
    next."""
    reverse: bool = False
    """From its end to its start."""
    loop: bool = False
    """There and back: it ends as it began."""


@speaking
@dataclass(frozen=True, kw_only=True)
class CameraFile(PathEdits, CameraReading, Writing):
    """Look at a camera file: what it means, how sure that is, where the path goes, what is odd; draw, edit, convert it.

    Poses are camera-to-world with OpenCV axes (x right, y down, z forward) here; files of other conventions are turned.
    """

    path: Annotated[Positional[Path], arg(metavar="FILE")]
    """Any camera file or folder of docs/cameras.md: RealEstate10K, TUM, KITTI, EuRoC, COLMAP, nerfstudio, npz, ..."""
    resample: Annotated[int | None, unset("N", "as many as the file has")] = None
    """Give the path this many frames."""
    preview: Annotated[Path | None, unset("FILE", "nothing is drawn")] = None
    """Draw the path from above and from the side, with what its cameras see (PNG)."""
    images: Annotated[Path | None, unset("FOLDER|VIDEO", "the file alone is believed")] = None
    """Its pictures, one for each pose: they settle which matrices and axes the file means, where it does not say."""
    out: Annotated[Path | None, unset("PATH", "nothing is written")] = None
    """Where to write the path: a file, or a folder for COLMAP."""
    format: Annotated[
        CameraFormat | None,
        arg(
            aliases=["--convert"],
            metavar=FORMATS,
            help_behavior_hint="(default: by the suffix: .txt re10k, .json nerfstudio, .npz npz, none colmap, ...)",
        ),
    ] = None
    """How to write it."""
    size: Annotated[tuple[int, int] | None, unset("H W", "what the file says")] = None
    """Height and width in pixels of the images that readers of pixels (colmap, nerfstudio, ...) will see."""


@dataclass(frozen=True, kw_only=True)
class Inspect(Writing):
    """What a saved world holds: points, bytes, extent, frames, coverage; and a map from above (PNG)."""

    world: Annotated[Positional[Path], arg(metavar="FILE")]
    """A world file (.safetensors)."""
    map: Annotated[Path | None, unset("FILE", "WORLD.map.png beside the world")] = None
    """Where to draw the map."""


@dataclass(frozen=True, kw_only=True)
class Export(Writing):
    """Write a saved world for other programs: points as PLY, the camera path for COLMAP, nerfstudio and others."""

    world: Annotated[Positional[Path], arg(metavar="FILE")]
    """A world file (.safetensors)."""
    ply: Annotated[Path | None, unset("FILE", "no points are written")] = None
    """Points with colours and normals (towards the camera that saw them), as binary PLY."""
    cameras: Annotated[Path | None, unset("PATH", "no cameras are written")] = None
    """Cameras of the latent frames in the memory, numbered as the video's frames: a file, or a folder for COLMAP."""
    format: Annotated[
        CameraFormat | None, unset(FORMATS, "by the suffix: none colmap, .json nerfstudio, .txt re10k, .npz npz, ...")
    ] = None
    """How to write the cameras."""
    size: Annotated[tuple[int, int] | None, unset("H W", "the world's video")] = None
    """Height and width in pixels of the images that readers of pixels (colmap, nerfstudio, ...) will see."""
    model: Annotated[str | None, unset("NAME|FOLDER|HUB-ID", "false colours, from the features alone")] = None
    """The model that made the world: its decoder gives the points their true colours."""


@dataclass(frozen=True, kw_only=True)
class Convert(Writing):
    """Read other people's checkpoints into our layout: Wan2.2's original release, ComfyUI's files, branches and LoRAs.

    Every tensor is accounted for by name and shape, or the command lists what did not match and writes nothing. A model
    comes whole or not at all. Pickles (.pth) are read as bare tensors; one that wants to run code is refused.

    The folder with shards, Wan2.2_VAE.pth, UMT5 and tokenizer:  mirage convert Wan2.2-TI2V-5B --out models/wan22

    ComfyUI's three files, or a folder of them:  mirage convert DIFFUSION VAE UMT5 --out models/wan22

    A published side branch:  mirage convert step_8500_vace.safetensors --out branch.safetensors

    A LoRA of any layout:  mirage convert step_9000_lora.safetensors --out lora.safetensors
    """

    sources: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE|FOLDER [FILE ...]")]
    """A weight file (.safetensors, .pth, .pt), an index of shards, a folder of them, Wan2.2's own
    folder or ComfyUI's; or the files of one model."""
    out: Annotated[Path, arg(metavar="PATH")]
    """A .safetensors file for a branch or a LoRA; else a new folder: what --model, --branch and --lora take."""
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
    """Of the weights written; a few that diffusers keeps in float32 stay as they are stored."""
    heads: Annotated[int | None, unset("N", "the config.json's, else width / 128 as in all of Wan")] = None
    """Attention heads, which weights do not say."""
    alpha: Annotated[float | None, unset("X", "the LoRA's own, else its rank")] = None
    """Alpha of a LoRA: its weights count alpha / rank times."""
    branch_layers: Annotated[
        tuple[int, ...] | None, unset("N ...", "as its blocks usually do: 15 every 2nd, 8 every 4th")
    ] = None
    """Layers of the backbone, from 0, that the blocks of a published branch are for."""
