"""A walk through a world that a model makes up and a memory keeps. `step` is the method; read it first.

    readout   = memory.read(camera)                    what is already known, seen from there
    condition = build_condition(readout, history, ...)
    latents   = world.denoise(condition)               where much is unknown: twice (draft.py)
    depth     = align(world.depth(latents), to=readout.depth)
    memory.write(latents, depth, keep=...)             what moves, or was seen through, stays out

`F` video frames, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels. Poses are camera-to-world.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE, latent_count, windows
from mirage.conditioning import as_published, build_condition, drafted_views
from mirage.depth.align import Alignment, align
from mirage.depth.freespace import seen_through
from mirage.depth.protocol import FromFrames
from mirage.depth.static import cells, static
from mirage.errors import InputError
from mirage.geometry.camera import Camera, check_cameras
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout
from mirage.memory.protocol import SpatialMemory
from mirage.memory.references import pick_references
from mirage.memory.worldfile import load_world, save_world
from mirage.models.condition import Condition
from mirage.models.world import Conditioning, WorldModel
from mirage.rollout.chunk import Chunk, End, Tape
from mirage.rollout.draft import completed, worth_drafting
from mirage.rollout.history import History

_LEAD_IN = 5  # latents that a fresh decoder is shown before it goes on with a saved walk


class Segmenter(Protocol):
    """What moves in the video frames `first`, `first` + 1, ... of the walk (0 is the image): [count,H,W] on any grid,
    above 0 where something does. `frames()` decodes them, [count,3,H,W] in [0, 1], for those who must look."""

    def __call__(self, first: int, count: int, frames: Callable[[], Tensor]) -> Tensor: ...


class DepthEstimator(Protocol):
    """Depth [T,h,w] of latents [T,C,h,w] seen by camera [T]; `first`: latent 0 starts the stream (one video frame)."""

    def __call__(self, latents: Tensor, camera: Camera, *, first: bool) -> DepthMap: ...


@dataclass(frozen=True)
class Settings:
    """How a session runs, chosen once.

    steps, flow_shift  of the sampler; None: the model's own, which may have more steps for drafts
    guidance_scale     of classifier-free guidance, away from `negative_prompt`; 1: none
    conditioning       how the memory enters: "branch", "guidance" (through the sampler) or "auto"
    references         how many earlier views the denoiser is shown
    preceding          how many clean latents before the chunk's first one
    lock               fit each new depth to the memory's own where both see
    max_residual       median relative difference above which such a fit is not believed
    free_space         keep out of the memory what an earlier frame looked through, for its depth is wrong
    filter             keep what moves out of the memory; for worlds in which something does
    draft              make up what is unknown once, in a draft of a few views that the whole chunk then knows
                       (draft.py); None: as the model was made for
    noise_scale        deviation of the noise that a chunk begins with, 0 to 1; None: the model's own, and 1 for drafts
    history            latent frames kept to look back at
    """

    steps: int | None = None
    flow_shift: float | None = None
    guidance_scale: float = 1.0
    negative_prompt: str = ""
    conditioning: Conditioning = "auto"
    references: int = 2
    preceding: int = 1
    lock: bool = True
    max_residual: float = 0.2
    free_space: bool = True
    filter: bool = False
    draft: bool | None = None
    noise_scale: float | None = None
    history: int = 96


class Session:
    """Run state: the world as far as it was walked.

    image        [3,H,W] in [0, 1], H and W multiples of the model's stride and patch
    camera       of the image, one `Camera` []; the world's frame of reference is this camera's
    depth        of the image, any grid; or an estimator for every chunk, of latents or of frames; None: the model's own
                 depth head
    memory       any `SpatialMemory`; None: a `LatentSpatialMemory` with `policy`
    moving       somebody who knows what moves: it stays out of the memory, whatever `settings.filter` says
    seed         same seed, same walk, on the same machine

    >>> session = Session(load_world_model("mini"), image, camera=Camera.looking())
    >>> for chunk in session.follow(orbit(session.camera, 97)):
    ...     show(chunk.frames)
    """

    def __init__(
        self,
        model: WorldModel,
        image: Tensor,
        *,
        camera: Camera,
        prompt: str = "",
        depth: DepthMap | DepthEstimator | FromFrames | None = None,
        memory: SpatialMemory | None = None,
        policy: MemoryPolicy | None = None,
        settings: Settings | None = None,
        moving: Segmenter | None = None,
        seed: int = 0,
    ) -> None:
        if image.ndim != 3 or image.shape[0] != 3:
            raise InputError(f"the image is [3,H,W] in [0, 1], got {list(image.shape)}")
        if camera.shape:
            raise InputError(f"the image has one camera [], got {list(camera.shape)}")
        latents = model.encode(image[None])
        grid = (latents.shape[-2], latents.shape[-1])
        estimate = _head(model) if depth is None or isinstance(depth, DepthMap) else depth
        if isinstance(depth, DepthMap):
            known = depth.to(latents.device).resized(grid)
        elif isinstance(estimate, FromFrames):
            known = estimate.estimate(image[None], camera[None], number=torch.zeros(1, dtype=torch.long))
            known = known.to(latents.device).resized(grid)[0]
        else:
            known = estimate(latents[:1], camera[None], first=True)[0]
        self._begin(
            model,
            prompt=prompt,
            estimate=estimate,
            settings=settings or Settings(),
            seed=seed,
            memory=memory
            if memory is not None
            else LatentSpatialMemory(model.channels, policy=policy or MemoryPolicy(), device=latents.device),
        )
        self.moving = moving
        self._end: End | None = None  # of the stream that was made so far
        self._image = latents
        self.camera = camera
        self.index = 0
        self.history = History(latents, known[None], camera[None], torch.zeros(1, dtype=torch.long))
        keep = self._unmarked(0, 1, grid, lambda: image[None])
        self._before: tuple[Any, Tensor | None] | None = (self.memory.snapshot(), keep)  # to look at the image again
        self.memory.write(latents, known[None], camera[None], keep=keep)

    def _begin(
        self,
        model: WorldModel,
        *,
        prompt: str,
        estimate: DepthEstimator | FromFrames,
        settings: Settings,
        seed: int,
        memory: SpatialMemory,
    ) -> None:
        self.model, self.memory, self.estimate = model, memory, estimate
        self.settings, self.seed = settings, seed
        self.prompt = prompt

    @property
    def prompt(self) -> str:
        """What unseen places should look like; may be changed between steps."""
        return self._prompt

    @prompt.setter
    def prompt(self, prompt: str) -> None:
        self._prompt, self._text = prompt, self.model.encode_prompt(prompt)

    # -- walking ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, camera: Camera, *, callback: Callable[[int, Tensor], None] | None = None) -> Chunk:
        """The next 4k video frames, seen from `camera` [4k]; a chunk of the model holds at most `chunk_frames` - 1.

        callback(step, latents) after each denoising step.
        """
        if (
            len(camera.shape) != 1
            or len(camera) % TIME_STRIDE
            or not TIME_STRIDE <= len(camera) < self.model.chunk_frames
        ):
            raise InputError(
                f"a step takes 4k poses, {TIME_STRIDE} to {self.model.chunk_frames - 1}, got {list(camera.shape)}"
            )
        timings: dict[str, float] = {}
        grid = (self.history.latents.shape[-2], self.history.latents.shape[-1])
        latent_cameras = camera[TIME_STRIDE - 1 :: TIME_STRIDE].to(self.camera.c2w)
        views = Camera.concatenate([self.camera[None], latent_cameras])  # [T]

        with _timed(timings, "read"):
            readout = self.memory.read(views, grid)
        with _timed(timings, "condition"):
            past = self.history
            past_views = pick_references(
                self.memory, readout, views, past.camera, past.depth, count=self.settings.references
            )
            condition = self._condition(readout, views, past_views)
        with _timed(timings, "draft"):
            if self._drafts and worth_drafting(readout):
                condition = self._condition(self._drafted(readout, views), views, past_views)
        with _timed(timings, "denoise"):
            latents = self._denoised(
                condition,
                guidance_scale=self.settings.guidance_scale,
                steps=self.settings.steps,
                noise_scale=self.settings.noise_scale,
                callback=callback,
            )
        new, seen = views[1:], readout[1:]
        with _timed(timings, "depth"):
            tape = Tape(self.model, self._streamed(latents), after=self._end)
            end = End(tape)
            depth, alignment = self._depth(latents, new, lambda: tape.frames()[-len(camera) :]), None
            if self.settings.lock:
                alignment = self._aligned(depth, seen)
                depth = alignment.depth
        with _timed(timings, "static"):
            keep = self._keep(latents, depth, new, lambda: tape.frames()[-len(camera) :])
        with _timed(timings, "write"):
            added = self.memory.write(latents, depth, new, keep=keep)
        return self._advance(
            latents,
            depth,
            camera,
            new,
            end,
            tape=tape,
            readout=seen,
            alignment=alignment,
            points_added=added,
            references=[int(past.number[i]) for i in past_views],
            timings=timings,
        )

    def follow(
        self,
        path: Camera,
        *,
        prompts: Mapping[int, str] = MappingProxyType({}),
        callback: Callable[[int, Tensor], None] | None = None,
    ) -> Iterator[Chunk]:
        """Walk along `path` [F], F = 1 + 4k; path[0] is where the session stands. Yields each chunk when made.

        prompts: the prompt from a chunk on, by its number on this path (0, 1, ...); others go on with the one before.
        """
        if not torch.allclose(path.c2w[0], self.camera.c2w.to(path.c2w), atol=1e-3):
            raise InputError("the path does not begin where the session stands; see Camera.moved")
        for number, window in enumerate(windows(len(path), self.model.chunk_frames)):
            if number in prompts:
                self.prompt = prompts[number]
            yield self.step(path[window][1:], callback=callback)

    # -- going back -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        """This moment, to come back to; cheap, and valid for as long as it is held."""
        return self.memory.snapshot(), self.history, self.camera, self.index, self._end, self.prompt, self._before

    def restore(self, snapshot: Any) -> None:
        """Come back to a moment. What follows is what would have followed then."""
        memory, self.history, self.camera, self.index, self._end, self.prompt, self._before = snapshot
        self.memory.restore(memory)

    # -- keeping ----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """The world file: memory, what was seen last, where the walk stands. Whole or not at all."""
        if not isinstance(self.memory, LatentSpatialMemory):
            raise InputError(f"a world file holds a latent memory, this session has {type(self.memory).__name__}")
        past = self.history
        tensors = {
            "latents": past.latents,
            "depth": past.depth.z,
            "valid": past.depth.valid,
            "c2w": past.camera.c2w,
            "intrinsics": past.camera.intrinsics,
            "number": past.number,
        }
        extra = {"prompt": self.prompt, "seed": self.seed, "index": self.index, "settings": asdict(self.settings)}
        save_world(path, self.memory, extra_tensors=tensors, extra=extra)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: WorldModel,
        *,
        depth: DepthEstimator | FromFrames | None = None,
        settings: Settings | None = None,
        moving: Segmenter | None = None,
    ) -> "Session":
        """Go on from a world file, with the model that made it or one of the same latents.

        `settings`: other choices than the saved ones. The video goes on too: the decoder is shown the last few latents
        first, so the first new frames match those that came before.
        """
        memory, tensors, extra = load_world(path, device=model.runs_on)
        if memory.channels != model.channels:
            raise InputError(f"{path} holds latents of {memory.channels} channels, the model has {model.channels}")
        history = _history(tensors, extra, Path(path))
        session = cls.__new__(cls)
        session._begin(
            model,
            prompt=str(extra["prompt"]),
            estimate=depth or _head(model),
            settings=settings or Settings(**extra["settings"]),
            seed=int(extra["seed"]),
            memory=memory,
        )
        session.history, session.camera, session.index = history, history.camera[-1], int(extra["index"])
        session._image = history.latents[:1]
        session.moving, session._before = moving, None
        session._end = End(Tape(model, history.latents[-_LEAD_IN:])) if session.index else None
        return session

    # -- inside -----------------------------------------------------------------------------------------------------

    def _condition(
        self, readout: Readout, views: Camera, past_views: Sequence[int], *, preceding: bool = True
    ) -> Condition:
        """What the denoiser sees, with some of the past frames as references."""
        past, before = self.history, self.settings.preceding if preceding else 0
        condition = build_condition(
            readout,
            views,
            history=past.latents[-1 - before :],
            references=past.latents[sorted(past_views)],
            text=self._text,
        )
        if self.model.memory_branch is not None and self.model.memory_branch.published:
            condition = self._as_published(condition, (past.latents.shape[-2], past.latents.shape[-1]))
        return condition

    def _denoised(
        self,
        condition: Condition,
        *,
        guidance_scale: float,
        steps: int | None,
        noise_scale: float | None,
        use_terminal: bool = True,
        callback: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """The chunk's new latents [T-1,C,h,w]; its first one is what it began with. The same noise every time."""
        generator = torch.Generator().manual_seed(hash((self.seed, self.index)) % 2**63)
        latents = self.model.denoise(
            condition,
            generator=generator,
            steps=steps,
            callback=callback,
            guidance_scale=guidance_scale,
            negative=self._negative(condition) if guidance_scale != 1.0 else None,
            conditioning=self.settings.conditioning,
            flow_shift=self.settings.flow_shift,
            noise_scale=noise_scale,
            use_terminal=use_terminal,
        )
        return latents[0, :, 1:].transpose(0, 1)

    @property
    def _drafts(self) -> bool:
        """Whether chunks are drafted; never where only frames tell of depth, for a draft is not decoded."""
        asked = self.model.drafts if self.settings.draft is None else self.settings.draft
        return asked and not (isinstance(self.estimate, FromFrames) and self.model.depth_head is None)

    def _drafted(self, readout: Readout, views: Camera) -> Readout:
        """The readout with its holes filled from a draft, which begins with all of the noise and goes down to little:
        else what is made up is nearer to the mean of all that it could be, which has nothing that is seen to move."""
        shown = drafted_views(len(views))
        few = readout[shown]
        guidance = self.model.draft_guidance if self.prompt else 1.0
        draft = self._denoised(
            self._condition(few, views[shown], (), preceding=False),
            guidance_scale=max(self.settings.guidance_scale, guidance),
            steps=self.settings.steps or self.model.draft_steps,
            noise_scale=1.0 if self.settings.noise_scale is None else self.settings.noise_scale,
            use_terminal=False,
        )
        estimate = _head(self.model) if isinstance(self.estimate, FromFrames) else self.estimate
        depth = estimate(draft, views[shown[1:]], first=False)
        depth = self._aligned(depth, few[1:]).depth
        return completed(readout, draft, depth, views, shown[1:])

    def _aligned(self, depth: DepthMap, seen: Readout) -> Alignment:
        """Depth of the new frames, brought to that of what the memory showed there."""
        known, offset = seen.depth.to(depth.z.device), seen.offset.to(depth.z.device)
        return align(depth, to=known, offset=offset, max_residual=self.settings.max_residual)

    def _depth(self, latents: Tensor, views: Camera, frames: Callable[[], Tensor]) -> DepthMap:
        """[T,h,w] of new latents [T,C,h,w]; `frames` gives their 4T video frames, if an estimator wants to see them."""
        if not isinstance(self.estimate, FromFrames):
            return self.estimate(latents, views, first=False)
        number = TIME_STRIDE * (int(self.history.number[-1]) + 1 + torch.arange(len(latents)))
        depth = self.estimate.estimate(frames()[TIME_STRIDE - 1 :: TIME_STRIDE], views, number=number)
        return depth.to(latents.device).resized((latents.shape[-2], latents.shape[-1]))

    @property
    def _fresh(self) -> bool:
        """Whether the given image is still to be shown: the first chunk of a session that was not loaded."""
        return self.index == 0 and self._end is None

    def _streamed(self, latents: Tensor) -> Tensor:
        """What the decoder is to be given for new latents [T,C,h,w]."""
        return torch.cat([self._image, latents]) if self._fresh else latents

    def _advance(
        self, latents: Tensor, depth: DepthMap, camera: Camera, views: Camera, end: End, **report: Any
    ) -> Chunk:
        self.history = self.history.added(latents, depth, views, limit=self.settings.history)
        streamed = self._streamed(latents)
        frames = Camera.concatenate([self.camera[None], camera.to(self.camera.c2w)]) if self._fresh else camera
        self._end = end
        self.camera = views[-1]
        self.index += 1
        return Chunk(
            index=self.index - 1,
            latents=streamed,
            camera=frames,
            latent_camera=views,
            depth=depth,
            memory_points=len(self.memory),
            memory_bytes=self.memory.nbytes,
            **report,
        )

    def _keep(self, latents: Tensor, depth: DepthMap, camera: Camera, frames: Callable[[], Tensor]) -> Tensor | None:
        """Cells that may enter the memory; None: all with valid depth. The first chunk also tells what of the image
        moved, which then leaves again."""
        past, grid = self.history, (latents.shape[-2], latents.shape[-1])
        keep = self._unmarked(TIME_STRIDE * int(past.number[-1]) + 1, TIME_STRIDE * len(latents), grid, frames)
        if self.settings.free_space:
            keep = _both(~seen_through(depth, camera, past=(past.depth, past.camera)), keep)
        image, self._before = self._before, None
        if not self.settings.filter:
            return keep
        if image is None:
            return _both(static(latents, depth, camera, past=(past.latents, past.depth, past.camera)), keep)
        empty, image_keep = image
        both = past.added(latents, depth, camera, limit=1 + len(latents))
        still = static(both.latents, both.depth, both.camera)
        self.memory.restore(empty)
        self.memory.write(past.latents, past.depth, past.camera, keep=_both(still[:1], image_keep))
        return _both(still[1:], keep)

    def _unmarked(self, first: int, count: int, grid: tuple[int, int], frames: Callable[[], Tensor]) -> Tensor | None:
        """Cells that the segmenter does not mark; None without one."""
        if self.moving is None:
            return None
        mask = self.moving(first, count, frames)
        if mask.ndim != 3 or len(mask) != count:
            raise InputError(f"a mask of {count} video frames is [{count},H,W], got {list(mask.shape)}")
        return ~cells(mask, grid, frames=1 if count == 1 else TIME_STRIDE)

    def _as_published(self, condition: Condition, grid: tuple[int, int]) -> Condition:
        """With the memory as it is now, seen from the preceding frames: so the published training data have it."""
        count = condition.preceding.shape[2]
        before = condition.preceding[0].transpose(0, 1)  # nothing, where there are none
        if count:
            before = self.memory.read(self.history.camera[-1 - count : -1], grid).latents
        longest = latent_count(self.model.chunk_frames) + self.settings.preceding
        constant = self.model.constant(longest, grid)
        return as_published(condition, before, None if constant is None else constant[: condition.frames + count])

    def _negative(self, condition: Condition) -> Condition:
        return condition.without_text(self.model.encode_prompt(self.settings.negative_prompt))


def _head(model: WorldModel) -> DepthEstimator:
    def estimate(latents: Tensor, camera: Camera, *, first: bool) -> DepthMap:
        return model.depth(latents, camera, first=first)

    return estimate


def _history(tensors: dict[str, Tensor], extra: dict[str, Any], path: Path) -> History:
    """What a world file holds beside its memory, looked at before it is believed."""
    expected = {"latents", "depth", "valid", "c2w", "intrinsics", "number"}
    if tensors.keys() != expected or extra.keys() != {"prompt", "seed", "index", "settings"}:
        raise InputError(f"{path} holds a memory but no session: expected {', '.join(sorted(expected))} beside it")
    count, grid = len(tensors["latents"]), tensors["latents"].shape[-2:]
    if tensors["depth"].shape != (count, *grid) or tensors["number"].shape != (count,) or count == 0:
        raise InputError(f"{path}: its {count} latents, their depth and their numbers do not fit together")
    camera = check_cameras(Camera(tensors["c2w"].cpu(), tensors["intrinsics"].cpu()), source=str(path))
    return History(tensors["latents"], DepthMap(tensors["depth"], tensors["valid"]), camera, tensors["number"].cpu())


def _both(keep: Tensor, also: Tensor | None) -> Tensor:
    return keep if also is None else keep & also.to(keep.device)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    if torch.cuda.is_initialized():  # what was asked of a GPU is counted where it was asked, beside what others ask
        torch.cuda.current_stream().synchronize()
    timings[stage] = time.perf_counter() - started
