"""`MiragePipeline`: the world model called as diffusers' pipelines are called. All of it is `Session`; use that to
walk on, look at chunks as they come, or undo. `F` video frames, `H W` pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.world import WorldModel
from mirage.rollout.plan import Progress
from mirage.rollout.session import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler


@dataclass(frozen=True, eq=False)
class MirageOutput:
    """`frames` [F,3,H,W] in [0, 1], a tensor ("pt") or an array [F,H,W,3] ("np"); `session`, to walk on from there."""

    frames: Tensor | np.ndarray
    session: Session

    def __iter__(self) -> Iterator[Any]:
        return iter((self.frames, self.session))


class MiragePipeline(WorldModel):
    """A `WorldModel` with diffusers' call.

    >>> pipe = MiragePipeline.from_pretrained(folder)
    >>> frames = pipe(image, camera, "a red room", num_inference_steps=8).frames
    """

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        camera: Camera,
        prompt: str = "",
        *,
        depth: DepthMap | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        generator: torch.Generator | None = None,
        callback_on_step_end: Callable[["MiragePipeline", int, int, dict[str, Tensor]], object] | None = None,
        output_type: Literal["pt", "np"] = "pt",
    ) -> MirageOutput:
        """Walk from `image` [3,H,W] in [0, 1] along `camera` [F], F = 1 + 4k; camera[0] is the image's.

        generator: the seed is drawn from it (None: 0). callback_on_step_end(pipe, step, timestep, {"latents": ...})
        after each denoising step of each chunk; what it returns is not used.
        """
        if output_type not in ("pt", "np"):
            raise InputError(f"output_type is 'pt' or 'np', got {output_type!r}")
        if len(camera.shape) != 1 or len(camera) < 1:
            raise InputError(f"the pipeline takes a path [F] of cameras, got {list(camera.shape)}")
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
        sampler = Sampler(steps=num_inference_steps, guidance=guidance_scale)
        settings = Settings(sampler=sampler, negative_prompt=negative_prompt)
        session = Session(self, image, camera=camera[0], prompt=prompt, depth=depth, settings=settings, seed=seed)

        def callback(at: Progress) -> None:
            if callback_on_step_end is not None and at.stage == "chunk":
                callback_on_step_end(self, at.step, int(at.timestep), {"latents": at.latents})

        frames = torch.cat([chunk.frames for chunk in session.follow(camera, callback=callback)])
        if output_type == "np":
            return MirageOutput(rearrange(frames, "f c h w -> f h w c").cpu().numpy(), session)
        return MirageOutput(frames, session)
