"""`camera`, `inspect`, `export` and `convert`: files that people have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mirage.cli.arguments.common import Writing, unset


@dataclass(frozen=True, kw_only=True)
class CameraFile(Writing):
    """Look at a camera file, or convert it.

    Poses are camera-to-world with OpenCV axes (x right, y down, z forward) here; files of other conventions are turned.
    """

    path: Annotated[Positional[Path], arg(metavar="FILE")]
    """RealEstate10K or TUM text, npz, MotionCtrl or nerfstudio json, or a folder (COLMAP text, 7-Scenes)."""
    convention: Annotated[Literal["c2w", "w2c"] | None, unset("{c2w,w2c}", "what the format means")] = None
    """What the file's matrices are, where its format does not say or says it wrong."""
    out: Annotated[Path | None, unset("PATH", "nothing is written")] = None
    """Where to write the converted path: a file, or a folder for colmap."""
    format: Annotated[
        Literal["re10k", "npz", "tum", "motionctrl", "colmap", "nerfstudio"] | None,
        unset("{re10k,npz,tum,motionctrl,colmap,nerfstudio}", "needed with --out"),
    ] = None
    """How to write it."""
    size: Annotated[tuple[int, int] | None, unset("H W", "needed by colmap and nerfstudio")] = None
    """Height and width of the images in pixels."""
    frames: Annotated[int | None, unset("N", "as many as the file has")] = None
    """Resample the path to this many poses."""


@dataclass(frozen=True, kw_only=True)
class Inspect(Writing):
    """What a saved world holds: points, bytes, extent, frames, coverage; and a map from above (PNG)."""

    world: Annotated[Positional[Path], arg(metavar="FILE")]
    """A world file (.safetensors)."""
    map: Annotated[Path | None, unset("FILE", "WORLD.map.png beside the world")] = None
    """Where to draw the map."""


@dataclass(frozen=True, kw_only=True)
class Export(Writing):
    """Write a saved world for other programs: points as PLY, the camera path for COLMAP or nerfstudio."""

    world: Annotated[Positional[Path], arg(metavar="FILE")]
    """A world file (.safetensors)."""
    ply: Annotated[Path | None, unset("FILE", "no points are written")] = None
    """Points with colours, as binary PLY."""
    cameras: Annotated[Path | None, unset("PATH", "no cameras are written")] = None
    """Cameras of the latent frames in the memory: a file, or a folder for colmap."""
    format: Literal["colmap", "nerfstudio", "re10k", "npz", "tum"] = "colmap"
    """How to write the cameras."""
    size: Annotated[tuple[int, int], arg(metavar="H W")] = (192, 256)
    """Height and width in pixels of the images that colmap and nerfstudio will see."""
    model: Annotated[str | None, unset("NAME|FOLDER|HUB-ID", "false colours, from the features alone")] = None
    """The model that made the world: its decoder gives the points their true colours."""


@dataclass(frozen=True, kw_only=True)
class Convert(Writing):
    """Read other people's checkpoints into our layout: Wan2.2's original release, published Mirage branches and LoRAs.

    Every tensor is accounted for by name and shape, or the command lists what did not match and writes nothing. Pickles
    (.pth) are read as bare tensors; one that wants to run code is refused.

    The folder with shards, Wan2.2_VAE.pth, UMT5 and tokenizer:  mirage convert Wan2.2-TI2V-5B --out models/wan22

    A published side branch:  mirage convert step_8500_vace.safetensors --out branch.safetensors

    A published LoRA:  mirage convert step_9000_lora.safetensors --out lora.safetensors
    """

    source: Annotated[Positional[Path], arg(metavar="FILE|FOLDER")]
    """A weight file (.safetensors, .pth, .pt), an index of shards, a folder of shards, or Wan2.2's own folder."""
    out: Annotated[Path, arg(metavar="PATH")]
    """A .safetensors file for a branch or a LoRA; else a new folder: what --model, --branch and --lora take."""
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
    """Of the weights written; a few that diffusers keeps in float32 stay as they are stored."""
    heads: Annotated[int | None, unset("N", "the config.json's, else width / 128 as in all of Wan")] = None
    """Attention heads, which weights do not say."""
    alpha: Annotated[float | None, unset("X", "the LoRA's own, else its rank")] = None
    """Alpha of a LoRA: its weights count alpha / rank times."""
