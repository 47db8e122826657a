"""`WorldModel`: the networks of one world model under one roof, with the verbs that the loop speaks.

A `diffusers.DiffusionPipeline`, so loading, saving, offload, LoRA and quantisation are diffusers' own. It knows
latents, frames and cameras; it knows nothing of memories or sessions.

Letters: `B` batch, `F` video frames, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels, `L` text
tokens. Frames are in [0, 1]; latents are normalised (the autoencoder's mean and deviation removed).
"""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from logging import CRITICAL
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from diffusers.hooks import FirstBlockCacheConfig
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models import flow
from mirage.models.codec import FRAMES, StreamDecoder, StreamEncoder, Tiles
from mirage.models.condition import Condition
from mirage.models.depth_head import LatentDepthHead
from mirage.models.files.branchfile import check_backbone, load_branch
from mirage.models.files.checkpoint import one_line
from mirage.models.files.index import look_first
from mirage.models.files.loras import Given, attach_loras, check_loras, merged, read_loras
from mirage.models.fitting.offload import Offload, check_offload, place, running
from mirage.models.fitting.quantize import Quantize, check_quantize, quantization
from mirage.models.fold import fold_time
from mirage.models.transformer import MemoryBranch, predict

BUNDLED = {"mini": Path(__file__).parent / "mini"}
Conditioning = Literal["auto", "branch", "guidance"]
_COMPILERS = ("g++", "clang++", "c++")
NEEDED = {"vae", "transformer", "text_encoder", "tokenizer", "scheduler"}


class WorldModel(DiffusionPipeline):
    """Autoencoder, denoiser with its memory branch, text encoder, depth head.

    >>> world = load_world_model("mini")
    >>> latents = world.encode(frames)                          # [F,3,H,W] in [0, 1] -> [T,C,h,w], F = 1 + 4 (T - 1)
    >>> depth = world.depth(latents, camera, first=True)        # DepthMap [T,h,w]

    A stock Wan2.2-TI2V folder loads too: without `memory_branch` the memory enters through the sampler, without
    `depth_head` depth must come from elsewhere.
    """

    _optional_components: ClassVar[list[str]] = ["memory_branch", "depth_head"]
    model_cpu_offload_seq = "text_encoder->memory_branch->transformer->depth_head->vae"

    vae: AutoencoderKLWan
    transformer: WanTransformer3DModel
    text_encoder: UMT5EncoderModel
    tokenizer: PreTrainedTokenizerBase
    scheduler: UniPCMultistepScheduler
    memory_branch: MemoryBranch | None
    depth_head: LatentDepthHead | None

    def __init__(
        self,
        vae: AutoencoderKLWan,
        transformer: WanTransformer3DModel,
        text_encoder: UMT5EncoderModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: UniPCMultistepScheduler,
        memory_branch: MemoryBranch | None = None,
        depth_head: LatentDepthHead | None = None,
        chunk_frames: int = 33,
        height: int = 704,
        width: int = 1280,
        default_steps: int = 40,
        text_length: int = 512,
        drafts: bool = False,
        noise_scale: float = 1.0,
        draft_guidance: float = 1.0,
        draft_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.guidance = flow.Guidance()  # how memory enters where no branch takes it in
        self.register_modules(
            vae=vae,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            memory_branch=memory_branch,
            depth_head=depth_head,
        )
        _check_prediction(memory_branch, self.prediction)
        self.register_to_config(
            chunk_frames=chunk_frames,
            height=height,
            width=width,
            default_steps=default_steps,
            text_length=text_length,
            drafts=drafts,
            noise_scale=noise_scale,
            draft_guidance=draft_guidance,
            draft_steps=draft_steps,
        )
        self._constants: dict[tuple[int, int], Tensor] = {}
        self.offload: Offload = "none"
        self.tiles: Tiles | None = None

    # -- verbs ------------------------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [F,3,H,W], F = 1 + 4k -> latents [T,C,h,w], T = 1 + k. One frame is an image; no randomness."""
        return self.encoder().encode(frames)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [T,C,h,w] from the start of a stream -> frames [1 + 4(T-1),3,H,W]."""
        return self.decoder().decode(latents)

    def encoder(self) -> StreamEncoder:
        """A new stream of frames, to be encoded piece by piece."""
        return StreamEncoder(self.vae)

    def decoder(self) -> StreamDecoder:
        """A new stream of latents, to be decoded piece by piece, without a seam; in tiles if `tiles` says so."""
        return StreamDecoder(self.vae, tiles=self.tiles, rest=None if self.offload == "none" else "cpu")

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> Tensor:
        """[1,L,D] of fixed length L, zero beyond the prompt's own length, as Wan was trained."""
        ids, known = self.tokenize(prompt)
        text = self.text_encoder(ids, known).last_hidden_state
        return text.masked_fill(known[..., None] == 0, 0)

    def tokenize(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Token ids and which of them are the prompt's own, each [1,L]."""
        clean = " ".join(html.unescape(html.unescape(prompt)).split())
        tokens: Any = self.tokenizer(
            [clean], padding="max_length", max_length=self._setting("text_length"), truncation=True, return_tensors="pt"
        )
        device = self._execution_device
        return tokens["input_ids"].to(device), tokens["attention_mask"].to(device)

    @torch.no_grad()
    def denoise(
        self,
        condition: Condition,
        *,
        generator: torch.Generator,
        steps: int | None = None,
        guidance_scale: float = 1.0,
        negative: Condition | None = None,
        conditioning: Conditioning = "auto",
        flow_shift: float | None = None,
        noise_scale: float | None = None,
        use_terminal: bool = True,
        callback: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Latents [B,C,T,h,w], float32, of the frames that `condition` describes; see `flow.denoise`.

        generator     lives on the CPU
        steps         None: the model's own default
        negative      None: no classifier-free guidance
        conditioning  how the memory enters, see `conditioning`
        flow_shift    of the noise schedule, more than 1 leans towards noise; None: the model's own
        noise_scale   deviation of the noise that is begun with; None: the model's own
        use_terminal  False: the last step begins where it falls, even if the scheduler says where (`shift_terminal`)
        """
        device, dtype = self._execution_device, self.transformer.dtype
        branch = self.memory_branch if self.conditioning(conditioning) == "branch" else None
        away = None if negative is None else negative.to(device, dtype)

        cached = self.transformer.is_cache_enabled
        if cached and branch is not None:
            raise InputError("step caching would skip blocks and give the branch's hints twice, old and new; accepted: "
                             "caching with conditioning 'guidance', or none")  # fmt: skip
        if cached:
            self.transformer._reset_stateful_cache()  # the last chunk's blocks say nothing about this one

        # in training the branch is kept in float32 beside a bfloat16 backbone
        learning = branch is not None and (branch.dtype, dtype) == (torch.float32, torch.bfloat16)
        mixed = torch.autocast(device.type, dtype) if learning else nullcontext()

        def output(latents: Tensor, timestep: Tensor, seen: Condition) -> Tensor:
            with running(self.transformer), mixed:
                if not cached:
                    return predict(self.transformer, branch, latents, timestep, seen)
                with self.transformer.cache_context("negative" if seen is away else "positive"):
                    return predict(self.transformer, branch, latents, timestep, seen)

        steps = self.default_steps if steps is None else steps
        return flow.denoise(
            output,
            condition.to(device, dtype),
            scheduler=_scheduler(self.scheduler, shift=flow_shift, use_terminal=use_terminal and steps > 1),
            steps=steps,
            generator=generator,
            guidance_scale=guidance_scale,
            negative=away,
            memory=self.guidance if branch is None else None,
            noise_scale=self.noise_scale if noise_scale is None else noise_scale,
            callback=callback,
        )

    def conditioning(self, asked: Conditioning = "auto") -> Literal["branch", "guidance"]:
        """How the memory enters: through the trained branch, or through the sampler, which needs no training.

        auto: the branch, if the model has one. A request that the model can not meet is an `InputError`.
        """
        if asked not in get_args(Conditioning):
            raise InputError(f"conditioning is {asked!r}; accepted: {', '.join(get_args(Conditioning))}")
        if asked == "branch" and self.memory_branch is None:
            raise InputError("conditioning is 'branch', but the model has no memory branch; accepted: guidance, auto")
        return "branch" if asked != "guidance" and self.memory_branch is not None else "guidance"

    def without_rays(self) -> WorldModel:
        """The same model with rays hidden from its branch, to measure what they are worth; all else is shared."""
        if self.memory_branch is None:
            raise InputError("the model has no memory branch, so no rays to hide")
        blind = copy.copy(self)
        blind.register_modules(memory_branch=self.memory_branch.without_rays())
        return blind

    @torch.no_grad()
    def depth(self, latents: Tensor, camera: Camera, *, first: bool) -> DepthMap:
        """Depth [T,h,w] of latents [T,C,h,w] seen by camera [T] (or one for all).

        first: latent 0 starts a stream, so it stands for one frame; all others stand for four.
        """
        if self.depth_head is None:
            raise InputError("this model has no depth head; accepted: a depth map or a depth estimator beside it")
        head, device = self.depth_head, self.runs_on
        latents = latents.to(device, head.dtype)
        single = torch.arange(len(latents), device=device) == (0 if first else -1)
        return head.depth(latents, camera.to(device), single)

    @torch.no_grad()
    def constant(self, frames: int, grid: tuple[int, int]) -> Tensor | None:
        """Latents [frames,C,h,w] of an all-white video, as a branch with "published" inputs sees them; else None.

        Encoded once per grid: ask for the longest that will be needed. The autoencoder is causal, so a shorter one is
        its beginning.
        """
        if self.memory_branch is None or self.memory_branch.inputs != "published":
            return None
        known = self._constants.get(grid)
        if known is None or len(known) < frames:
            size = (grid[0] * self.stride, grid[1] * self.stride)
            white = torch.ones(()).expand(1 + FRAMES * (frames - 1), 3, *size)
            known = self._constants[grid] = self.encode(white)
        return known[:frames]

    # -- speed ------------------------------------------------------------------------------------------------------

    def cache_steps(self, threshold: float) -> None:
        """From now on, leave out all blocks but the first in steps where that one changes its input nearly as in the
        step before: by a relative difference of at most `threshold`. diffusers' FirstBlockCache; 0.05 is careful.

        Only without the branch (conditioning "guidance"), whose hints would otherwise be stale: `denoise` refuses.
        """
        if not 0 <= threshold < 1:
            raise InputError(f"cache threshold is {threshold}; accepted: 0 up to 1, such as 0.05")
        self.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))

    def compile_blocks(self, backend: str = "inductor") -> None:
        """From now on, run the blocks of transformer and branch through torch.compile: the first chunk waits for the
        compiler, results differ in the last digits."""
        if backend == "inductor" and self._execution_device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
            raise InputError(f"compiling for the CPU needs a C++ compiler; none of {', '.join(_COMPILERS)} was found")
        self.transformer.compile_repeated_blocks(backend=backend)
        if self.memory_branch is not None:
            self.memory_branch.compile_repeated_blocks(backend=backend)

    # -- sizes ------------------------------------------------------------------------------------------------------

    @property
    def stride(self) -> int:
        """Pixels per latent cell, along each side."""
        its: Any = self.vae.config
        return its.scale_factor_spatial

    @property
    def channels(self) -> int:
        """C."""
        its: Any = self.vae.config
        return its.z_dim

    @property
    def chunk_frames(self) -> int:
        """Video frames per chunk, 1 + 4k."""
        return self._setting("chunk_frames")

    @property
    def size(self) -> tuple[int, int]:
        """Frame size (H, W) that the model was made for."""
        return self._setting("height"), self._setting("width")

    @property
    def default_steps(self) -> int:
        """Denoising steps unless asked otherwise."""
        return self._setting("default_steps")

    @property
    def noise_scale(self) -> float:
        """Deviation of the noise that a chunk begins with unless asked otherwise."""
        return self._setting("noise_scale")

    @property
    def draft_guidance(self) -> float:
        """Classifier-free guidance of drafts, unless more is asked for: what is made up is what words are about."""
        return self._setting("draft_guidance")

    @property
    def draft_steps(self) -> int:
        """Denoising steps of a draft unless asked otherwise; a draft has few frames, and all is decided there."""
        return self._setting("draft_steps") or self.default_steps

    @property
    def drafts(self) -> bool:
        """Whether a walk drafts what is unknown unless asked otherwise (`mirage.rollout.draft`)."""
        return self._setting("drafts")

    @property
    def prediction(self) -> flow.Prediction:
        """What the network outputs: velocity ("flow_prediction") or clean latents ("sample")."""
        its: Any = self.scheduler.config
        return its.prediction_type

    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **choices: Any) -> None:
        """As diffusers does, with LoRAs, attached or fused, in the transformer's weights: what is saved loads again."""
        with merged(self.transformer):
            super().save_pretrained(save_directory, *arguments, **choices)

    def eval(self) -> WorldModel:
        """All networks in evaluation mode."""
        for part in self.components.values():
            if isinstance(part, nn.Module):
                part.eval()
        return self

    @property
    def runs_on(self) -> torch.device:
        """The device that networks run on, wherever their weights lie."""
        return self._execution_device

    def _setting(self, name: str) -> Any:
        its: Any = self.config
        return its[name]


def load_world_model(
    name_or_path: str | Path,
    *,
    branch: str | Path | None = None,
    lora: Given = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    quantize: Quantize = "none",
    offload: Offload = "none",
    tile: int | None = None,
) -> WorldModel:
    """A world model by name ("mini"), from a folder, or from the Hugging Face hub ("owner/name"). Safetensors only.

    branch     a file with a memory branch, ours or as published, in place of the model's own
    lora       LoRAs of the transformer: a file, or several, each with its strength (`LoraSpec`, or "FILE:STRENGTH")
    dtype      None: bfloat16 on a GPU, float32 elsewhere
    quantize   weights of fewer bits, see `mirage.models.fitting.quantize`
    offload    where the networks lie when they do not run, see `mirage.models.fitting.offload`
    tile       decode frames in tiles of about that many pixels, see `Tiles`; None: whole
    Only a hub id touches the network. What can not be loaded is an `InputError` of one line.
    """
    device = torch.device(device or "cpu")
    check_quantize(quantize, device=device)
    check_offload(offload, device=device)
    # before gigabytes are read or fetched
    index = look_first(BUNDLED.get(str(name_or_path), name_or_path))
    if branch is not None and not Path(branch).expanduser().exists():
        raise InputError(f"no branch at {branch}: no such file or folder")
    loras = read_loras(lora, branch=branch)
    folder = _folder(name_or_path)
    stored = _check_files(folder)
    check_loras(loras, folder)
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        with quiet():
            model = WorldModel.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                quantization_config=quantization(quantize, set(stored), dtype=dtype),
                **({} if index is None else index.replaced()),
            )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError) as error:
        raise InputError(f"model {folder} does not load: {one_line(error)}") from error
    for name, part in model.components.items():
        if isinstance(part, nn.Module):
            missing = _missing(part, stored[name])
            if missing:
                raise InputError(f"model {folder}: {name} lacks {len(missing)} weights, the first one {missing[0]}")
    check_fit(model, folder)
    if branch is not None:
        model.register_modules(memory_branch=load_branch(branch, model.transformer))
        _check_prediction(model.memory_branch, model.prediction)
    attach_loras(loras, model.transformer)
    if device.type == "cpu":
        fold_time(model.vae)
    model.offload, model.tiles = offload, None if tile is None else Tiles.of(tile, model.stride)
    place({name: part for name, part in model.components.items() if isinstance(part, nn.Module)},
          offload=offload, device=device)  # fmt: skip
    return model.eval()


def _check_prediction(branch: MemoryBranch | None, prediction: flow.Prediction) -> None:
    if branch is not None and branch.detail is not None and prediction != "sample":
        raise InputError(f"the branch has a detail path, which draws clean latents to the readout, but the scheduler's "
                         f"prediction_type is {prediction!r}; accepted: 'sample'")  # fmt: skip


def _scheduler(
    scheduler: UniPCMultistepScheduler, *, shift: float | None, use_terminal: bool
) -> UniPCMultistepScheduler:
    """The model's own, or one like it with another shift, or without a say in where the last step begins, which a
    single step cannot have: it begins in noise."""
    its: Any = scheduler.config
    changes: dict[str, Any] = {}
    if shift is not None:
        if not 0 < shift < float("inf"):
            raise InputError(f"flow shift is {shift}; accepted: a number above 0 (Wan2.2: 5)")
        changes["flow_shift"] = shift
    if its.shift_terminal is not None and not use_terminal:
        changes["shift_terminal"] = None
    if not changes:
        return scheduler
    made: Any = UniPCMultistepScheduler.from_config(its, **changes)
    return made


def _folder(name_or_path: str | Path) -> Path:
    """Where the model lies on this machine, fetched from the hub if that is where it is."""
    name = str(name_or_path)
    if name in BUNDLED:
        if not (BUNDLED[name] / "model_index.json").is_file():
            raise InputError(f"the bundled model {name!r} is not installed: no model_index.json in {BUNDLED[name]}")
        return BUNDLED[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    known = f"accepted: {', '.join(BUNDLED)}, a folder in diffusers layout, or a hub id owner/name"
    hub_like = re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not isinstance(name_or_path, Path)
    if path.exists() or not hub_like:
        raise InputError(f"no model {name!r}; {known}")
    try:
        # weights and tables only: neither pickles nor code come down
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except (OSError, ValueError) as error:
        raise InputError(f"no model {name!r}; {known} ({one_line(error)})") from error


def _check_files(folder: Path) -> dict[str, set[str]]:
    """Every component named in model_index.json is there, and every weight file is whole: the weights of each."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(f"model {folder} has no model_index.json; accepted: a folder in diffusers layout")
    try:
        parts = json.loads(index.read_text())
    except ValueError as error:
        raise InputError(f"model {folder}: model_index.json is not JSON ({one_line(error)})") from error
    present = {name for name, value in parts.items() if isinstance(value, list) and value and value[0] is not None}
    if lacking := sorted(NEEDED - present):
        raise InputError(f"model {folder} names no {', '.join(lacking)} in model_index.json; all of them are needed")
    stored: dict[str, set[str]] = {}
    for name in sorted((NEEDED | set(WorldModel._optional_components)) & present):
        files = sorted((folder / name).glob("*.safetensors"))
        if not files and name not in ("tokenizer", "scheduler"):
            raise InputError(f"model {folder}: {name} has no .safetensors file; other formats are not read")
        stored[name] = set()
        for file in files:
            try:
                with safe_open(file, framework="pt") as weights:
                    stored[name] |= set(weights.keys())
            except (SafetensorError, OSError) as error:
                raise InputError(f"model {folder}: {name}/{file.name} is damaged ({one_line(error)})") from error
    return stored


def _missing(part: nn.Module, stored: set[str]) -> list[str]:
    """Weights of a network that no file gave: neither by their own name nor by that of a tied twin.

    Asked after loading, because the libraries fill such weights at random, with no more than a warning.
    """
    state = {**dict(part.named_parameters()), **dict(part.named_buffers())}
    persistent = part.state_dict(keep_vars=True).keys()  # and what a quantised weight adds to itself
    state = {name: value for name, value in state.items() if name in persistent}
    given = {id(value) for name, value in state.items() if name in stored}
    return [name for name, value in state.items() if name not in stored and id(value) not in given]


def check_fit(model: WorldModel, folder: Path) -> None:
    """The networks of a folder are for each other, or `InputError`: each loads by itself, and strangers would fail
    only as they run."""
    vae: Any = model.vae.config
    transformer: Any = model.transformer.config
    widths = {
        "channels of the vae's latents": (vae.z_dim, transformer.in_channels),
        "channels of the text_encoder": (model.text_encoder.config.d_model, transformer.text_dim),
    }
    for what, (its, expected) in widths.items():
        if its != expected:
            raise InputError(f"model {folder}: {what} are {its} and the transformer takes {expected}")
    if model.memory_branch is not None:
        check_backbone(dict(model.memory_branch.config), model.transformer, source=folder / "memory_branch")
    if model.depth_head is not None and (its := dict(model.depth_head.config)["channels"]) != vae.z_dim:
        raise InputError(f"model {folder}: depth_head takes {its} latent channels and the vae has {vae.z_dim}")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings of the libraries while loading: what matters is checked here and said once."""
    libraries: list[Any] = [diffusers_logging, transformers_logging]
    before = [(library.is_progress_bar_enabled(), library.get_verbosity()) for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity(CRITICAL)  # an error is raised too, and said by whoever catches it
    try:
        yield
    finally:
        for library, (bars, verbosity) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
