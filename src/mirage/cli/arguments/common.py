"""What every subcommand takes. Imports nothing but tyro."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg


def unset(metavar: str, meaning: str):
    """An option that may be left out: how its value is written, and what leaving it out means."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {meaning})")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every subcommand takes."""

    json: bool = False
    """Print a machine-readable last line on stdout."""


@dataclass(frozen=True, kw_only=True)
class CameraReading:
    """What a person says of a camera file where the file cannot: for every subcommand that reads one."""

    convention: Annotated[Literal["c2w", "w2c"] | None, unset("{c2w,w2c}", "what the file's format means")] = None
    """Whether a camera file's matrices are camera-to-world or world-to-camera."""
    axes: Annotated[
        Literal["opencv", "opengl", "ned", "ros", "unreal"] | None,
        unset("{opencv,opengl,ned,ros,unreal}", "what the file's format means"),
    ] = None
    """Its camera axes: opencv (right, down, forward), opengl (right, up, back), ned (forward, right, down), ros (forward,
    left, up), unreal (forward, right, up: left-handed)."""
    quaternion: Annotated[
        Literal["xyzw", "wxyz", "yzwx"] | None, unset("{xyzw,wxyz,yzwx}", "what the file's format means")
    ] = None
    """The order of its quaternions: MonST3R and CUT3R write wxyz into files that look like TUM's."""
    camera: Annotated[str | None, unset("NAME", "the only one")] = None
    """Which camera of a rig, by its folder or its id."""
    image_size: Annotated[tuple[int, int] | None, unset("H W", "what the file says")] = None
    """Height and width in pixels of the images that its intrinsics are of."""
    pixel_centers: Annotated[
        Literal["half", "integer"] | None, unset("{half,integer}", "what the file's format means")
    ] = None
    """Where its intrinsics have the centre of the first pixel: at (0.5, 0.5) or at (0, 0)."""
    read_as: Annotated[str | None, unset("FORMAT", "found by what is in the file")] = None
    """Its format, for a file that two claim: nerfstudio, instant-ngp, tum, colmap, ..."""
    bridge_lost: bool = False
    """Fill poses that tracking lost from their neighbours, instead of leaving them out."""


@dataclass(frozen=True, kw_only=True)
class Walking(Common):
    """What every subcommand takes that walks with a model."""

    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """mini (bundled), a folder in diffusers layout, or a Hugging Face id owner/name (downloads)."""
    branch: Annotated[Path | None, unset("FILE", "the model's own, if it has one")] = None
    """A memory branch for the model: made by `mirage convert` or by training, or as published with the paper."""
    lora: Annotated[Path | None, unset("FILE", "none")] = None
    """A LoRA of the model's transformer: diffusers, PEFT or published layout, with its alpha."""
