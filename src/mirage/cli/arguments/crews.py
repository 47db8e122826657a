"""`batch`, and what subcommands take that give their work to several processes."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from mirage.cli.arguments.common import Common, speaking, unset
from mirage.request import ModelRequest


@dataclass(frozen=True, kw_only=True)
class Crewed:
    """Who does the work, where Ray gives it out."""

    ray: Annotated[str | None, unset("local|ADDRESS", "all in this process")] = None
    """Give the work to several processes: local, of this machine; HOST:PORT or auto, of a Ray cluster that runs, whose
    machines all see the same files."""
    replicas: Annotated[int | None, unset("N", "one a GPU, without GPUs one a core")] = None
    """Processes that each load the model."""
    gpus_per_replica: Annotated[float, arg(metavar="X")] = 1.0
    """GPUs for each; 0.5: two share one."""
    retries: Annotated[int, arg(metavar="N")] = 2
    """How often what failed, or whose process ended, is tried again."""


@speaking
@dataclass(frozen=True, kw_only=True)
class Batch(Crewed, ModelRequest, Common):
    """Many walks on many processes, GPUs or machines: a line of a manifest each, what is missing alone.

    A line is a JSON object with the options of generate: {"image": "a.jpg", "trajectory": "orbit", "seed": 3}, and a
    "name" for its folder, else it is called by its number. Files are relative to the manifest, or URLs. All lines and
    files are checked before anything runs. Run again to go on: a task is done when its folder has done.json. What fails
    is tried again, then listed in failures.json, and the rest goes on; the exit code is then 1.
    """

    manifest: Annotated[Positional[str], arg(metavar="MANIFEST.jsonl")]
    """A file or a URL (s3://, gs://, ...)."""
    out: Annotated[str, arg(metavar="FOLDER|URL")]
    """A folder per walk: walk.mp4, walk.sheet.png, walk.receipt.json, done.json."""
    ray: Annotated[str | None, arg(metavar="local|ADDRESS")] = "local"
    """local: a Ray that is started here and ended again; HOST:PORT or auto: a cluster that runs, whose machines all see
    the same files, or URLs."""
    batch: Annotated[int, arg(metavar="N")] = 1
    """So many walks of the same frames, size, steps and memory are denoised together."""
    fps: float = 16.0
    """Frames per second of the videos."""
    save_world: bool = False
    """Keep the world of each walk, too (walk.safetensors)."""

    def __post_init__(self) -> None:
        """Checked by the nouns that are made of it."""
