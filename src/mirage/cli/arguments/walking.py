"""`generate`, `demo` and `plan`: what walks, and what a walk needs."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Suppress, arg

from mirage.cli.arguments.common import Common, Walking, Writing, speaking, unset
from mirage.request import ModelRequest, Request


@speaking
@dataclass(frozen=True, kw_only=True)
class Generate(Writing, ModelRequest, Request):
    """One image and a camera path become a video that remembers.

    Beside the video V.mp4 it leaves V.sheet.png (a contact sheet) and V.receipt.json (versions, seed, seconds per
    stage, memory per chunk). Stopped by Ctrl-C, a signal or an error, it keeps a playable video of the chunks that are
    done, and V.resume.safetensors, from which --resume goes on.
    """

    image: Annotated[tuple[Path, ...], unset("FILE [FILE ...]", "needed unless a world is continued")] = ()
    """The first frame: PNG, JPEG, WebP, TIFF; cut about its centre to the model's aspect and resized. Several pictures,
    a film or a folder: each view enters the memory where its camera stands, and the walk goes on from the last."""
    typed: Annotated[frozenset[str], Suppress] = frozenset()
    """Names of the options that were typed, which a default may be too."""
    out: Annotated[Path | None, unset("FILE", "needed, but to resume")] = None
    """The video: .mp4, .mov or .mkv (H.264)."""
    save_world: Annotated[Path | None, unset("FILE", "not saved")] = None
    """Save the world as it is after the walk (.safetensors), and after each chunk of it."""
    resume: Annotated[Path | None, unset("RECEIPT", "a new walk")] = None
    """Go on with a walk that was interrupted, to the bit, from its receipt (V.receipt.json) and what lies beside it.
    Only how the model runs may be typed with it, such as --offload."""
    words: bool = False
    """Print the words that the model knows, a line each, and do nothing else."""
    again: Annotated[Path | None, unset("RECEIPT", "a new request")] = None
    """Run the request of a receipt (V.receipt.json) once more, with what is typed here in its place."""

    def __post_init__(self) -> None:
        """Checked when `again` has been filled in: by `Request` and `ModelRequest` themselves, see `requests`."""

    def requests(self, before: tuple[dict[str, Any], dict[str, Any]] = ({}, {})) -> tuple[Request, ModelRequest]:
        """What is asked, checked; `before`: plain choices of a receipt, that typed ones replace."""
        chosen = {item.name for item in fields(self) if getattr(self, item.name) != item.default} | self.typed
        walk, model = (
            {item.name: getattr(self, item.name) for item in fields(kind) if item.name in chosen}
            for kind in (Request, ModelRequest)
        )
        said = dict(before[0])
        for one, other in (("world", "image"), ("image", "world")):
            if walk.get(one) is not None:
                said.pop(other, None)  # what is typed begins elsewhere
        return Request(**(said | walk)), ModelRequest(**(before[1] | model))


@dataclass(frozen=True, kw_only=True)
class Demo(Walking, Writing):
    """A walk there and back in a procedural scene, with memory and without, and the truth, on one sheet.

    The scene is held out: no model was trained on it. Leaves the sheet and the videos in a folder.
    """

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/demo")
    """Where to put them."""
    chunks: int = 3
    """Length of the walk in chunks of the model."""
    walk: Literal["there_and_back", "pan_and_return", "orbit", "approach"] = "there_and_back"
    """Kind of walk; all end where they began."""
    seed: int = 5
    """Which held-out scene (0 to 999,999), and the noise."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server listens, and to whom."""

    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own wants --token."""
    port: int = 7860
    """Port to listen on; 0: any that is free."""
    token: Annotated[str | None, unset("TOKEN", "none, on this machine")] = None
    """A password of 12 characters or more, without which nothing is answered: whoever has it may use the model and see
    every walk. Open the page once with ?token=TOKEN; a program sends Authorization: Bearer TOKEN. It travels in the
    clear unless something in front speaks TLS."""
    upload: Annotated[str, arg(metavar="SIZE")] = "256MiB"
    """Most bytes of a picture or world that is uploaded."""


@speaking
@dataclass(frozen=True, kw_only=True)
class Explore(Listening, Common, ModelRequest):
    """Walk a world live, in a browser: the memory answers every key at once, the model follows.

    Serves a page on this machine and prints its address. Every page that is open has a walk of its own. Ctrl-C ends it.
    """

    image: Annotated[Path | None, unset("FILE", "a procedural scene")] = None
    """Begin with this picture."""
    world: Annotated[Path | None, unset("FILE", "a new world")] = None
    """Go on in a saved world."""
    scene: Annotated[int | None, unset("SEED", "5, unless an image or a world is given")] = None
    """Begin in a procedural scene."""
    prompt: Annotated[str | None, unset("TEXT", "the scene's own, the saved world's, or none")] = None
    """What newly generated regions should look like; the page has a box for it."""
    fov: Annotated[float | None, unset("DEGREES", "the image's EXIF, else 65 on the longer side")] = None
    """Horizontal field of view of the image."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: Annotated[int | None, unset("N", "0, or the saved world's")] = None
    """Of the noise."""
    sessions: int = 8
    """Most pages at once."""


@dataclass(frozen=True, kw_only=True)
class Plan(Common):
    """The memory a run needs, by component, stage and option, before anything is loaded or downloaded.

    Worked out from the model's configurations alone: its real code runs on tensors without storage.
    """

    model: Annotated[str, arg(metavar="NAME|FOLDER")] = "wan2.2-ti2v-5b"
    """wan2.2-ti2v-5b (with a memory branch of 15 blocks and a depth head), mini, or a folder in diffusers layout, of
    which only the configurations are read."""
    height: Annotated[int | None, unset("PIXELS", "the model's own")] = None
    """Of the frames."""
    width: Annotated[int | None, unset("PIXELS", "the model's own")] = None
    """Of the frames."""
    frames: Annotated[int | None, unset("N", "three chunks")] = None
    """Length of the walk, 1 + 4k; the memory grows with it."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Of the weights and the work."""
    offload: Literal["none", "model", "group"] = "none"
    """As generate has it."""
    quantize: Literal["none", "fp8", "int8", "nf4"] = "none"
    """As generate has it."""
    tile: Annotated[int | None, unset("PIXELS", "whole frames, and 320 among the options")] = None
    """As generate has it."""
    memory_budget: Annotated[str | None, unset("SIZE", "it grows as it must")] = None
    """Most bytes that the spatial memory may take, such as 8MiB."""
    gpu: Annotated[str | None, unset("SIZE", "options are listed without judging them")] = None
    """Memory of a GPU, such as 24GiB: which options fit it."""
    cpu: bool = False
    """Count a run on a CPU, where convolutions are computed another way."""
    train: bool = False
    """Count training instead, by recipes/wan.py: each GPU's share of what FSDP2 shares out, and the rest."""
    gpus: int = 8
    """GPUs that share the training."""
    lora_rank: int = 0
    """Train a LoRA of this rank, too; wan:lora has 64."""


@speaking
@dataclass(frozen=True, kw_only=True)
class Serve(Listening, Common, ModelRequest):
    """The API: sessions for programs, over HTTP and WebSockets.

    Its description is at /openapi.json. Ctrl-C and SIGTERM end it, after every session was written to --keep, from
    where the next server goes on with them.
    """

    keep: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/sessions")
    """Where sessions are written that are idle or saved, and all of them when it ends."""
    sessions: int = 8
    """Most sessions in memory; who was idle longest makes room for one more."""
    asleep: int = 1000
    """Most sessions on disk."""
    idle: float = 600.0
    """Seconds after which an idle session is written to disk; it comes back when it is asked for."""
    step_seconds: float = 300.0
    """Most seconds of a step, its wait included; a longer one is stopped, its session stands at its last chunk."""
    memory: Annotated[str, arg(metavar="SIZE")] = "64MiB"
    """Most bytes of a session's memory."""
