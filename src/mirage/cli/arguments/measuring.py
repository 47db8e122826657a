"""`bench` and `evaluate`: the tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from mirage.cli.arguments.common import CameraReading, Common, Walking, unset


@dataclass(frozen=True, kw_only=True)
class BenchMemory(Common):
    """Speed of the memory's read and write against the published algorithm, one thread; hole share; a plot."""

    points: Annotated[tuple[int, ...], arg(metavar="N [N ...]")] = (31_680, 316_800, 3_168_000)
    """Numbers of points in the memory."""
    repeats: int = 7
    """Timed turns of each contender; medians are compared."""
    plot: Annotated[Path | None, unset("FILE", "no plot")] = None
    """Draw read time over points (PNG)."""


@dataclass(frozen=True, kw_only=True)
class BenchEfficiency(Walking):
    """Seconds per new frame and bytes of memory, stage by stage and chunk by chunk: latent memory against pixels."""

    memories: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ("latent", "rgb")
    """What is compared: the first with each of the others. latent, rgb, rgb-voxel, frames, none."""
    chunks: int = 5
    """Measured chunks; one more is walked first."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Which procedural world."""
    real_scale: bool = False
    """Instead of a model's walk: 704x1280 with the sizes of Wan2.2-TI2V-5B and random weights; memory read and write,
    the autoencoder, one transformer block (six minutes of one idle core, 12 GB)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of those networks."""
    plot: Annotated[Path | None, unset("FILE", "no plot")] = None
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
    memories: Annotated[tuple[str, ...], unset("NAME [NAME ...]", "latent rgb frames none")] = ()
    """What is compared: latent, rgb, rgb-voxel, frames, none; and ablations, each one word in quotes: "latent, no lock"
    (of scale), "latent, no free space" (points that were seen through stay), "latent, no gate" (of writing), "latent,
    filter", "latent, no filter" (of what moves), "latent, nearest" (point of a cell), "latent, int8", "latent, true
    first depth", "latent, true depth" (of every frame), "latent, no rays"."""
    kinds: Annotated[tuple[str, ...], unset("KIND [KIND ...]", "there_and_back orbit pan_and_return")] = ()
    """Kinds of walk, in turn: those, walk, approach, still_look, and back_and_forth, which comes back to its start
    every 96 frames (three chunks of the bundled model): each return is scored; roam goes on and on."""
    moving: bool = False
    """Worlds with boxes that move."""
    keep_frames: bool = False
    """Leave every walk as a folder of frames and cameras beside its sheet, for evaluate revisit."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
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
    memories: Annotated[tuple[str, ...], unset("NAME [NAME ...]", 'latent "latent, no rays"')] = ()
    """What is compared; names as evaluate synthetic has them. "latent, no rays": the same weights, rays hidden."""
    moves: Annotated[tuple[str, ...], unset("MOVE [MOVE ...]", "pan back orbit through_door")] = ()
    """Ways into what was not seen, in turn: turning on the spot, walking backwards, half-way round a loop, through a
    door into the next room."""
    gaps: Annotated[tuple[int, ...], arg(metavar="N [N ...]")] = (4, 8)
    """How many frames lie between two whose motion is measured."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
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
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""


@dataclass(frozen=True, kw_only=True)
class EvaluateRevisit(CameraReading, Common):
    """How much of a place is left when the camera comes back, for rollouts of any system: memory gain and NMR."""

    rollouts: Annotated[Positional[tuple[Path, ...]], arg(metavar="FOLDER [FOLDER ...]")]
    """Folders with frames (or one video) and cameras (npz, txt or json)."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("outputs/revisit")
    """Results, one folder per rollout; run again to go on where it stopped."""
    metres: float = 1.0
    """Metres of one world unit of the cameras: the thresholds are in metres."""
    lpips: Annotated[Path | None, unset("FOLDER", "without LPIPS")] = None
    """LPIPS weights."""
    dino: Annotated[Path | None, unset("FOLDER", "without DINOv2")] = None
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
class EvaluateRe10k(CameraReading, Walking):
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
    index: Annotated[Path | None, unset("FILE", "--start, --stride and --frames decide")] = None
    """pixelSplat's index (json): which frame is given and which are scored."""
    scale: float = 1.0
    """World units of the model per unit of the clips, whose scale is arbitrary."""
    one_way: bool = False
    """Do not come back: no closed loop is scored."""
    limit: Annotated[int | None, unset("N", "all")] = None
    """Only the first clips."""
    generated: Annotated[Path | None, unset("FOLDER", "the model generates")] = None
    """Rollouts NAME/ made elsewhere (frames and cameras), scored instead of generating; needs --size."""
    size: Annotated[tuple[int, int] | None, unset("H W", "the model's")] = None
    """Height and width in pixels at which is compared."""
    lpips: Annotated[Path | None, unset("FOLDER", "without LPIPS, and the report says so")] = None
    """LPIPS weights: alexnet*.pth (torchvision's) and alex.pth (the lpips package's)."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
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
    limit: Annotated[int | None, unset("N", "all")] = None
    """Only the first instances."""
    steps: Annotated[int | None, unset("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Same seed, same videos."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure speed and size on this machine."""

    what: OmitSubcommandPrefixes[
        Annotated[BenchMemory, subcommand("memory")] | Annotated[BenchEfficiency, subcommand("efficiency")]
    ]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
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
