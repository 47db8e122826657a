"""`generate`, `demo` and `plan`: what walks, and what a walk needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from mirage.cli.arguments.common import Common, Walking, unset


@dataclass(frozen=True, kw_only=True)
class Generate(Walking):
    """One image and a camera path become a video that remembers.

    Beside the video V.mp4 it leaves V.sheet.png (a contact sheet) and V.receipt.json (versions, seed, seconds per
    stage, memory per chunk). Ctrl-C keeps a playable video of the chunks that are done.
    """

    image: Annotated[Path | None, unset("FILE", "needed unless --world is given")] = None
    """The first frame: PNG, JPEG, WebP, TIFF; cut about its centre to the model's aspect and resized."""
    trajectory: Annotated[str, arg(metavar="FILE|PRESET|KEYS")]
    """Where the camera goes, one video frame per pose, from the image's own pose on. A file (RealEstate10K or TUM text,
    npz, MotionCtrl or nerfstudio json, a COLMAP folder); a preset (orbit, dolly, pan, push_in, there_and_back,
    pan_and_return); or keys with frame counts ("w 31, right 10"; w s a d move, left right up down turn)."""
    out: Annotated[Path, arg(metavar="FILE")]
    """The video: .mp4, .mov or .mkv (H.264)."""
    prompt: Annotated[str | None, unset("TEXT", "none, or the saved world's")] = None
    """What unseen places should look like."""
    prompts: Annotated[Path | None, unset("FILE", "one prompt for the whole walk")] = None
    """A prompt from some frame or chunk of this walk on, both counted from 0: lines "frame 48: a red room" or "chunk 2:
    a garden", or a JSON object of the same. A chunk has one prompt."""
    negative_prompt: Annotated[str, arg(metavar="TEXT")] = ""
    """What it should not look like; for --guidance-scale other than 1."""
    conditioning: Literal["auto", "branch", "guidance"] = "auto"
    """How the memory enters: through the model's trained branch, or by guidance of the sampler, which needs no training
    and works with stock Wan2.2 weights. auto: the branch, if the model has one."""
    depth: Annotated[Path | None, unset("FILE", "the model's own estimate")] = None
    """Depth of the image: 16-bit PNG or PGM (millimetres), .npy or .npz (metres); sets the scale of the world."""
    depth_model: Annotated[str, arg(metavar="NAME|FOLDER|FILE")] = "head"
    """Who estimates the depth of every chunk: head (the model's own, from latents); depth-anything or depth-pro (of
    transformers, download), da3 or mapanything (packages that you install), each also as NAME:HUB-ID or NAME:FOLDER;
    or a folder or .npz of depth maps, one per video frame. All but head decode each chunk first."""
    fov: Annotated[float | None, unset("DEGREES", "that of the trajectory file, else 65")] = None
    """Horizontal field of view of the image, before it is cut."""
    convention: Annotated[Literal["c2w", "w2c"] | None, unset("{c2w,w2c}", "what the file's format means")] = None
    """What a trajectory file's matrices are, where its format does not say or says it wrong."""
    frames: Annotated[int | None, unset("N", "one per pose of a file, 49 of a preset")] = None
    """Video frames, 1 + 4k (5, 9, 13, ...). A path without --frames is cut to the next lower such number."""
    resample: bool = False
    """Spread the whole path over --frames, instead of its beginning."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    flow_shift: Annotated[float | None, unset("X", "the model's own, 5 for Wan2.2")] = None
    """Of the noise schedule: above 1, more of the steps are spent at high noise."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: 1 is none, higher follows the prompt more and takes twice the time."""
    draft: Literal["auto", "on", "off"] = "auto"
    """Draw a few views of each chunk first, so that what is made up moves as the camera does; auto: as the model was
    made for (the bundled one: on)."""
    noise_scale: Annotated[float | None, unset("X", "the model's own, 1 for Wan2.2")] = None
    """Deviation of the noise that a chunk begins with, 0 to 1: below 1 what is made up is calmer, and softer."""
    cache: Annotated[float | None, unset("THRESHOLD", "every step is computed")] = None
    """Leave out most of the network in denoising steps that differ by less than this from the one before, such as 0.05;
    with --conditioning guidance."""
    compile: bool = False
    """Compile the network's blocks: the first chunk waits for it."""
    seed: Annotated[int | None, unset("N", "0, or the saved world's")] = None
    """Same seed, same video, bit for bit, on the same machine."""
    memory: Literal["latent", "rgb", "rgb-voxel", "frames", "none"] = "latent"
    """latent: a spatial memory of latents; none: forget all but the last frames. To compare with: rgb, a cloud of every
    pixel, drawn and encoded again; rgb-voxel, the same merged in cubes; frames, past frames without geometry."""
    memory_budget: Annotated[str | None, unset("SIZE", "it grows as it must")] = None
    """Most bytes that the memory may take, such as 8MiB or 200KB."""
    static_filter: bool = False
    """Keep what moves out of the memory, found from depth and latents alone; for worlds in which something does."""
    static_mask: Annotated[Path | None, unset("FILE", "no mask")] = None
    """A video of what moves, white on black, a frame for each frame of the walk: it stays out of the memory."""
    moving: Annotated[str | None, unset("NAMES|ask", "nothing is looked for")] = None
    """Names of what may move, such as "person, dog": SAM 3 (of transformers, download) finds it in the frames, and it
    stays out of the memory. ask: Qwen3-VL names it, in every chunk; also ask:HUB-ID or ask:FOLDER. Decodes each chunk
    first."""
    segmenter: Annotated[str | None, unset("HUB-ID|FOLDER", "facebook/sam3")] = None
    """Other weights of SAM 3, for --moving."""
    fps: float = 16.0
    """Frames per second of the video."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: a GPU if there is one."""
    offload: Literal["none", "model", "group"] = "none"
    """To fit a smaller GPU, networks wait in main memory: model, all but the stage that runs; group, also all but two
    blocks of the transformer. `mirage plan` says what is needed."""
    quantize: Literal["none", "fp8", "int8", "nf4"] = "none"
    """Weights of fewer bits in transformer, branch and text encoder: fp8, int8 (need torchao), nf4 (bitsandbytes)."""
    tile: Annotated[int | None, unset("PIXELS", "frames are decoded whole")] = None
    """Decode large frames in tiles of about this size, blended where they meet."""
    world: Annotated[Path | None, unset("FILE", "a new world")] = None
    """Continue a saved world where its walk ended; the video then begins after the pose where it stood."""
    save_world: Annotated[Path | None, unset("FILE", "not saved")] = None
    """Save the world as it is after the walk (.safetensors)."""


@dataclass(frozen=True, kw_only=True)
class Demo(Walking):
    """A walk there and back in a procedural world, with memory and without, and the truth, on one sheet.

    The world is one that no model was trained on. Leaves the sheet and the videos in a folder.
    """

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/demo")
    """Where to put them."""
    chunks: int = 3
    """Length of the walk in chunks of the model."""
    walk: Literal["there_and_back", "pan_and_return", "orbit", "approach"] = "there_and_back"
    """Kind of walk; all end where they began."""
    seed: int = 5
    """Which held-out world (0 to 999,999), and the noise."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


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
