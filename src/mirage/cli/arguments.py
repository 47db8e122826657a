"""All that can be typed after `mirage`: one frozen dataclass per subcommand, with units and defaults in its docstrings,
which are the help. Imports nothing but tyro, so help and mistakes are answered at once.

Defaults that a model or a file decides are None here, and their help says who decides.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand


def _unset(metavar: str, meaning: str):
    """An option that may be left out: how its value is written, and what leaving it out means."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {meaning})")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every subcommand takes."""

    json: bool = False
    """Print a machine-readable last line on stdout."""


@dataclass(frozen=True, kw_only=True)
class Walking(Common):
    """What every subcommand takes that walks with a model."""

    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """mini (bundled), a folder in diffusers layout, or a Hugging Face id owner/name (downloads)."""
    branch: Annotated[Path | None, _unset("FILE", "the model's own, if it has one")] = None
    """A memory branch for the model: made by `mirage convert` or by training, or as published with the paper."""
    lora: Annotated[Path | None, _unset("FILE", "none")] = None
    """A LoRA of the model's transformer: diffusers, PEFT or published layout, with its alpha."""


@dataclass(frozen=True, kw_only=True)
class Generate(Walking):
    """One image and a camera path become a video that remembers.

    Beside the video V.mp4 it leaves V.sheet.png (a contact sheet) and V.receipt.json (versions, seed, seconds per
    stage, memory per chunk). Ctrl-C keeps a playable video of the chunks that are done.
    """

    image: Annotated[Path | None, _unset("FILE", "needed unless --world is given")] = None
    """The first frame: PNG, JPEG, WebP, TIFF; cut about its centre to the model's aspect and resized."""
    trajectory: Annotated[str, arg(metavar="FILE|PRESET|KEYS")]
    """Where the camera goes, one video frame per pose, from the image's own pose on. A file (RealEstate10K or TUM text,
    npz, MotionCtrl or nerfstudio json, a COLMAP folder); a preset (orbit, dolly, pan, push_in, there_and_back,
    pan_and_return); or keys with frame counts ("w 31, right 10"; w s a d move, left right up down turn)."""
    out: Annotated[Path, arg(metavar="FILE")]
    """The video: .mp4, .mov or .mkv (H.264)."""
    prompt: Annotated[str | None, _unset("TEXT", "none, or the saved world's")] = None
    """What unseen places should look like."""
    prompts: Annotated[Path | None, _unset("FILE", "one prompt for the whole walk")] = None
    """A prompt from some frame or chunk of this walk on, both counted from 0: lines "frame 48: a red room" or "chunk 2:
    a garden", or a JSON object of the same. A chunk has one prompt."""
    negative_prompt: Annotated[str, arg(metavar="TEXT")] = ""
    """What it should not look like; for --guidance-scale other than 1."""
    conditioning: Literal["auto", "branch", "guidance"] = "auto"
    """How the memory enters: through the model's trained branch, or by guidance of the sampler, which needs no training
    and works with stock Wan2.2 weights. auto: the branch, if the model has one."""
    depth: Annotated[Path | None, _unset("FILE", "the model's own estimate")] = None
    """Depth of the image: 16-bit PNG or PGM (millimetres), .npy or .npz (metres); sets the scale of the world."""
    depth_model: Annotated[str, arg(metavar="NAME|FOLDER|FILE")] = "head"
    """Who estimates the depth of every chunk: head (the model's own, from latents); depth-anything or depth-pro (of
    transformers, download), da3 or mapanything (packages that you install), each also as NAME:HUB-ID or NAME:FOLDER;
    or a folder or .npz of depth maps, one per video frame. All but head decode each chunk first."""
    fov: Annotated[float | None, _unset("DEGREES", "that of the trajectory file, else 65")] = None
    """Horizontal field of view of the image, before it is cut."""
    convention: Annotated[Literal["c2w", "w2c"] | None, _unset("{c2w,w2c}", "what the file's format means")] = None
    """What a trajectory file's matrices are, where its format does not say or says it wrong."""
    frames: Annotated[int | None, _unset("N", "one per pose of a file, 49 of a preset")] = None
    """Video frames, 1 + 4k (5, 9, 13, ...). A path without --frames is cut to the next lower such number."""
    resample: bool = False
    """Spread the whole path over --frames, instead of its beginning."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    flow_shift: Annotated[float | None, _unset("X", "the model's own, 5 for Wan2.2")] = None
    """Of the noise schedule: above 1, more of the steps are spent at high noise."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: 1 is none, higher follows the prompt more and takes twice the time."""
    draft: Literal["auto", "on", "off"] = "auto"
    """Draw a few views of each chunk first, so that what is made up moves as the camera does; auto: as the model was
    made for (the bundled one: on)."""
    noise_scale: Annotated[float | None, _unset("X", "the model's own, 1 for Wan2.2")] = None
    """Deviation of the noise that a chunk begins with, 0 to 1: below 1 what is made up is calmer, and softer."""
    cache: Annotated[float | None, _unset("THRESHOLD", "every step is computed")] = None
    """Leave out most of the network in denoising steps that differ by less than this from the one before, such as 0.05;
    with --conditioning guidance."""
    compile: bool = False
    """Compile the network's blocks: the first chunk waits for it."""
    seed: Annotated[int | None, _unset("N", "0, or the saved world's")] = None
    """Same seed, same video, bit for bit, on the same machine."""
    memory: Literal["latent", "rgb", "rgb-voxel", "frames", "none"] = "latent"
    """latent: a spatial memory of latents; none: forget all but the last frames. To compare with: rgb, a cloud of every
    pixel, drawn and encoded again; rgb-voxel, the same merged in cubes; frames, past frames without geometry."""
    memory_budget: Annotated[str | None, _unset("SIZE", "it grows as it must")] = None
    """Most bytes that the memory may take, such as 8MiB or 200KB."""
    static_filter: bool = False
    """Keep what moves out of the memory, found from depth and latents alone; for worlds in which something does."""
    static_mask: Annotated[Path | None, _unset("FILE", "no mask")] = None
    """A video of what moves, white on black, a frame for each frame of the walk: it stays out of the memory."""
    moving: Annotated[str | None, _unset("NAMES|ask", "nothing is looked for")] = None
    """Names of what may move, such as "person, dog": SAM 3 (of transformers, download) finds it in the frames, and it
    stays out of the memory. ask: Qwen3-VL names it, in every chunk; also ask:HUB-ID or ask:FOLDER. Decodes each chunk
    first."""
    segmenter: Annotated[str | None, _unset("HUB-ID|FOLDER", "facebook/sam3")] = None
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
    tile: Annotated[int | None, _unset("PIXELS", "frames are decoded whole")] = None
    """Decode large frames in tiles of about this size, blended where they meet."""
    world: Annotated[Path | None, _unset("FILE", "a new world")] = None
    """Continue a saved world where its walk ended; the video then begins after the pose where it stood."""
    save_world: Annotated[Path | None, _unset("FILE", "not saved")] = None
    """Save the world as it is after the walk (.safetensors)."""


@dataclass(frozen=True, kw_only=True)
class Plan(Common):
    """The memory a run needs, by component, stage and option, before anything is loaded or downloaded.

    Worked out from the model's configurations alone: its real code runs on tensors without storage.
    """

    model: Annotated[str, arg(metavar="NAME|FOLDER")] = "wan2.2-ti2v-5b"
    """wan2.2-ti2v-5b (with a memory branch of 15 blocks and a depth head), mini, or a folder in diffusers layout, of
    which only the configurations are read."""
    height: Annotated[int | None, _unset("PIXELS", "the model's own")] = None
    """Of the frames."""
    width: Annotated[int | None, _unset("PIXELS", "the model's own")] = None
    """Of the frames."""
    frames: Annotated[int | None, _unset("N", "three chunks")] = None
    """Length of the walk, 1 + 4k; the memory grows with it."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Of the weights and the work."""
    offload: Literal["none", "model", "group"] = "none"
    """As generate has it."""
    quantize: Literal["none", "fp8", "int8", "nf4"] = "none"
    """As generate has it."""
    tile: Annotated[int | None, _unset("PIXELS", "whole frames, and 320 among the options")] = None
    """As generate has it."""
    memory_budget: Annotated[str | None, _unset("SIZE", "it grows as it must")] = None
    """Most bytes that the spatial memory may take, such as 8MiB."""
    gpu: Annotated[str | None, _unset("SIZE", "options are listed without judging them")] = None
    """Memory of a GPU, such as 24GiB: which options fit it."""
    cpu: bool = False
    """Count a run on a CPU, where convolutions are computed another way."""


@dataclass(frozen=True, kw_only=True)
class CameraFile(Common):
    """Look at a camera file, or convert it.

    Poses are camera-to-world with OpenCV axes (x right, y down, z forward) here; files of other conventions are turned.
    """

    path: Annotated[Positional[Path], arg(metavar="FILE")]
    """RealEstate10K or TUM text, npz, MotionCtrl or nerfstudio json, or a folder (COLMAP text, 7-Scenes)."""
    convention: Annotated[Literal["c2w", "w2c"] | None, _unset("{c2w,w2c}", "what the format means")] = None
    """What the file's matrices are, where its format does not say or says it wrong."""
    out: Annotated[Path | None, _unset("PATH", "nothing is written")] = None
    """Where to write the converted path: a file, or a folder for colmap."""
    format: Annotated[
        Literal["re10k", "npz", "tum", "motionctrl", "colmap", "nerfstudio"] | None,
        _unset("{re10k,npz,tum,motionctrl,colmap,nerfstudio}", "needed with --out"),
    ] = None
    """How to write it."""
    size: Annotated[tuple[int, int] | None, _unset("H W", "needed by colmap and nerfstudio")] = None
    """Height and width of the images in pixels."""
    frames: Annotated[int | None, _unset("N", "as many as the file has")] = None
    """Resample the path to this many poses."""


@dataclass(frozen=True, kw_only=True)
class Inspect(Common):
    """What a saved world holds: points, bytes, extent, frames, coverage; and a map from above (PNG)."""

    world: Annotated[Positional[Path], arg(metavar="FILE")]
    """A world file (.safetensors)."""
    map: Annotated[Path | None, _unset("FILE", "WORLD.map.png beside the world")] = None
    """Where to draw the map."""


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """Write a saved world for other programs: points as PLY, the camera path for COLMAP or nerfstudio."""

    world: Annotated[Positional[Path], arg(metavar="FILE")]
    """A world file (.safetensors)."""
    ply: Annotated[Path | None, _unset("FILE", "no points are written")] = None
    """Points with colours, as binary PLY."""
    cameras: Annotated[Path | None, _unset("PATH", "no cameras are written")] = None
    """Cameras of the latent frames in the memory: a file, or a folder for colmap."""
    format: Literal["colmap", "nerfstudio", "re10k", "npz", "tum"] = "colmap"
    """How to write the cameras."""
    size: Annotated[tuple[int, int], arg(metavar="H W")] = (192, 256)
    """Height and width in pixels of the images that colmap and nerfstudio will see."""
    model: Annotated[str | None, _unset("NAME|FOLDER|HUB-ID", "false colours, from the features alone")] = None
    """The model that made the world: its decoder gives the points their true colours."""


@dataclass(frozen=True, kw_only=True)
class Convert(Common):
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
    heads: Annotated[int | None, _unset("N", "the config.json's, else width / 128 as in all of Wan")] = None
    """Attention heads, which weights do not tell."""
    alpha: Annotated[float | None, _unset("X", "the LoRA's own, else its rank")] = None
    """Alpha of a LoRA: its weights count alpha / rank times."""


@dataclass(frozen=True, kw_only=True)
class BenchMemory(Common):
    """Speed of the memory's read and write against the published algorithm, one thread; hole share; a plot."""

    points: Annotated[tuple[int, ...], arg(metavar="N [N ...]")] = (31_680, 316_800, 3_168_000)
    """Numbers of points in the memory."""
    repeats: int = 7
    """Timed turns of each contender; medians are compared."""
    plot: Annotated[Path | None, _unset("FILE", "no plot")] = None
    """Draw read time over points (PNG)."""


@dataclass(frozen=True, kw_only=True)
class BenchEfficiency(Walking):
    """Seconds per new frame and bytes of memory, stage by stage and chunk by chunk: latent memory against pixels."""

    memories: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ("latent", "rgb")
    """What is compared: the first with each of the others. latent, rgb, rgb-voxel, frames, none."""
    chunks: int = 5
    """Measured chunks; one more is walked first."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Which procedural world."""
    real_scale: bool = False
    """Instead of a model's walk: 704x1280 with the sizes of Wan2.2-TI2V-5B and random weights; memory read and write,
    the autoencoder, one transformer block (six minutes of one idle core, 12 GB)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of those networks."""
    plot: Annotated[Path | None, _unset("FILE", "no plot")] = None
    """Draw seconds per frame and MiB over chunks (PNG)."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSynthetic(Walking):
    """Walks in held-out procedural worlds, where the truth is known: PSNR and SSIM of what was seen and on return."""

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/synthetic")
    """Results, one folder per world; run again to go on where it stopped."""
    scenes: int = 20
    """How many worlds."""
    chunks: int = 4
    """Length of each walk in chunks of the model."""
    seed: int = 0
    """Which worlds: 1,000 per seed, 0 to 999, never trained on."""
    memories: Annotated[tuple[str, ...], _unset("NAME [NAME ...]", "latent rgb frames none")] = ()
    """What is compared: latent, rgb, rgb-voxel, frames, none; and ablations, each one word in quotes: "latent, no lock"
    (of scale), "latent, no free space" (points that were seen through stay), "latent, no gate" (of writing), "latent,
    filter", "latent, no filter" (of what moves), "latent, nearest" (point of a cell), "latent, int8", "latent, true
    first depth", "latent, true depth" (of every frame), "latent, no rays"."""
    kinds: Annotated[tuple[str, ...], _unset("KIND [KIND ...]", "there_and_back orbit pan_and_return")] = ()
    """Kinds of walk, in turn: those, walk, approach, still_look, and back_and_forth, which comes back to its start
    every 96 frames (three chunks of the bundled model): each return is scored; roam goes on and on."""
    moving: bool = False
    """Worlds with boxes that move."""
    keep_frames: bool = False
    """Leave every walk as a folder of frames and cameras beside its sheet, for evaluate revisit."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


@dataclass(frozen=True, kw_only=True)
class EvaluateUnseen(Walking):
    """Where nothing was seen: does the picture move as the camera does (degrees, from the pixels alone), and is what is
    made up like the world (a Frechet distance of our own, on latents)?

    Beside every figure stand what the estimator is off by on the true frames, and what a still picture would be.
    """

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/unseen")
    """Results, one folder per world; run again to go on where it stopped."""
    scenes: int = 12
    """How many worlds."""
    chunks: int = 2
    """Length of each walk in chunks of the model."""
    seed: int = 0
    """Which worlds: 1,000 per seed, 0 to 999, never trained on."""
    memories: Annotated[tuple[str, ...], _unset("NAME [NAME ...]", 'latent "latent, no rays"')] = ()
    """What is compared; names as evaluate synthetic has them. "latent, no rays": the same weights, rays hidden."""
    moves: Annotated[tuple[str, ...], _unset("MOVE [MOVE ...]", "pan back orbit through_door")] = ()
    """Ways into what was not seen, in turn: turning on the spot, walking backwards, half-way round a loop, through a
    door into the next room."""
    gaps: Annotated[tuple[int, ...], arg(metavar="N [N ...]")] = (4, 8)
    """How many frames lie between two whose motion is measured."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


@dataclass(frozen=True, kw_only=True)
class EvaluatePrompted(Walking):
    """Do words act? The same walk, which turns to the next room, with another colour of its walls in the prompt: share
    of unseen walls whose hue is nearest to the colour asked for, and dB between walks where nothing should change."""

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/prompted")
    """Results, one folder per world; run again to go on where it stopped."""
    scenes: int = 12
    """How many worlds; each has a next room and is walked once per colour."""
    seed: int = 0
    """Which worlds: 1,000 per seed, 0 to 999, never trained on."""
    colours: Annotated[tuple[str, ...], arg(metavar="WORD [WORD ...]")] = ("red", "yellow", "green", "blue")
    """Two or more colour words of the worlds' vocabulary; chance is one in as many."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


@dataclass(frozen=True, kw_only=True)
class EvaluateRevisit(Common):
    """How much of a place is left when the camera comes back, for rollouts of any system: memory gain and NMR."""

    rollouts: Annotated[Positional[tuple[Path, ...]], arg(metavar="FOLDER [FOLDER ...]")]
    """Folders with frames (or one video) and cameras (npz, txt or json)."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/revisit")
    """Results, one folder per rollout; run again to go on where it stopped."""
    metres: float = 1.0
    """Metres of one world unit of the cameras: the thresholds are in metres."""
    lpips: Annotated[Path | None, _unset("FOLDER", "without LPIPS")] = None
    """LPIPS weights."""
    dino: Annotated[Path | None, _unset("FOLDER", "without DINOv2")] = None
    """DINOv2 weights in transformers' layout: a second family of scores, on what the scene is."""
    seed: int = 0
    """Of the choice of frame pairs."""


@dataclass(frozen=True, kw_only=True)
class EvaluateReal(Common):
    """Real frames with true depth and pose (7-Scenes): lift one, look from another, compare; latent and rgb memory."""

    frames: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """frame-000000.color.jpg, .depth.png, .pose.txt, ... and camera-intrinsics.txt."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/real")
    """Results, one folder per pair of frames; run again to go on where it stopped."""
    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """Whose autoencoder; see generate."""
    gaps: Annotated[tuple[int, ...], arg(metavar="N [N ...]")] = (4, 20, 60)
    """How many frames apart the two of a pair are, by their numbers."""
    pairs: int = 8
    """Pairs per gap, spread over the sequence."""


@dataclass(frozen=True, kw_only=True)
class EvaluateRe10k(Walking):
    """RealEstate10K: the first frame and the true path of each clip, walked out and exactly back; PSNR, SSIM, LPIPS
    against what the camera saw, the closed loop, and pose errors where a clip's folder has estimated.npz, .txt or
    .json."""

    clips: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """NAME.txt (RealEstate10K's text) beside NAME.mp4 or a folder NAME of pictures, one frame per line of the text."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/re10k")
    """Results, one folder per clip; run again to go on where it stopped."""
    memory: Literal["latent", "rgb", "rgb-voxel", "frames", "none"] = "latent"
    """Its memory; see generate."""
    frames: int = 49
    """Frames of each clip, the first one included."""
    start: int = 0
    """Number of the frame that is given."""
    stride: int = 1
    """Every how many frames of a clip."""
    index: Annotated[Path | None, _unset("FILE", "--start, --stride and --frames decide")] = None
    """pixelSplat's index (json): which frame is given and which are scored."""
    scale: float = 1.0
    """World units of the model per unit of the clips, whose scale is arbitrary."""
    one_way: bool = False
    """Do not come back: no closed loop is scored."""
    limit: Annotated[int | None, _unset("N", "all")] = None
    """Only the first clips."""
    generated: Annotated[Path | None, _unset("FOLDER", "the model generates")] = None
    """Rollouts NAME/ made elsewhere (frames and cameras), scored instead of generating; needs --size."""
    size: Annotated[tuple[int, int] | None, _unset("H W", "the model's")] = None
    """Height and width in pixels at which is compared."""
    lpips: Annotated[Path | None, _unset("FOLDER", "without LPIPS, and the report says so")] = None
    """LPIPS weights: alexnet*.pth (torchvision's) and alex.pth (the lpips package's)."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Same seed, same videos."""


@dataclass(frozen=True, kw_only=True)
class EvaluateWorldScore(Walking):
    """WorldScore: make its camera paths, generate, and write the folders that its official evaluator reads.

    Below --out: worldscore_output (the official layout: frames, video, cameras, image data, time), mirage_tasks (what
    is done, contact sheets), report.md. What needs no weights is scored at once; run it again after the official
    evaluator, and its evaluation.json files are normalised and averaged here too.
    """

    dataset: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """WorldScore-Dataset, unpacked: static/static.json, dynamic/dynamic.json and their pictures."""
    movement: Literal["static", "dynamic"] = "static"
    """Which half of the data set."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/worldscore")
    """Results, one folder per instance; run again to go on where it stopped."""
    memory: Literal["latent", "rgb", "rgb-voxel", "frames", "none"] = "latent"
    """Its memory; see generate."""
    frames: int = 49
    """Frames per camera move, 1 + 4k, both ends included; the evaluator's own configuration has to say the same."""
    speed: float = 1.0
    """World units of a push_in (twice those of a move_left); WorldScore scores translation free of scale."""
    fps: float = 16.0
    """Frames per second of the videos."""
    limit: Annotated[int | None, _unset("N", "all")] = None
    """Only the first instances."""
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Same seed, same videos."""


@dataclass(frozen=True, kw_only=True)
class Prepare(Common):
    """Footage becomes clips to train on: latents, cameras, depth, what stands still, words. Run again to go on.

    NAME.mp4 (or a folder NAME of pictures) with its cameras NAME.txt, .npz or .json, one pose per frame
    (RealEstate10K, TUM, ...); NAME.caption.txt or captions.json; NAME.depth/ or NAME.depth.npz. Or the published
    training data (LMDB). What cannot be used is listed in report.txt, with the reason.
    """

    footage: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Videos or folders of pictures with what belongs to them, or shard_000.lmdb, ... of the published code."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Where the clips go: one .safetensors each, report.json and report.txt."""
    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """Whose latents; see generate."""
    frames: Annotated[int | None, _unset("N", "two chunks of the model")] = None
    """Video frames per clip, 1 + 4k, at least one chunk."""
    stride: int = 1
    """Take every so-manieth frame."""
    depth: Annotated[str, arg(metavar="auto|head|files|NAME")] = "auto"
    """Where depth comes from. files: beside the footage; head: the model's latent depth head; auto: files where there
    are any, else the head; or an estimator of frames by name, as --depth-model of generate takes it."""
    poses: Literal["auto", "fit", "keep"] = "auto"
    """fit: scale translations until they agree with the depth; keep: they are in its units; auto: keep with depth
    from files, else fit."""
    keep_moving: bool = False
    """Let what moves enter the memory too."""
    cameras: Annotated[Path | None, _unset("FOLDER", "beside the footage")] = None
    """Camera files by name, where they lie elsewhere."""
    captions: Annotated[Path | None, _unset("FILE|FOLDER", "beside the footage")] = None
    """{NAME: words} as JSON, or a folder of NAME.txt."""
    limit: Annotated[int | None, _unset("N", "all")] = None
    """Only the first so many videos."""
    processes: int = 1
    """Processes that share the clips."""


@dataclass(frozen=True, kw_only=True)
class Train(Common):
    """Train by a recipe of mirage.training.recipes; a run that was killed goes on from its checkpoint.

    On several GPUs: torchrun --nproc-per-node 8 -m mirage train ...
    """

    recipe: Annotated[str, arg(metavar="NAME")]
    """Which recipe: wan_stage1, wan_stage2, depth_head, or mini_autoencoder and its like."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Home of the runs: each recipe has its folder there, and finds there what earlier ones made."""
    processes: int = 1
    """Processes of one thread each that average their gradients."""
    steps: Annotated[int | None, _unset("N", "the recipe's")] = None
    """Training steps."""
    minutes: Annotated[float | None, _unset("M", "the recipe's")] = None
    """The run ends after so long, learning rate and all, if its steps do not end it sooner."""
    model: Annotated[str | None, _unset("NAME|FOLDER|HUB-ID", "the recipe's")] = None
    """Which released model learns; for wan_stage1 and wan_stage2."""
    data: Annotated[Path | None, _unset("FOLDER", "shards, in --out")] = None
    """What `mirage prepare` made; for wan_stage1, wan_stage2 and depth_head."""
    pictures: bool = False
    """With every evaluation of a denoiser, walk through held-out clips and back: validation/step-*.png."""
    tensorboard: bool = False
    """Keep the curve for TensorBoard too (needs the package tensorboard)."""


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
    steps: Annotated[int | None, _unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


COMMANDS: dict[type[Common], str] = {
    Generate: "generate",
    Plan: "plan",
    CameraFile: "camera",
    Inspect: "inspect",
    Export: "export",
    Convert: "convert",
    BenchMemory: "bench_memory",
    BenchEfficiency: "bench_efficiency",
    EvaluateSynthetic: "evaluate",
    EvaluateUnseen: "evaluate",
    EvaluatePrompted: "evaluate",
    EvaluateRevisit: "evaluate",
    EvaluateReal: "evaluate",
    EvaluateRe10k: "evaluate",
    EvaluateWorldScore: "evaluate",
    Prepare: "prepare",
    Train: "train",
    Demo: "demo",
}
"""Which module of `mirage.cli` does it."""


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """Measure speed and size on this machine."""

    what: OmitSubcommandPrefixes[
        Annotated[BenchMemory, subcommand("memory")] | Annotated[BenchEfficiency, subcommand("efficiency")]
    ]


@dataclass(frozen=True, kw_only=True)
class _Evaluate:
    """Make the tables: on procedural worlds, real frames, RealEstate10K, WorldScore, or anybody's rollouts."""

    what: OmitSubcommandPrefixes[
        Annotated[EvaluateSynthetic, subcommand("synthetic")]
        | Annotated[EvaluateUnseen, subcommand("unseen")]
        | Annotated[EvaluatePrompted, subcommand("prompted")]
        | Annotated[EvaluateRevisit, subcommand("revisit")]
        | Annotated[EvaluateReal, subcommand("real")]
        | Annotated[EvaluateRe10k, subcommand("re10k")]
        | Annotated[EvaluateWorldScore, subcommand("worldscore")]
    ]


_Typed = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Plan, subcommand("plan")]
    | Annotated[CameraFile, subcommand("camera")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[_Bench, subcommand("bench")]
    | Annotated[_Evaluate, subcommand("evaluate")]
    | Annotated[Prepare, subcommand("prepare")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Demo, subcommand("demo")]
)


def parse(argv: Sequence[str]) -> Common:
    """The request that was typed. Leaves by `SystemExit` after help and version (0) and on a mistake (2), said on
    stderr."""
    if list(argv) == ["--version"]:
        print(f"mirage {version('mirage')}")
        sys.exit(0)
    words = "Video world models that remember. `mirage SUBCOMMAND --help` shows units and defaults."
    typed: Any = tyro.cli(
        _Typed,
        prog="mirage",
        description=words,
        args=argv,  # pyright: ignore[reportArgumentType, reportCallIssue]
        config=(tyro.conf.FlagCreatePairsOff, OmitArgPrefixes),
    )
    request: Any = typed.what if isinstance(typed, _Bench | _Evaluate) else typed
    return request
