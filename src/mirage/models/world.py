"""`WorldModel`: the networks of one world model under one roof, with the verbs that the loop speaks.

A `diffusers.DiffusionPipeline`, so loading, saving, offload, LoRA and quantisation are diffusers' own. It knows
latents, frames and cameras; it knows nothing of memories or sessions.

Letters: `B` batch, `F` video frames, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels, `L` text
tokens. Frames are in [0, 1]; latents are normalised (the autoencoder's mean and deviation removed).
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, ClassVar, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from diffusers.hooks import FirstBlockCacheConfig
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from mirage.chunks import frame_count
from mirage.errors import InputError, short
from mirage.formats.image import in_range
from mirage.formats.photograph import Picture, photograph_of
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.tensors import Reals
from mirage.kinds import checked
from mirage.models import flow
from mirage.models.codec import StreamDecoder, StreamEncoder, Tiles
from mirage.models.condition import Condition
from mirage.models.depth_head import LatentDepthHead
from mirage.models.files.loras import merged
from mirage.models.fitting.offload import Offload, running
from mirage.models.streams import Autoencoder, stream_decoder, stream_encoder
from mirage.models.transformer import MemoryBranch, predict
from mirage.models.words import cleaned
from mirage.sampler import Sampler

Conditioning = Literal["auto", "branch", "guidance"]
_COMPILERS = ("g++", "clang++", "c++")


class WorldModel(DiffusionPipeline):
    """Autoencoder, denoiser with its memory branch, text encoder, depth head.

    >>> model = load_world_model("mini")
    >>> latents = model.encode(frames)                          # [F,3,H,W] in [0, 1] -> [T,C,h,w], F = 1 + 4 (T - 1)
    >>> depth = model.depth(latents, camera, first=True)        # DepthMap [T,h,w]

    A stock Wan2.2-TI2V folder loads too: without `memory_branch` the memory enters through the sampler, without
    `depth_head` depth must come from elsewhere.
    """

    _optional_components: ClassVar[list[str]] = ["memory_branch", "depth_head"]
    model_cpu_offload_seq = "text_encoder->memory_branch->transformer->depth_head->vae"

    vae: Autoencoder
    transformer: WanTransformer3DModel
    text_encoder: UMT5EncoderModel
    tokenizer: PreTrainedTokenizerBase
    scheduler: UniPCMultistepScheduler
    memory_branch: MemoryBranch | None
    depth_head: LatentDepthHead | None

    def __init__(
        self,
        vae: Autoencoder,
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
        fps: float = 16.0,
        guidance_scale: float = 1.0,
        negative_prompt: str = "",
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
        check_prediction(memory_branch, self.prediction)
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
            fps=fps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
        )
        self._constants: dict[tuple[int, int], Tensor] = {}
        self.offload: Offload = "none"
        self.tiles: Tiles | None = None

    # -- verbs ------------------------------------------------------------------------------------------------------

    @checked
    def encode(self, frames: Tensor | Picture) -> Tensor:
        """Frames [F,3,H,W] in [0, 1] or uint8, F = 1 + 4k -> latents [T,C,h,w], T = 1 + k; no randomness. One frame may
        be a picture in any form (`mirage.formats.photograph`); its sides are multiples of the stride."""
        if not isinstance(frames, Tensor) or frames.ndim < 4:
            frames = photograph_of(frames).pixels[None]
        elif frames.dtype == torch.uint8:
            frames = frames / 255
        elif not frames.is_floating_point() or not frames.numel():
            raise InputError(f"frames are [F,3,H,W], uint8 or floats in [0, 1]; got {short(frames)}")
        else:
            frames = in_range(frames, source="the video")
        return self.encoder().encode(frames)

    @checked
    def decode(self, latents: Reals) -> Tensor:
        """Latents [T,C,h,w] from the start of a stream -> frames [1 + 4(T-1),3,H,W]."""
        return self.decoder().decode(latents)

    def encoder(self) -> StreamEncoder:
        """A new stream of frames, to be encoded piece by piece."""
        return stream_encoder(self.vae)

    def decoder(self) -> StreamDecoder:
        """A new stream of latents, to be decoded piece by piece, without a seam; in tiles if `tiles` says so."""
        return stream_decoder(self.vae, tiles=self.tiles, rest=None if self.offload == "none" else "cpu")

    @torch.no_grad()
    @checked
    def encode_prompt(self, prompt: str) -> Tensor:
        """[1,L,D] of fixed length L, zero beyond the prompt's own length, as Wan was trained."""
        ids, known = self.tokenize(prompt)
        text = self.text_encoder(ids, known).last_hidden_state
        return text.masked_fill(known[..., None] == 0, 0)

    @checked
    def tokenize(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Token ids and which of them are the prompt's own, each [1,L]."""
        tokens: Any = self.tokenizer(
            [cleaned(prompt)],
            padding="max_length",
            max_length=self._setting("text_length"),
            truncation=True,
            return_tensors="pt",
        )
        device = self._execution_device
        return tokens["input_ids"].to(device), tokens["attention_mask"].to(device)

    @torch.no_grad()
    @checked
    def denoise(
        self,
        condition: Condition,
        *,
        sampler: Sampler | None = None,
        generator: torch.Generator | Sequence[torch.Generator],
        negative: Condition | None = None,
        conditioning: Conditioning = "auto",
        callback: Callable[[flow.Progress], None] | None = None,
    ) -> Tensor:
        """Latents [B,C,T,h,w], float32, of the frames that `condition` describes; see `flow.denoise`.

        sampler       what it leaves open is the model's own (`sampler`); None: all of it
        generator     on the CPU; one for all rows, or one for each
        negative      the condition to go away from, for guidance other than 1
        conditioning  how the memory enters, see `conditioning`

        Threads may call it at the same time, but not with offload, where a stage sends the networks of the others away.
        With step caching, which lives in the network, they take turns, so a callback must not sample again.
        """
        device, dtype = self._execution_device, self.transformer.dtype
        branch = self.memory_branch if self.conditioning(conditioning) == "branch" else None
        away = None if negative is None else negative.to(device, dtype)

        cached = self.transformer.is_cache_enabled
        if cached and branch is not None:
            raise InputError("step caching would skip blocks and give the branch's hints twice, old and new; accepted: "
                             "caching with conditioning 'guidance', or none")  # fmt: skip

        # in training the branch is kept in float32 beside a bfloat16 backbone
        learning = branch is not None and (branch.dtype, dtype) == (torch.float32, torch.bfloat16)

        def output(latents: Tensor, timestep: Tensor, seen: Condition) -> Tensor:
            with running(self.transformer), torch.autocast(device.type, dtype) if learning else nullcontext():
                if not cached:
                    return predict(self.transformer, branch, latents, timestep, seen)
                with self.transformer.cache_context("negative" if seen is away else "positive"):
                    return predict(self.transformer, branch, latents, timestep, seen)

        with _alone(self.transformer) if cached else nullcontext():
            if cached:
                self.transformer._reset_stateful_cache()  # the last chunk's blocks say nothing about this one
            return flow.denoise(
                output,
                condition.to(device, dtype),
                scheduler=self.scheduler,
                sampler=self.sampler if sampler is None else sampler.over(self.sampler),
                generator=generator,
                negative=away,
                memory=self.guidance if branch is None else None,
                callback=callback,
            )

    @checked
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
    @checked
    def depth(self, latents: Reals, camera: Camera, *, first: bool) -> DepthMap:
        """Depth [T,h,w] of latents [T,C,h,w] seen by camera [T] (or one for all).

        first: latent 0 starts a stream, so it stands for one frame; all others stand for four.
        """
        fits = latents.ndim == 4 and latents.shape[1] == self.channels and 0 not in latents.shape
        if not fits:
            raise InputError(f"depth is of latents [T,{self.channels},h,w], got {short(latents)}")
        if camera.shape not in ((), (1,), (len(latents),)):
            raise InputError(f"depth of {len(latents)} latents needs a camera each, or one, got {list(camera.shape)}")
        if self.depth_head is None:
            raise InputError("this model has no depth head; accepted: a depth map or a depth estimator beside it")
        head, device = self.depth_head, self.runs_on
        latents = latents.to(device, head.dtype)
        single = torch.arange(len(latents), device=device) == (0 if first else -1)
        return head.depth(latents, camera.to(device), single)

    @torch.no_grad()
    @checked
    def constant(self, frames: int, grid: tuple[int, int]) -> Tensor | None:
        """Latents [frames,C,h,w] of an all-white video, as a branch with "published" inputs sees them; else None.

        Encoded whole, as the published training does; its inference encodes it in tiles, whose seams the branch was
        never shown. Once per grid: ask for the longest that will be needed. The autoencoder is causal, so a shorter one
        is its beginning.
        """
        if self.memory_branch is None or self.memory_branch.inputs != "published":
            return None
        known = self._constants.get(grid)
        if known is None or len(known) < frames:
            size = (grid[0] * self.stride, grid[1] * self.stride)
            white = torch.ones(()).expand(frame_count(frames), 3, *size)
            known = self._constants[grid] = self.encode(white)
        return known[:frames]

    # -- speed ------------------------------------------------------------------------------------------------------

    @checked
    def cache_steps(self, threshold: float) -> None:
        """From now on, leave out all blocks but the first in steps where that one changes its input nearly as in the
        step before: by a relative difference of at most `threshold`. diffusers' FirstBlockCache; 0.05 is careful.
        Called again, the new threshold replaces the old.

        The difference is a mean over all tokens. Those of references and preceding frames are clean and hardly change,
        so with R and P of them beside T frames a threshold is about (T + R + P) / T times as lenient for what is drawn.

        Only without the branch (conditioning "guidance"), whose hints would otherwise be stale: `denoise` refuses.
        """
        if not 0 <= threshold < 1:
            raise InputError(f"cache threshold is {threshold}; accepted: 0 up to 1, such as 0.05")
        if self.transformer.is_cache_enabled:  # diffusers refuses to change it
            self.transformer.disable_cache()
        self.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))

    @checked
    def compile_blocks(self, backend: str = "inductor") -> None:
        """From now on, run the blocks of transformer and branch through torch.compile: the first chunk waits for the
        compiler, results differ in the last digits."""
        if backend == "inductor" and self._execution_device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
            raise InputError(f"compiling for the CPU needs a C++ compiler; none of {', '.join(_COMPILERS)} was found")
        if backend != "inductor" and backend not in torch._dynamo.list_backends(None):
            raise InputError(f"torch.compile has no backend {backend!r}; accepted: inductor and what torch lists")
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
    def sampler(self) -> Sampler:
        """How a chunk is drawn unless asked otherwise."""
        its: Any = self.scheduler.config
        return Sampler(
            steps=self._setting("default_steps"),
            shift=its.flow_shift,
            last=its.shift_terminal or 0.0,
            noise=self._setting("noise_scale"),
            guidance=self._setting("guidance_scale"),
            solver="unipc",
            grid="published" if self.published else "diffusers",
        )

    @property
    def published(self) -> bool:
        """Whether the branch is in the published layout: unless asked otherwise a walk is then as its training was, on
        the published sampler's grid, with more `references`, best overlap first, and more `preceding` frames."""
        return self.memory_branch is not None and self.memory_branch.published

    @property
    def references(self) -> int:
        """How many earlier views a walk shows the denoiser unless asked otherwise."""
        return 4 if self.published else 2

    @property
    def preceding(self) -> int:
        """How many clean latents before a chunk's first one a walk shows it unless asked otherwise."""
        return 2 if self.published else 1

    @property
    def draft_sampler(self) -> Sampler:
        """How a draft is drawn unless asked otherwise (`mirage.rollout.draft`): with all of the noise, down to little,
        or what it shows is nearer to the mean of all that it could be; guided by the prompt more than a chunk is; and
        perhaps in more steps, for it has few frames and all is decided there."""
        steps = self._setting("draft_steps") or self._setting("default_steps")
        guidance = max(self._setting("draft_guidance"), self._setting("guidance_scale"))
        return replace(self.sampler, steps=steps, last=0.0, noise=1.0, guidance=guidance)

    @property
    def fps(self) -> float:
        """Frames per second of the videos that it was trained on."""
        return self._setting("fps")

    @property
    def negative_prompt(self) -> str:
        """What guidance goes away from unless asked otherwise."""
        return self._setting("negative_prompt")

    @property
    def drafts(self) -> bool:
        """Whether a walk drafts what is unknown unless asked otherwise (`mirage.rollout.draft`)."""
        return self._setting("drafts")

    @property
    def prediction(self) -> flow.Prediction:
        """What the network outputs: velocity ("flow_prediction") or clean latents ("sample")."""
        its: Any = self.scheduler.config
        return its.prediction_type

    @checked
    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **choices: Any) -> None:
        """As diffusers does, with LoRAs, attached or fused, in the transformer's weights: what is saved loads again."""
        if not str(save_directory) or Path(save_directory).is_file():
            raise InputError(f"a model is saved in a folder, got {str(save_directory)!r}; accepted: a path of no file")
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


def check_prediction(branch: MemoryBranch | None, prediction: flow.Prediction) -> None:
    if branch is not None and branch.detail is not None and prediction != "sample":
        raise InputError(f"the branch has a detail path, which draws clean latents to the readout, but the scheduler's "
                         f"prediction_type is {prediction!r}; accepted: 'sample'")  # fmt: skip


_TURNS: WeakKeyDictionary[nn.Module, tuple[Lock, list[int]]] = WeakKeyDictionary()
"""Of each network: a lock, and the thread that holds it."""


@contextmanager
def _alone(network: nn.Module) -> Iterator[None]:
    """Step caching keeps its state in the network: whoever samples with it does so alone, and not from within."""
    lock, owner = _TURNS.setdefault(network, (Lock(), []))
    if get_ident() in owner:
        raise InputError("a callback of a sampling with step caching samples with the same model; accepted: afterwards")
    with lock:
        owner.append(get_ident())
        try:
            yield
        finally:
            owner.clear()
