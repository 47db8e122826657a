"""What can be asked of each evaluation: one frozen noun each, which checks itself and whose docstrings are the help.

Imports nothing heavy, so that the command line can offer these very nouns. What a model decides (its frame size, the
length of its chunks) is no choice and stands in `Subject`.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from mirage.chunks import check_frames
from mirage.errors import InputError
from mirage.request import CameraReading, Says
from mirage.sampler import Sampler
from mirage.scenes.kinds import EVERY_KIND, HELD_OUT
from mirage.scenes.words import COLOURS

SEEDS = 1000
"""Scenes per seed of an evaluation, so that two seeds share none."""
MOVES = ("pan", "back", "orbit", "through_door")
"""Ways into regions that were not seen; see `unseen.MOVES`."""
MemoryName = Literal["latent", "rgb", "rgb-voxel", "frames", "none"]


@dataclass(frozen=True)
class Subject:
    """What is measured: its `name`, for the record, and the frame `size` (H, W), pixels per latent cell (`stride`) and
    `chunk_frames` that it works with."""

    name: str = ""
    size: tuple[int, int] = (192, 256)
    stride: int = 8
    chunk_frames: int = 33

    def __post_init__(self) -> None:
        check_frames(self.chunk_frames, "a chunk")

    @property
    def grid(self) -> tuple[int, int]:
        """Of the latents (h, w)."""
        return self.size[0] // self.stride, self.size[1] // self.stride

    def record(self) -> dict[str, Any]:
        """What the result of one task depends on; see `Options.record`."""
        return {"size": self.size, "chunk_frames": self.chunk_frames, "model": self.name}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every evaluation takes."""

    out: Annotated[Path, Says("FOLDER")]
    """Results, one folder per task; run again to go on where it stopped."""

    def __post_init__(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file; expected a folder for results")

    def record(self) -> dict[str, Any]:
        """What the result of one task depends on, as JSON can hold it: not where results lie, how many tasks there are
        or what else is left beside them; the steps are part of the subject's name."""
        elsewhere = ("out", "scenes", "limit", "keep_frames", "steps", "rollouts")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in elsewhere}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class SyntheticOptions(Options):
    """Walks in held-out procedural scenes, where the truth is known: PSNR and SSIM of regions seen before and on
    return."""

    out: Annotated[Path, Says("FOLDER")] = Path("outputs/synthetic")
    """Results, one folder per scene; run again to go on where it stopped."""
    scenes: int = 20
    """How many scenes."""
    chunks: int = 4
    """Length of each walk in chunks of the model."""
    seed: int = 0
    """Which scenes: 1,000 per seed, 0 to 999, held out from training."""
    memories: Annotated[tuple[str, ...], Says("NAME [NAME ...]")] = ("latent", "rgb", "frames", "none")
    """What is compared: latent, rgb, rgb-voxel, frames, none; and ablations, each one word in quotes: "latent, no lock"
    (of scale), "latent, no free space" (points that were seen through stay), "latent, no gate" (of writing), "latent,
    filter", "latent, no filter" (of what moves), "latent, nearest" (point of a cell), "latent, int8", "latent, true
    first depth", "latent, true depth" (of every frame), "latent, no rays"."""
    kinds: Annotated[tuple[str, ...], Says("KIND [KIND ...]")] = ("there_and_back", "orbit", "pan_and_return")
    """Kinds of walk, in turn: those, walk, approach, still_look, and back_and_forth, which comes back to its start
    every 96 frames (three chunks of the bundled model): each return is scored; roam goes on and on."""
    moving: bool = False
    """Scenes with boxes that move."""
    keep_frames: bool = False
    """Leave every walk as a folder of frames and cameras beside its sheet, for evaluate revisit."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_draw(self.scenes, self.seed)
        Sampler(steps=self.steps)
        _check_count(self.chunks, "chunk")
        _check_count(len(self.memories), "memory")
        if not self.kinds or not set(self.kinds) <= set(EVERY_KIND):
            raise InputError(f"walks are of one kind or more of {', '.join(EVERY_KIND)}; got {' '.join(self.kinds)!r}")


@dataclass(frozen=True, kw_only=True)
class UnseenOptions(Options):
    """Newly generated regions: does the picture move as the camera does (rotation error in degrees, from the pixels
    alone), and do its latents look like the scene's (a Frechet distance of our own)?

    Beside every figure stand the estimator's own error on the true frames, and that of a still picture.
    """

    out: Annotated[Path, Says("FOLDER")] = Path("outputs/unseen")
    """Results, one folder per scene; run again to go on where it stopped."""
    scenes: int = 12
    """How many scenes."""
    chunks: int = 2
    """Length of each walk in chunks of the model."""
    seed: int = 0
    """Which scenes: 1,000 per seed, 0 to 999, held out from training."""
    memories: Annotated[tuple[str, ...], Says("NAME [NAME ...]")] = ("latent", "latent, no rays")
    """What is compared; names as evaluate synthetic has them. "latent, no rays": the same weights, rays hidden."""
    moves: Annotated[tuple[str, ...], Says("MOVE [MOVE ...]")] = MOVES
    """Ways into regions that were not seen, in turn: turning on the spot, walking backwards, half-way round a loop,
    through a door into the next room."""
    gaps: Annotated[tuple[int, ...], Says("N [N ...]")] = (4, 8)
    """How many frames lie between two whose motion is measured; multiples of 4."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_draw(self.scenes, self.seed, most=SEEDS // 4)  # scenes without a door are passed over
        Sampler(steps=self.steps)
        _check_count(self.chunks, "chunk")
        _check_count(len(self.memories), "memory")
        if not self.moves or not set(self.moves) <= set(MOVES):
            raise InputError(f"moves are {', '.join(MOVES)}; got {' '.join(self.moves)!r}")
        if not self.gaps or min(self.gaps) < 1:
            raise InputError(f"gaps are frames, one or more, got {list(self.gaps)}")


@dataclass(frozen=True, kw_only=True)
class PromptedOptions(Options):
    """Do words act? The same walk, which turns to the next room, with another colour of its walls in the prompt: share
    of unseen walls whose hue is nearest to the colour asked for, and dB between walks where nothing should change."""

    out: Annotated[Path, Says("FOLDER")] = Path("outputs/prompted")
    """Results, one folder per scene; run again to go on where it stopped."""
    scenes: int = 12
    """How many scenes; each has a next room and is walked once per colour."""
    seed: int = 0
    """Which scenes: 1,000 per seed, 0 to 999, held out from training."""
    colours: Annotated[tuple[str, ...], Says("WORD [WORD ...]")] = ("red", "yellow", "green", "blue")
    """Two or more colour words of the scenes' vocabulary; chance is one in as many."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_draw(self.scenes, self.seed, most=SEEDS // 4)  # scenes without a door are passed over
        Sampler(steps=self.steps)
        if len(set(self.colours)) < 2 or not set(self.colours) <= set(COLOURS):
            raise InputError(f"colours are two or more of {', '.join(COLOURS)}; got {' '.join(self.colours)!r}")


@dataclass(frozen=True, kw_only=True)
class RevisitOptions(CameraReading, Options):
    """How much of a place is left when the camera comes back, for rollouts of any system: memory gain and NMR."""

    rollouts: tuple[Path, ...]
    """Folders with frames (or one video) and cameras (npz, txt or json)."""
    out: Annotated[Path, Says("FOLDER")] = Path("outputs/revisit")
    """Results, one folder per rollout; run again to go on where it stopped."""
    metres: float = 1.0
    """Metres of one unit of the cameras: the thresholds are in metres."""
    max_pairs: int = 100
    """Most pairs of frames, of a place and its revisit, per rollout."""
    pairs: Literal["r2m", "paper"] = "r2m"
    """Which frames are compared, and how rollouts are averaged: r2m, as the code of R2M-Bench does; paper, as its paper
    was read here before the code could be, which is what older reports have."""
    geometry: bool = True
    """Compare local matches of the two frames too (scikit-image)."""
    lpips: Annotated[Path | None, Says("FOLDER", "without LPIPS, and the report says so")] = None
    """LPIPS weights."""
    dino: Annotated[Path | None, Says("FOLDER", "without DINOv2")] = None
    """DINOv2 weights in transformers' layout: a second family of scores, on what the scene is."""
    seed: int = 42
    """Of the choice of frame pairs; R2M-Bench has 42."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count(len(self.rollouts), "rollout folder")
        _check_count(self.max_pairs, "pair")
        _check_positive(self.metres, "metres per unit of the cameras")


@dataclass(frozen=True, kw_only=True)
class RealOptions(Options):
    """Real frames with true depth and pose (7-Scenes): lift one, look from another, compare; latent and rgb memory."""

    frames: Path
    """frame-000000.color.jpg, .depth.png, .pose.txt, ... and camera-intrinsics.txt."""
    out: Annotated[Path, Says("FOLDER")] = Path("outputs/real")
    """Results, one folder per pair of frames; run again to go on where it stopped."""
    gaps: Annotated[tuple[int, ...], Says("N [N ...]")] = (4, 20, 60)
    """How many frames apart the two of a pair are, by their numbers."""
    pairs: int = 8
    """Pairs per gap, spread over the sequence."""
    memories: Annotated[tuple[str, ...], Says("NAME [NAME ...]")] = ("latent", "rgb", "rgb-voxel")
    """What is compared: latent, rgb, rgb-voxel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count(self.pairs, "pair")
        _check_count(len(self.memories), "memory")
        if not self.gaps or min(self.gaps) < 1:
            raise InputError(f"gaps are frames, one or more, got {list(self.gaps)}")


@dataclass(frozen=True, kw_only=True)
class PhotosOptions(Options):
    """Photographs: pictures through the autoencoder, a camera that turns in panoramas and back, and walks along the
    true path of an RGB-D camera from its first frame; each memory beside the autoencoder, the first frame as warped
    pixels and a still picture."""

    out: Annotated[Path, Says("FOLDER")] = Path("outputs/photos")
    """Results, one folder per picture or walk; run again to go on where it stopped."""
    stills: Annotated[Path | None, Says("FOLDER", "none")] = None
    """Pictures, shrunk and cut to the model's size."""
    panoramas: Annotated[Path | None, Says("FOLDER", "none")] = None
    """Equirectangular pictures, twice as wide as high: 40 degrees to the right and back, 97 frames."""
    rgbd: Annotated[Path | None, Says("FOLDER", "none")] = None
    """An RGB-D sequence in the layout of 7-Scenes: walks of 17 posed frames, one after the other."""
    every: int = 1
    """Every how many posed frames of the sequence."""
    memories: Annotated[tuple[str, ...], Says("NAME [NAME ...]")] = ("latent", "rgb", "none")
    """What is compared; names as evaluate synthetic has them."""
    limit: Annotated[int | None, Says("N", "all")] = None
    """Only the first pictures, panoramas and walks."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Same seed, same videos."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stills is self.panoramas is self.rgbd is None:
            raise InputError("nothing to measure with; accepted: stills, panoramas, an rgbd sequence, or several")
        Sampler(steps=self.steps)
        _check_count(len(self.memories), "memory")
        _check_count(self.every, "frame")
        if self.limit is not None:
            _check_count(self.limit, "picture or walk")


@dataclass(frozen=True, kw_only=True)
class Re10kOptions(CameraReading, Options):
    """RealEstate10K: the first frame and the true path of each clip, walked out and exactly back; PSNR, SSIM, LPIPS
    against what the camera saw, the closed loop, and pose errors where a clip's folder has estimated.npz, .txt or
    .json."""

    clips: Path
    """NAME.txt (RealEstate10K's text) beside NAME.mp4 or a folder NAME of pictures, one frame per line of the text."""
    out: Annotated[Path, Says("FOLDER")] = Path("outputs/re10k")
    """Results, one folder per clip; run again to go on where it stopped."""
    memory: MemoryName = "latent"
    """Its memory; see generate."""
    frames: int = 49
    """Frames of each clip, the first one included."""
    start: int = 0
    """Number of the frame that is given."""
    stride: int = 1
    """Every how many frames of a clip."""
    index: Annotated[Path | None, Says("FILE", "start, stride and frames decide")] = None
    """pixelSplat's index (json): which frame is given and which are scored."""
    scale: float = 1.0
    """Units of the model per unit of the clips, whose scale is arbitrary."""
    one_way: bool = False
    """Do not come back: no closed loop is scored."""
    limit: Annotated[int | None, Says("N", "all")] = None
    """Only the first clips."""
    generated: Annotated[Path | None, Says("FOLDER", "the model generates")] = None
    """Rollouts NAME/ made elsewhere (frames and cameras), scored instead of generating; needs the size."""
    size: Annotated[tuple[int, int] | None, Says("H W", "the model's")] = None
    """Height and width in pixels at which is compared."""
    lpips: Annotated[Path | None, Says("FOLDER", "without LPIPS, and the report says so")] = None
    """LPIPS weights: alexnet*.pth (torchvision's) and alex.pth (the lpips package's)."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Same seed, same videos."""

    def __post_init__(self) -> None:
        super().__post_init__()
        Sampler(steps=self.steps)
        _check_limit(self.limit)
        _check_count(self.stride, "frame of stride")
        _check_positive(self.scale, "scale")
        if self.frames < 2 or self.start < 0:
            raise InputError(
                f"a clip has two frames or more, from 0 on; got {self.frames} frames from number {self.start}"
            )
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"a size is a height and a width above 0, got {self.size[0]}x{self.size[1]}")
        if self.generated is not None and self.size is None:
            raise InputError("generated rollouts need the size of their pictures, H W; got none")


@dataclass(frozen=True, kw_only=True)
class WorldScoreOptions(Options):
    """WorldScore: make its camera paths, generate, and write the folders that its official evaluator reads.

    In the output folder: worldscore_output (the official layout: frames, video, cameras, image data, time),
    mirage_tasks (what is done, contact sheets), report.md. What needs no weights is scored at once; run it again after
    the official evaluator, and its evaluation.json files are normalised and averaged here too.
    """

    dataset: Path
    """WorldScore-Dataset, unpacked: static/static.json, dynamic/dynamic.json and their pictures."""
    movement: Literal["static", "dynamic"] = "static"
    """Which half of the data set."""
    out: Annotated[Path, Says("FOLDER")] = Path("outputs/worldscore")
    """Results, one folder per instance; run again to go on where it stopped."""
    memory: MemoryName = "latent"
    """Its memory; see generate."""
    frames: int = 49
    """Frames per camera move, 1 + 4k, both ends included; the evaluator's own configuration has to say the same."""
    speed: float = 1.0
    """Units of a push_in (twice those of a move_left); WorldScore scores translation free of scale."""
    fps: float = 16.0
    """Frames per second of the videos."""
    limit: Annotated[int | None, Says("N", "all")] = None
    """Only the first instances."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Same seed, same videos."""

    def __post_init__(self) -> None:
        super().__post_init__()
        Sampler(steps=self.steps)
        _check_limit(self.limit)
        check_frames(self.frames, "a move")
        _check_positive(self.speed, "speed")
        _check_positive(self.fps, "frames per second")


@dataclass(frozen=True, kw_only=True)
class EfficiencyOptions:
    """Seconds per new frame and bytes of memory, stage by stage and chunk by chunk: latent memory against pixels."""

    memories: Annotated[tuple[str, ...], Says("NAME [NAME ...]")] = ("latent", "rgb")
    """What is compared: the first with each of the others. latent, rgb, rgb-voxel, frames, none."""
    chunks: int = 5
    """Measured chunks; one more is walked first."""
    steps: Annotated[int | None, Says("N", "the model's own")] = None
    """Denoising steps per chunk."""
    seed: int = 0
    """Which procedural scene."""

    def __post_init__(self) -> None:
        _check_count(self.chunks, "chunk")
        _check_count(len(self.memories), "memory")
        Sampler(steps=self.steps)
        if self.seed < 0:
            raise InputError(f"a scene's seed is 0 or more, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Seconds and memory of `mirage generate` from one picture, and seconds of decoding 33 frames with one thread."""

    model: Annotated[str, Says("NAME|FOLDER")] = "mini"
    """Of every build its own model of this name, or the same folder."""
    image: Annotated[Path | None, Says("FILE", "a picture of a procedural scene")] = None
    """The picture that walks begin from."""
    frames: int = 97
    """Frames of a walk, 1 + 4k."""
    runs: int = 5
    """Turns that are counted, after one that is not."""
    threads: Annotated[int | None, Says("N", "as many as each build takes")] = None
    """Threads of `generate`."""

    def __post_init__(self) -> None:
        check_frames(self.frames, "a walk")
        _check_count(self.runs, "run")
        if self.threads is not None:
            _check_count(self.threads, "thread")
        if self.image is not None and not self.image.is_file():
            raise InputError(f"{self.image} is no file; expected a picture")
        if Path(self.model).exists() and not Path(self.model).is_dir():
            raise InputError(f"{self.model} is no folder; expected a model")


# -- checks that several share ------------------------------------------------------------------------------------


def _check_draw(scenes: int, seed: int, *, most: int = SEEDS) -> None:
    """So many scenes of this evaluation's seed are all held out and its own."""
    if not 1 <= scenes <= most or not 0 <= seed * SEEDS < HELD_OUT:
        raise InputError(
            f"an evaluation has 1 to {most} scenes and a seed of 0 to {HELD_OUT // SEEDS - 1}, "
            f"got {scenes} scenes and seed {seed}"
        )


def _check_count(count: int, what: str) -> None:
    if count < 1:
        raise InputError(f"an evaluation has at least one {what}, got {count}")


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise InputError(f"a limit is 1 or more, got {limit}")


def _check_positive(value: float, what: str) -> None:
    if not 0 < value < float("inf"):
        raise InputError(f"{what}: expected a number above 0, got {value:g}")
