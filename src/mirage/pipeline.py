"""`MiragePipeline`: the world model called as diffusers' pipelines are called. All of it is `Session`; use that to
walk on, look at chunks as they come, or undo. `F` video frames, `H W` pixels.

    pipe = MiragePipeline.from_pretrained("mini")
    out = pipe("photo.jpg", "there_and_back", "a red room", num_frames=97, output_type="pil")
    out.frames[0][48].save("half-way.png")
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from mirage.chunks import check_frames
from mirage.depth.protocol import DepthEstimator
from mirage.errors import InputError, short
from mirage.formats.photograph import Photograph, Picture, photograph_of
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import checked
from mirage.memory import MemoryPolicy
from mirage.memory.protocol import SpatialMemory
from mirage.models.loading import load_world_model
from mirage.models.world import WorldModel
from mirage.rollout.chunk import Chunk
from mirage.rollout.opening import PathLike, framed, path_from
from mirage.rollout.plan import Progress
from mirage.rollout.session import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

OnStepEnd = Callable[["MiragePipeline", int, int, dict[str, Tensor]], Any]
"""callback(pipe, step, timestep, {"latents": ...}): what it returns under "latents" goes on in their place."""


@dataclass(frozen=True, eq=False)
class MirageOutput:
    """`frames`: one video, so with a leading axis of 1 or as a list of one; `session`, to walk on from there."""

    frames: Any  # Tensor, array, or list of one list of images, by output_type
    session: Session

    def __iter__(self) -> Iterator[Any]:
        return iter((self.frames, self.session))

    def __repr__(self) -> str:
        return f"MirageOutput({short(self.frames)}, {self.session!r})"


class MiragePipeline(WorldModel):
    """A `WorldModel` with diffusers' call.

    >>> pipe = MiragePipeline.from_pretrained("mini")                                # doctest: +SKIP
    >>> video = pipe("photo.jpg", "orbit", "a red room", num_frames=49).frames[0]    # doctest: +SKIP
    """

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _interrupt = False

    @property
    def interrupt(self) -> bool:
        """Whether somebody asked the call that runs to end: a callback does by `pipe._interrupt = True`."""
        return self._interrupt

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride] -- its choices are ours
        cls, name_or_path: str | Path = "mini", **choices: Any
    ) -> Self:
        """By name ("mini"), from a folder, or from the Hugging Face hub; `choices` are `load_world_model`'s, and
        diffusers' `torch_dtype` is its `dtype`."""
        if "torch_dtype" in choices:
            choices["dtype"] = choices.pop("torch_dtype")
        known = set(signature(load_world_model).parameters) - {"name_or_path"}
        if odd := sorted(choices.keys() - known):
            raise InputError(f"from_pretrained takes no {', '.join(odd)}; accepted: {', '.join(sorted(known))}")
        return cls.from_pipe(load_world_model(name_or_path, **choices))

    @classmethod
    def from_pipe(cls, pipeline: WorldModel, **others: Any) -> Self:
        """The same networks and configuration as those of a model that is loaded; nothing is copied. `others`: parts or
        entries of the configuration to have in place of its own."""
        if not isinstance(pipeline, WorldModel):
            raise InputError(f"a pipeline is made from a WorldModel, got {short(pipeline)}")
        names = signature(WorldModel.__init__).parameters.keys() - {"self"}
        if odd := sorted(others.keys() - names):
            raise InputError(f"a world model has no {', '.join(odd)}; accepted: {', '.join(sorted(names))}")
        its = {name: pipeline.config[name] for name in names - pipeline.components.keys()}  # pyright: ignore[reportIndexIssue]
        made = cls(**(dict(pipeline.components) | its | others))
        made.guidance, made.offload, made.tiles = pipeline.guidance, pipeline.offload, pipeline.tiles
        return made

    @checked
    @torch.no_grad()
    def __call__(
        self,
        image: Picture | Photograph,
        trajectory: PathLike = "there_and_back",
        prompt: str = "",
        *,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        depth: DepthMap | DepthEstimator | Tensor | np.ndarray | str | None = None,
        memory: SpatialMemory | str | None = None,
        policy: MemoryPolicy | None = None,
        output_type: Literal["np", "pt", "pil", "latent"] = "np",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> MirageOutput:
        """Walk from `image` along `trajectory`.

        image           as `Session` takes it; cut and resized to `height` x `width`, else to the model's pixel count
        trajectory      cameras [F] of which the first is the image's, or what `load_trajectory` takes: a preset, keys,
                        a file, seen through the image's own lens (EXIF, else 65 degrees on the longer side)
        num_frames      1 + 4k; None: all of the trajectory, 49 of a preset
        generator       the seed is drawn from it; None: 0
        memory, policy, depth     as `Session` takes them
        output_type     "np" [1,F,H,W,3] and "pt" [1,F,3,H,W] in [0, 1]; "pil", a list of one list of images; "latent"
                        [1,C,T,h,w], normalised
        return_dict     False: the tuple (frames, session)
        callback_on_step_end    called after each denoising step of each chunk; its latents are [1,C,T,h,w]. Where it
                        sets `pipe._interrupt = True`, the call ends with the chunks that are whole
        """
        if odd := sorted(set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)):
            raise InputError(f"callbacks are given latents, not {', '.join(odd)}")
        if num_frames is not None:
            check_frames(num_frames, "num_frames: a walk")
        if (height is None) != (width is None):
            raise InputError("height and width go together: got one of them")
        size = None if height is None or width is None else (height, width)
        photograph, path = self._first_frame(photograph_of(image), trajectory, num_frames, size)
        session = Session(
            self,
            photograph,
            camera=path[0],
            prompt=prompt,
            depth=depth,
            memory=memory,
            policy=policy,
            settings=Settings(
                sampler=Sampler(steps=num_inference_steps, guidance=guidance_scale),
                negative_prompt=negative_prompt,
            ),
            seed=_drawn(generator),
        )
        self._interrupt = False

        def stepped(at: Progress) -> None:
            if callback_on_step_end is not None and at.stage == "chunk":
                said = callback_on_step_end(self, at.step, int(at.timestep), {"latents": at.latents})
                if isinstance(said, dict) and "latents" in said and said["latents"] is not at.latents:
                    at.latents.copy_(said["latents"])
            if self._interrupt:
                raise _Interrupted

        chunks: list[Chunk] = []
        with suppress(_Interrupted):
            for chunk in session.follow(path, callback=stepped):
                chunks.append(chunk)  # the whole ones are kept where the rest is not to come
        frames = _shown(chunks, session, output_type)
        if not return_dict:
            return (frames, session)  # pyright: ignore[reportReturnType] -- as diffusers' pipelines do
        return MirageOutput(frames, session)

    def _first_frame(
        self, photograph: Photograph, trajectory: PathLike, frames: int | None, size: tuple[int, int] | None
    ) -> tuple[Photograph, Camera]:
        """The image as the walk's first frame, and the path [F] as seen through that."""
        if isinstance(trajectory, str):
            path = path_from(trajectory, photograph.camera, frames=frames)
        else:
            path = path_from(trajectory, photograph.camera)
            if frames is not None and frames > len(path):
                raise InputError(f"num_frames is {frames} and the trajectory has {len(path)}; accepted: at most that")
            path = path[:frames]
        check_frames(len(path), "a walk")
        return framed(self, photograph, path, size)


class _Interrupted(Exception):
    """A callback asked the call to end."""


def _drawn(generator: torch.Generator | Sequence[torch.Generator] | None) -> int:
    """The seed."""
    if isinstance(generator, Sequence):
        if len(generator) != 1:
            raise InputError(f"one video has one generator, got {len(generator)}")
        generator = generator[0]
    return 0 if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))


def _shown(chunks: Sequence[Chunk], session: Session, output_type: str) -> Any:
    """The video as it was asked for; of a call that was interrupted in its first chunk the image alone."""
    if output_type == "latent":
        latents = torch.cat([chunk.latents for chunk in chunks]) if chunks else session.history.latents
        return rearrange(latents, "t c h w -> 1 c t h w")
    assert session.image is not None
    frames = torch.cat([chunk.frames for chunk in chunks]) if chunks else session.image[None]
    if output_type == "pt":
        return frames[None]
    array = rearrange(frames, "f c h w -> f h w c").cpu().numpy()
    if output_type == "np":
        return array[None]
    return [[Image.fromarray((frame * 255).round().astype(np.uint8)) for frame in array]]
