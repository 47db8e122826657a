"""What is asked: `Request` describes a walk, `ModelRequest` the model that makes it. Everybody who walks makes one.

    request = Request(image=Path("photo.jpg"), trajectory="w 31, right 10", seed=3)
    session, path = begin(request, load_model(ModelRequest()))        # mirage.rollout.begin

On the ground floor, standard library only. Values check themselves when they are made; what only a model or a file can
tell is looked at by `mirage.rollout.begin`. Both are plain: `plain` is what JSON can say of one, `from_plain` reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

from mirage.chunks import check_frames
from mirage.errors import InputError, check_number
from mirage.kinds import check_fields, checked, fit
from mirage.plugins import plugin_names
from mirage.sampler import Sampler
from mirage.units import parse_bytes

MEMORIES = ("latent", "rgb", "rgb-voxel", "frames", "none")
"""Our own; the names of others are those of packages that bring them (plugins.py)."""


@dataclass(frozen=True)
class Says:
    """How a field is shown to people: what its value looks like, what leaving it out means, and whether a list is given
    one by one."""

    value: str
    unset: str | None = None
    repeated: bool = False


class _Plain:
    """A frozen dataclass of plain values and paths, which JSON can hold."""

    def plain(self) -> dict[str, Any]:
        """Every choice that is not the default, paths as text."""
        chosen = {item.name: getattr(self, item.name) for item in fields(self) if not _default(self, item)}  # pyright: ignore[reportArgumentType]
        return {name: _json(value) for name, value in chosen.items()}

    def _check_kinds(self) -> None:
        """Every value is of its field's kind, or `InputError`; paths may be text, numbers those of numpy."""
        check_fields(self, lambda name: name.replace("_", " "))

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """The inverse of `plain`. Unknown names and values of another kind are an `InputError` that names `source`."""
        return cls(**checked_plain(cls, values, source=source))


@dataclass(frozen=True, kw_only=True)
class ModelRequest(_Plain):
    """Which model, and how it is to run."""

    model: Annotated[str, Says("NAME|FOLDER|HUB-ID")] = "mini"
    """mini (bundled), a folder in diffusers layout, or a Hugging Face id owner/name (downloads)."""
    branch: Annotated[Path | None, Says("FILE", "the model's own, if it has one")] = None
    """A memory branch for the model: made by `mirage convert` or by training, or as published with the paper."""
    lora: Annotated[tuple[str, ...], Says("FILE[:STRENGTH]", "none", repeated=True)] = ()
    """A LoRA of the model's transformer, in any layout of docs/loras_and_checkpoints.md, with its alpha; :0.8 behind it
    is its strength. Several are summed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: a GPU if there is one."""
    offload: Literal["none", "model", "group"] = "none"
    """To fit a smaller GPU, networks wait in main memory: model, all but the stage that runs; group, also all but two
    blocks of the transformer. `mirage plan` says what is needed."""
    quantize: Literal["none", "fp8", "int8", "nf4"] = "none"
    """Weights of fewer bits in transformer, branch and text encoder: fp8, int8 (need torchao), nf4 (bitsandbytes)."""
    tile: Annotated[int | None, Says("PIXELS", "frames are decoded whole")] = None
    """Decode large frames in tiles of about this size, blended where they meet."""
    cache: Annotated[float | None, Says("THRESHOLD", "every step is computed")] = None
    """Leave out most of the network in denoising steps that differ by less than this from the one before, such as 0.05;
    with conditioning by guidance."""
    compile: bool = False
    """Compile the network's blocks: the first chunk waits for it."""

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.tile is not None:
            check_number("tile", self.tile, kind=int, low=1, accepted="pixels, above 0")
        if self.cache is not None and not 0 <= self.cache < 1:
            raise InputError(f"cache threshold is {self.cache}; accepted: 0 up to 1, such as 0.05")
        if self.cache is not None and self.compile:
            raise InputError("step caching and compiling do not go together: one of them")


@dataclass(frozen=True, kw_only=True)
class CameraReading:
    """What a person says of a camera file where the file cannot: for every subcommand that reads one."""

    convention: Annotated[Literal["c2w", "w2c"] | None, Says("{c2w,w2c}", "what the file's format means")] = None
    """Whether a camera file's matrices are camera-to-world or world-to-camera."""
    axes: Annotated[
        Literal["opencv", "opengl", "ned", "ros", "unreal"] | None,
        Says("{opencv,opengl,ned,ros,unreal}", "what the file's format means"),
    ] = None
    """Its camera axes: opencv (right, down, forward), opengl (right, up, back), ned (forward, right, down), ros
    (forward, left, up), unreal (forward, right, up: left-handed)."""
    quaternion: Annotated[
        Literal["xyzw", "wxyz", "yzwx"] | None, Says("{xyzw,wxyz,yzwx}", "what the file's format means")
    ] = None
    """The order of its quaternions: MonST3R and CUT3R write wxyz into files that look like TUM's."""
    camera: Annotated[str | None, Says("NAME", "the only one")] = None
    """Which camera of a rig, by its folder or its id."""
    image_size: Annotated[tuple[int, int] | None, Says("H W", "what the file says")] = None
    """Height and width in pixels of the images that its intrinsics are of."""
    pixel_centers: Annotated[
        Literal["half", "integer"] | None, Says("{half,integer}", "what the file's format means")
    ] = None
    """Where its intrinsics have the centre of the first pixel: at (0.5, 0.5) or at (0, 0)."""
    read_as: Annotated[str | None, Says("FORMAT", "found by what is in the file")] = None
    """Its format, for a file that two claim: nerfstudio, instant-ngp, tum, colmap, ..."""
    bridge_lost: bool = False
    """Fill poses that tracking lost from their neighbours, instead of leaving them out."""


@dataclass(frozen=True, kw_only=True)
class Request(CameraReading, _Plain):
    """One walk: from an image or a saved world, along a trajectory."""

    image: Annotated[Path | tuple[Path, ...] | None, Says("FILE [FILE ...]", "needed unless a world is continued")] = (
        None
    )
    """The first frame: PNG, JPEG, WebP, TIFF; cut about its centre to the model's aspect and resized. Several pictures,
    a film or a folder: each view enters the memory where its camera stands, and the walk goes on from the last."""
    image_cameras: Annotated[Path | None, Says("FILE", "what lies beside a film or folder")] = None
    """Cameras of several pictures or of a film, a pose for each, in any format that a trajectory may have."""
    world: Annotated[Path | None, Says("FILE", "a new world")] = None
    """Continue a saved world where its walk ended; the video then begins after the pose where it stood."""
    trajectory: Annotated[str, Says("FILE|PRESET|KEYS", "needed")] = ""
    """Where the camera goes, one video frame per pose, from the image's own pose on. A file (RealEstate10K or TUM text,
    npz, MotionCtrl or nerfstudio json, a COLMAP folder); a preset (orbit, dolly, pan, push_in, there_and_back,
    pan_and_return); or keys with frame counts ("w 31, right 10"; w s a d move, left right up down turn)."""
    prompt: Annotated[str | None, Says("TEXT", "none, or the saved world's")] = None
    """What newly generated regions should look like."""
    prompts: Annotated[Path | None, Says("FILE", "one prompt for the whole walk")] = None
    """A prompt from some frame or chunk of this walk on, both counted from 0: lines "frame 48: a red room" or "chunk 2:
    a garden", or a JSON object of the same. A chunk has one prompt."""
    negative_prompt: Annotated[str | None, Says("TEXT", "the model's own, or the saved world's")] = None
    """What they should not look like; for a guidance scale other than 1."""
    conditioning: Literal["auto", "branch", "guidance"] = "auto"
    """How the memory enters: through the model's trained branch, or by guidance of the sampler, which needs no training
    and works with stock Wan2.2 weights. auto: the branch, if the model has one."""
    depth: Annotated[Path | None, Says("FILE", "the model's own estimate")] = None
    """Depth of the image, whoever estimates that of the chunks: 16-bit PNG or PGM (millimetres), .npy or .npz (metres);
    sets the scale of the world. Of several pictures or a film: a folder of maps, or an .npz, a map for each."""
    depth_model: Annotated[str, Says("NAME|FOLDER|FILE")] = "head"
    """Who estimates the depth of every chunk: head (the model's own, from latents); depth-anything or depth-pro (of
    transformers, download), da3 or mapanything (packages that you install), each also as NAME:HUB-ID or NAME:FOLDER;
    or a folder or .npz of depth maps, one per video frame. All but head and .npz decode each chunk first."""
    fov: Annotated[float | None, Says("DEGREES", "the image's EXIF, else that of the trajectory file, else 65")] = None
    """Horizontal field of view of the image, before it is cut; the last default is of its longer side."""
    size: Annotated[tuple[int, int] | None, Says("H W", "the model's own")] = None
    """Height and width of the frames in pixels, multiples of the model's stride and patch; portrait and square too."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How the image comes to that shape: cut about its centre, padded with its outermost pixels, or stretched."""
    frames: Annotated[int | None, Says("N", "one per pose of a file, 49 of a preset")] = None
    """Video frames, 1 + 4k (5, 9, 13, ...). A path without a number of frames is cut to the next lower such number."""
    fps: Annotated[float | None, Says("X", "the model's own: 24 for Wan2.2, 16 for the bundled one")] = None
    """Frames per second of the video."""
    resample: bool = False
    """Spread the whole path over the frames, instead of its beginning."""
    steps: Annotated[int | None, Says("N", "the model's own, or the saved world's")] = None
    """Denoising steps per chunk, 1 to 1000."""
    solver: Annotated[Literal["unipc", "euler", "dmd"] | None, Says("{unipc,euler,dmd}", "the model's own, unipc")] = (
        None
    )
    """How the steps are taken: unipc, of second order; euler; dmd, with fresh noise before each further step, as models
    of few steps that were distilled by distribution matching want it."""
    timesteps: Annotated[tuple[float, ...] | None, Says("T [T ...]", "from steps and flow shift")] = None
    """The timesteps themselves, falling from 1000, such as 1000 757 522, which a step-distilled LoRA was made for; with
    the solvers dmd, which they mean where none is named, and euler."""
    flow_shift: Annotated[float | None, Says("X", "the model's own, 5 for Wan2.2")] = None
    """Of the noise schedule: above 1, more of the steps are spent at high noise."""
    guidance_scale: Annotated[float | None, Says("X", "the model's own, 5 for Wan2.2, or the saved world's")] = None
    """Classifier-free guidance: 1 is none, higher follows the prompt more and takes twice the time."""
    noise_scale: Annotated[float | None, Says("X", "the model's own, 1 for Wan2.2")] = None
    """Standard deviation of the noise that a chunk begins with, 0 to 1: below 1 new regions are calmer, and softer."""
    draft: Literal["auto", "on", "off"] = "auto"
    """Draw a few views of each chunk first, so that newly generated regions move as the camera does; auto: as the model
    was made for (the bundled one: on)."""
    seed: Annotated[int | None, Says("N", "0, or the saved world's")] = None
    """Same seed, same video, bit for bit, on the same machine."""
    memory: Annotated[str, Says("{latent,rgb,rgb-voxel,frames,none}")] = "latent"
    """latent: a spatial memory of latents; none: forget all but the last frames. To compare with: rgb, a cloud of every
    pixel, drawn and encoded again; rgb-voxel, the same merged in cubes; frames, past frames without geometry; or what
    another package brings, by its name."""
    memory_budget: Annotated[str | None, Says("SIZE", "it grows as it must")] = None
    """Most bytes that the memory may take, such as 8MiB or 200KB."""
    memory_policy: Literal["default", "published"] = "default"
    """How a latent memory works; published: as the published code's, which its branches were trained on: every cell
    stored, the nearest point wins, half a cell off."""
    references: Annotated[int | None, Says("N", "the model's own: 2, with a published branch 4")] = None
    """How many earlier views the denoiser is shown, 0 to 64."""
    preceding: Annotated[int | None, Says("N", "the model's own: 1, with a published branch 2")] = None
    """How many latent frames before the first one of a chunk it is shown, 0 to 15."""
    static_filter: bool = False
    """Keep what moves out of the memory, found from depth and latents alone; for worlds in which something does."""
    static_mask: Annotated[Path | None, Says("FILE", "no mask")] = None
    """A video of what moves, white on black, a frame for each frame of the walk: it stays out of the memory."""
    moving: Annotated[str | None, Says("NAMES|ask", "nothing is looked for")] = None
    """Names of what may move, such as "person, dog": SAM 3 (of transformers, download) finds it in the frames, and it
    stays out of the memory. ask: Qwen3-VL names it, in every chunk; also ask:HUB-ID or ask:FOLDER. Decodes each chunk
    first."""
    segmenter: Annotated[str | None, Says("HUB-ID|FOLDER", "facebook/sam3")] = None
    """Other weights of SAM 3, for named moving things."""

    def __post_init__(self) -> None:
        self._check_kinds()
        if isinstance(self.image, tuple) and len(self.image) < 2:
            object.__setattr__(self, "image", self.image[0] if self.image else None)
        if (self.image is None) == (self.world is None):
            raise InputError("a walk begins with an image or goes on with a saved world: one of the two is needed")
        if not self.trajectory:
            raise InputError("a walk needs a trajectory: a file, a preset such as orbit, or keys such as 'w 31'")
        if self.memory_policy != "default" and (self.world is not None or self.memory != "latent"):
            raise InputError("a memory policy is for a new latent memory; a saved world has its own")
        for name, most in (("references", 64), ("preceding", 15)):
            if (value := getattr(self, name)) is not None:
                check_number(f"the number of {name} frames", value, kind=int, low=0, high=most)
        for name in ("image_cameras", "depth", "fov", "size", "memory_budget"):
            if self.world is not None and getattr(self, name) is not None:
                raise InputError(f"{_words(name)} is for a new world; a saved one has its own")
        if self.static_mask is not None and self.moving is not None:
            raise InputError("a static mask shows what moves, and moving things are looked for: one of them")
        if self.segmenter is not None and self.moving is None:
            raise InputError("a segmenter is for moving things: what shall it look for?")
        if self.memory not in MEMORIES and self.memory not in (others := plugin_names("memories")):
            raise InputError(f"memory is {self.memory!r}; accepted: {', '.join([*MEMORIES, *others])}")
        for name in ("memory_budget", "world"):
            if self.memory != "latent" and getattr(self, name) is not None:
                raise InputError(f"{_words(name)} is about a latent memory, not memory {self.memory}")
        if self.frames is not None:
            check_number("frames", self.frames, kind=int)
            check_frames(self.frames, "a walk")
        if self.fov is not None:
            check_number("the field of view", self.fov, low=1, high=170, accepted="1 to 170 degrees")
        for what, size in (("the size", self.size), ("the image size", self.image_size)):
            for side in size or ():
                check_number(what, side, kind=int, low=1, high=2**15, accepted="pixels, above 0")
        if self.fps is not None:
            low = math.nextafter(0.0, 1.0)
            check_number("frames per second", self.fps, low=low, high=1000.0, accepted="above 0, to 1000")
        if self.seed is not None:
            check_number("the seed", self.seed, kind=int, low=-(2**63), high=2**63 - 1, accepted="64 bits")
        if self.memory_budget is not None:
            parse_bytes(self.memory_budget)
        sampler = self.sampler  # which checks itself
        if self.timesteps and self.flow_shift is not None:
            raise InputError("a flow shift makes timesteps, and timesteps are given: one of them")
        if self.negative_prompt and sampler.guidance == 1.0:
            raise InputError(UNGUIDED)

    @property
    def images(self) -> tuple[Path, ...]:
        """What it begins with: one picture or several, or a film; nothing, where a world is continued."""
        return self.image if isinstance(self.image, tuple) else () if self.image is None else (self.image,)

    @property
    def sampler(self) -> Sampler:
        """What is asked of the sampler."""
        return Sampler(
            steps=self.steps,
            shift=self.flow_shift,
            noise=self.noise_scale,
            guidance=self.guidance_scale,
            solver=self.solver,
            timesteps=self.timesteps,
        )

    @checked
    def check_with(self, model: ModelRequest) -> None:
        """`InputError` for what the two exclude."""
        if model.cache is not None and self.conditioning == "branch":
            raise InputError(BRANCH_CACHED)


UNGUIDED = "a negative prompt needs a guidance scale other than 1 (Wan2.2: 5)"
BRANCH_CACHED = (
    "step caching does not go with the memory branch, whose hints would be stale in the steps that are left out; "
    "accepted with conditioning guidance"
)


def checked_plain(cls: type[Any], values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Arguments for a dataclass of plain values from what JSON said: names that it has, values of its kinds."""
    if not isinstance(values, Mapping):
        raise InputError(f"{source} is {type(values).__name__}; expected an object of choices")
    known = {item.name for item in fields(cls)}
    if odd := sorted(str(name) for name in values.keys() - known):
        raise InputError(f"{source} has {', '.join(odd[:5])}; accepted: {', '.join(sorted(known))}")
    hints = get_type_hints(cls)
    return {name: fit(hints[name], value, f"{source}: {name}") for name, value in values.items()}


def _json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_json(one) for one in value] if isinstance(value, tuple) else value


def _default(of: Any, item: Any) -> bool:
    return item.default is not MISSING and getattr(of, item.name) == item.default


def _words(name: str) -> str:
    return "a " + name.replace("_", " ")
