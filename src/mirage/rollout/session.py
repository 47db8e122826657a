"""A walk through a world that a model draws and a memory keeps. `step` is the method; read it first.

    plan    = session.plan(camera)                what is known there, and what the denoiser will see: nothing changes
    latents = denoise(plan)                       where much is unknown, a draft first (draft.py)
    chunk   = session.accept(plan, latents)       depth, scale lock, admission, write: whole, or not at all

`F` video frames, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels. Poses are camera-to-world.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE, windows
from mirage.conditioning import frames_between
from mirage.depth.align import Alignment, align
from mirage.depth.protocol import DepthEstimator, Views, estimated
from mirage.errors import InputError, check_number
from mirage.formats.photograph import Photograph, Picture
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.tensors import Reals
from mirage.kinds import checked
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout
from mirage.memory.protocol import SpatialMemory
from mirage.memory.table import undisturbed
from mirage.models.condition import Condition
from mirage.models.fingerprint import fingerprint
from mirage.models.world import WorldModel
from mirage.rollout.admission import New, Segmenter, admitted, unmarked
from mirage.rollout.chunk import Chunk, End, Tape
from mirage.rollout.draft import draft_of, worth_drafting
from mirage.rollout.estimators import depth_head
from mirage.rollout.history import History
from mirage.rollout.looking_back import references
from mirage.rollout.memories import make_memory
from mirage.rollout.opening import PathLike, check_memory, depth_given, opened, path_from
from mirage.rollout.plan import Callback, Plan, check_origin, denoise, noise_seed, timed
from mirage.rollout.saved import Saved, load_session, save_session
from mirage.rollout.settings import Settings
from mirage.rollout.shown import shown
from mirage.rollout.state import LEAD_IN, Snapshot, State, checked_prompt
from mirage.show import views as show

_TEXTS = 16  # encoded prompts that are kept


class Session:
    """Run state: the world as far as it was walked.

    image        a path, a PIL image, an array or a tensor [3,H,W] in [0, 1]; what the model cannot take as it is, is
                 cut about its centre and resized, and camera and depth with it (opening.py)
    camera       of the image, one `Camera` []; the world's frame of reference is this camera's; None: as EXIF says, or
                 65 degrees on the longer side
    depth        of the image, any grid; or an estimator for every chunk, also by name; None: the model's own depth head
    memory       any `SpatialMemory`, also by name; None: a `LatentSpatialMemory` with `policy`
    moving       somebody who knows what moves: it stays out of the memory, whatever `settings.filter` says
    seed         same seed, same walk, on the same machine

    `lead_in` [T,C,h,w]: latents that the decoder was shown before the walk's own; none, where it begins here.

    >>> session = Session(load_world_model("mini"), image, camera=Camera.looking())  # doctest: +SKIP
    >>> for chunk in session.follow(orbit(session.camera, 97)):                      # doctest: +SKIP
    ...     show(chunk.frames)
    """

    @checked
    def __init__(
        self,
        model: WorldModel,
        image: Picture | Photograph,
        *,
        camera: CameraLike | None = None,
        prompt: str = "",
        depth: DepthMap | DepthEstimator | Tensor | np.ndarray | str | None = None,
        memory: SpatialMemory | str | None = None,
        policy: MemoryPolicy | None = None,
        settings: Settings | None = None,
        moving: Segmenter | None = None,
        seed: int = 0,
    ) -> None:
        known, estimator = depth_given(depth, model)
        pixels, view, known = opened(model, image, camera, known)
        latents = model.encode(pixels[None])
        grid, zero = (latents.shape[-2], latents.shape[-1]), torch.zeros(1, dtype=torch.long)
        if memory is None:
            memory = LatentSpatialMemory(model.channels, policy=policy or MemoryPolicy(), device=latents.device)
        memory = make_memory(memory, model) if isinstance(memory, str) else memory
        check_memory(memory, view, model.channels, grid)
        self._begin(model, memory, estimator=estimator, settings=settings, moving=moving, seed=seed)
        if known is None:
            known = estimated(self.estimator, Views(latents[:1], view[None], zero, True, lambda: pixels[None]))
        else:
            known = known.to(latents.device).resized(grid)[None]
        self.image: Tensor | None = pixels
        self._first = latents
        self.lead_in: Tensor = latents[:0]
        keep = unmarked(moving, 0, 1, grid, lambda: pixels[None])
        self._state = State(
            history=History(latents, known, view[None], zero),
            camera=view,
            index=0,
            prompt=prompt,
            end=None,
            image=(memory.snapshot(), keep),
        )
        memory.write(latents, known, view[None], keep=keep)

    def _begin(
        self,
        model: WorldModel,
        memory: SpatialMemory,
        *,
        estimator: DepthEstimator | None,
        settings: Settings | None,
        moving: Segmenter | None,
        seed: int,
    ) -> None:
        self.model, self.memory, self.moving = model, memory, moving
        self.estimator = depth_head(model) if estimator is None else estimator
        self.settings = settings or Settings()
        self.seed = check_number("the seed", seed, kind=int, low=-(2**63), high=2**63 - 1, accepted="64 bits")
        self._texts: dict[str, Tensor] = {}

    # -- where it stands --------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The latent frames that are kept beside the memory."""
        return self._state.history

    @property
    def camera(self) -> Camera:
        """[], where the walk stands."""
        return self._state.camera

    @property
    def index(self) -> int:
        """How many chunks were made."""
        return self._state.index

    @property
    def prompt(self) -> str:
        """What newly generated regions should look like; may be changed between steps."""
        return self._state.prompt

    @prompt.setter
    def prompt(self, prompt: str) -> None:
        self._state = replace(self._state, prompt=checked_prompt(prompt))

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the latents."""
        return self.history.latents.shape[-2], self.history.latents.shape[-1]

    # -- walking ----------------------------------------------------------------------------------------------------

    @checked
    def step(self, camera: CameraLike, *, callback: Callback | None = None) -> Chunk:
        """The next 4k video frames, seen from `camera` [4k]; a chunk of the model holds at most `chunk_frames` - 1.

        A step that raises, in the callback or anywhere else, leaves the session at its last chunk.
        """
        plan = self.plan(camera)
        return self.accept(plan, denoise([plan], callback=callback)[0])

    @checked
    @torch.no_grad()
    def plan(self, camera: CameraLike) -> Plan:
        """What `step` would denoise, and all that it needs; nothing changes."""
        camera = Camera.of(camera, intrinsics=self.camera.intrinsics)
        if (
            len(camera.shape) != 1
            or len(camera) % TIME_STRIDE
            or not TIME_STRIDE <= len(camera) < self.model.chunk_frames
        ):
            raise InputError(
                f"a step takes 4k poses, {TIME_STRIDE} to {self.model.chunk_frames - 1}, got {list(camera.shape)}"
            )
        timings: dict[str, float] = {}
        latent_cameras = camera[TIME_STRIDE - 1 :: TIME_STRIDE].to(self.camera.c2w)
        views = Camera.concatenate([self.camera[None], latent_cameras])  # [T]
        with timed([timings], "read"):
            readout = self.memory.read(views, self.grid)
        with timed([timings], "condition"):
            past, past_views = self.history, references(self, readout, views)
            between = frames_between(self.camera, camera)
            plan = self._planned(readout, views, self._condition(readout, views, between, past_views), timings)
            plan = replace(plan, camera=camera, references=[int(past.number[i]) for i in past_views])
        asked = self.model.drafts if self.settings.draft is None else self.settings.draft
        if asked and worth_drafting(readout):
            with timed([timings], "condition"):
                plan = replace(plan, draft=draft_of(self, plan, past_views))
        return plan

    @checked
    @torch.no_grad()
    def accept(self, plan: Plan, latents: Reals) -> Chunk:
        """The chunk whose new latents [T-1,C,h,w] the plan became: the one place where a session changes, whole or not
        at all. A plan of another moment is refused."""
        check_origin(plan, latents, self._state)
        state, timings = self._state, dict(plan.timings)
        new, seen = plan.views[1:], plan.readout[1:]
        fresh = state.index == 0 and state.end is None  # the given image is still to be shown
        streamed = torch.cat([self._first, latents]) if fresh else latents
        tape = Tape(self.model, streamed, after=state.end)
        end = End(tape)  # before anybody looks at the frames
        count = len(plan.camera)
        with timed([timings], "depth"):
            depth = self._depth(latents, new, tape, count)
            alignment = self._aligned(depth, seen) if self.settings.lock else None
            depth = depth if alignment is None else alignment.depth
        with timed([timings], "static"):
            may = admitted(
                New(latents, depth, new, lambda: tape.frames()[-count:]),
                state.history,
                self.settings,
                moving=self.moving,
                image=None if state.image is None else state.image[1:],
            )
        after = State(
            history=state.history.added(latents, depth, new, limit=self.settings.history),
            camera=new[-1],
            index=state.index + 1,
            prompt=state.prompt,
            end=end,
            image=None,
        )
        before = self.memory.snapshot()
        try:
            with timed([timings], "write"):
                self.memory.touch(plan.readout)
                if may.image is not None and state.image is not None:
                    self.memory.restore(state.image[0])
                    past = state.history
                    self.memory.write(past.latents, past.depth, past.camera, keep=may.image)
                added = self.memory.write(latents, depth, new, keep=may.keep)
            frames = plan.camera.to(state.camera.c2w)
            chunk = Chunk(
                index=state.index,
                latents=streamed,
                camera=Camera.concatenate([state.camera[None], frames]) if fresh else plan.camera,
                latent_camera=new,
                readout=seen,
                depth=depth,
                alignment=alignment,
                references=plan.references,
                points_added=added,
                memory_points=len(self.memory),
                memory_bytes=self.memory.nbytes,
                timings=timings,
                tape=tape,
            )
            self._state = after
        except BaseException:  # also Ctrl-C, between any two lines
            self._state = state
            self.memory.restore(before)
            raise
        return chunk

    @checked
    def follow(
        self,
        path: PathLike,
        *,
        prompts: Mapping[int, str] = MappingProxyType({}),
        callback: Callback | None = None,
    ) -> Iterator[Chunk]:
        """Walk along `path` [F], F = 1 + 4k; path[0] is where the session stands. Yields each chunk when made.

        path: cameras, poses [F,4,4], or what `load_trajectory` takes: a preset such as "orbit", keys, a file.
        prompts: the prompt from a chunk on, by its number on this path (0, 1, ...); others go on with the one before.
        """
        cameras = path_from(path, self.camera)
        if not torch.allclose(cameras.c2w[0], self.camera.c2w.to(cameras.c2w), atol=1e-3):
            raise InputError("the path does not begin where the session stands; see Camera.moved")
        return self._followed(cameras, list(windows(len(cameras), self.model.chunk_frames)), prompts, callback)

    def _followed(
        self, path: Camera, parts: Sequence[slice], prompts: Mapping[int, str], callback: Callback | None
    ) -> Iterator[Chunk]:
        for number, part in enumerate(parts):
            before = self._state
            self.prompt = prompts.get(number, self.prompt)
            try:
                chunk = self.step(path[part][1:], callback=callback)
            except BaseException:
                if self.index == before.index:  # the prompt goes with the step
                    self._state = before
                raise
            yield chunk

    @checked
    @torch.no_grad()
    def look(self, camera: CameraLike, grid: tuple[int, int] | None = None) -> Readout:
        """What is known from `camera` [T], or [] for one view of T = 1, on the latents' grid or another: no diffusion,
        and nothing changes."""
        views = Camera.of(camera, intrinsics=self.camera.intrinsics)
        return self.memory.read(views if views.shape else views[None], grid or self.grid)

    # -- going back, and keeping ------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """This moment, to come back to; cheap, and valid for as long as it is held."""
        return Snapshot(self._state, self.memory.snapshot(), of=self.memory)

    @checked
    def restore(self, snapshot: Snapshot) -> None:
        """Come back to a moment of this session. What follows is what would have followed then."""
        if snapshot.of is not self.memory:
            raise InputError("the snapshot is of another session; accepted: one that this session took")
        with undisturbed():
            self.memory.restore(snapshot.memory)
            self._state = snapshot.state

    @checked
    def save(self, path: str | os.PathLike[str], *, beside: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        """The world file: memory, what was seen last, where the walk stands; and `beside` that what the caller wants to
        find again. Whole or not at all."""
        if not isinstance(self.memory, LatentSpatialMemory):
            raise InputError(f"a world file holds a latent memory, this session has {type(self.memory).__name__}")
        its = (self.memory, self.history, self.prompt, self.seed, self.index, self.settings)
        save_session(path, Saved(*its, fingerprint(self.model), beside))

    @classmethod
    @checked
    def load(
        cls,
        path: str | os.PathLike[str],
        model: WorldModel,
        *,
        depth: DepthEstimator | str | None = None,
        settings: Settings | None = None,
        moving: Segmenter | None = None,
    ) -> "Session":
        """Go on from a world file, with the model that made it or one of the same latents.

        `settings`: other choices than the saved ones. The video goes on too: the decoder is shown the last few latents
        first, so the first new frames match those that came before.
        """
        saved = load_session(path, device=model.runs_on, channels=model.channels, autoencoder=fingerprint(model))
        _, depth = depth_given(depth, model)
        return cls.of_saved(saved, model, depth=depth, settings=settings, moving=moving)

    @classmethod
    def of_saved(
        cls,
        saved: Saved,
        model: WorldModel,
        *,
        depth: DepthEstimator | None = None,
        settings: Settings | None = None,
        moving: Segmenter | None = None,
        lead_in: Tensor | None = None,
    ) -> "Session":
        """`load`, of what was read. lead_in: [T,C,h,w] that the decoder is shown first, to go on to the bit."""
        session = cls.__new__(cls)
        session._begin(
            model,
            saved.memory,
            estimator=depth,
            settings=settings or saved.settings,
            moving=moving,
            seed=saved.seed,
        )
        past = saved.history
        session.lead_in = past.latents[-LEAD_IN:] if lead_in is None else lead_in
        if not saved.index:
            session.lead_in = past.latents[:0]
        end = End(Tape(model, session.lead_in)) if saved.index else None
        session._state = State(past, past.camera[-1], saved.index, saved.prompt, end, None)
        session.image, session._first = None, past.latents[:1]
        return session

    def __repr__(self) -> str:
        moves = f"{self.index} chunks, {int(self.history.number[-1]) * TIME_STRIDE + 1} frames"
        return (
            f"Session({moves}; frames of {' x '.join(str(n * self.model.stride) for n in self.grid)}; {self.memory!r})"
        )

    def _repr_png_(self) -> bytes | None:
        return show.map(self.memory)._repr_png_() if isinstance(self.memory, LatentSpatialMemory) else None

    # -- inside -----------------------------------------------------------------------------------------------------

    def _planned(
        self, readout: Readout, views: Camera, condition: Condition, timings: dict[str, float], *, draft: bool = False
    ) -> Plan:
        """A plan of these views, as the settings have it."""
        asked = self.settings.sampler
        sampler = asked.over(self.model.sampler)
        if draft:
            own = self.model.draft_sampler if self.prompt else replace(self.model.draft_sampler, guidance=1.0)
            guidance = max(asked.guidance or 1.0, own.guidance or 1.0)
            sampler = replace(asked.over(own), last=own.last, guidance=guidance)
        return Plan(
            model=self.model,
            camera=views[1:],
            views=views,
            readout=readout,
            condition=condition,
            sampler=sampler,
            seed=noise_seed(self.seed, self.index),
            conditioning=self.settings.conditioning,
            origin=self._state,
            negative=self._negative(condition) if sampler.guidance != 1.0 else None,
            timings=timings,
        )

    def _condition(
        self, readout: Readout, views: Camera, between: Camera, past_views: Sequence[int], *, preceding: bool = True
    ) -> Condition:
        """What the denoiser sees, with some of the past frames as references."""
        text = self._encoded(self.prompt)
        return shown(self, readout, views, between, references=past_views, preceding=preceding, text=text)

    def _depth(self, latents: Tensor, views: Camera, tape: Tape, count: int) -> DepthMap:
        """[T,h,w] of new latents [T,C,h,w], the last `count` video frames of the tape."""
        number = TIME_STRIDE * (int(self.history.number[-1]) + 1 + torch.arange(len(latents)))

        def frames() -> Tensor:
            return tape.frames()[-count:][TIME_STRIDE - 1 :: TIME_STRIDE]

        return estimated(self.estimator, Views(latents, views, number, False, frames))

    def _aligned(self, depth: DepthMap, seen: Readout) -> Alignment:
        """Depth of the new frames, brought to that of what the memory showed there."""
        known, offset = seen.depth.to(depth.z.device), seen.offset.to(depth.z.device)
        return align(depth, to=known, offset=offset, max_residual=self.settings.max_residual)

    def _negative(self, condition: Condition) -> Condition:
        asked = self.settings.negative_prompt
        return condition.without_text(self._encoded(self.model.negative_prompt if asked is None else asked))

    def _encoded(self, prompt: str) -> Tensor:
        """The prompt as the network takes it [1,L,D]; each is encoded once, and the last few are kept."""
        text = self._texts.pop(prompt, None)
        self._texts[prompt] = self.model.encode_prompt(prompt) if text is None else text
        if len(self._texts) > _TEXTS:
            del self._texts[next(iter(self._texts))]
        return self._texts[prompt]
