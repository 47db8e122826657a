"""What is known becomes what the denoiser sees: readout + history + references + text -> `Condition`.

Rollout and training both come through here, so memory in training is memory at inference.
Letters: `B` batch, `T` target latent frames, `P` preceding, `R` references, `C` latent channels, `h w` latent grid.
"""

import dataclasses

import torch
from einops import rearrange
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.geometry.camera import Camera
from mirage.geometry.grid import cell_centers
from mirage.memory.baselines.rgb import Decode, Encode
from mirage.memory.readout import Readout
from mirage.models.codec import StreamDecoder
from mirage.models.condition import Condition
from mirage.models.world import WorldModel


def build_condition(
    readout: Readout,
    camera: Camera,
    *,
    history: Tensor,
    references: Tensor,
    text: Tensor,
    between: Camera | None = None,
) -> Condition:
    """The condition [B=1] of one chunk.

    readout      of the memory, from the chunk's cameras [T]
    history      [1+P,C,h,w] clean latents up to and with the chunk's first frame, oldest first
    references   [R,C,h,w] clean latents of earlier views
    text         [1,L,D] encoded prompt
    between      cameras [T,3] of the video frames before each (`frames_between`), for a branch that sees motion
    """
    grid = (readout.mask.shape[-2], readout.mask.shape[-1])
    device = readout.latents.device
    return Condition(
        memory=rearrange(readout.latents, "t c h w -> 1 c t h w"),
        mask=rearrange(readout.mask.float(), "t h w -> 1 1 t h w"),
        offset=rearrange(readout.offset.float(), "t xy h w -> 1 xy t h w"),
        rays=rearrange(plucker(camera, grid), "t c h w -> 1 c t h w").to(device),
        first=rearrange(history[-1:], "t c h w -> 1 c t h w"),
        preceding=rearrange(history[:-1], "t c h w -> 1 c t h w"),
        references=rearrange(references, "t c h w -> 1 c t h w"),
        text=text,
        motion=None if between is None else rearrange(motion(readout, camera, between), "t c h w -> 1 c t h w"),
    )


def frames_between(start: Camera, camera: Camera) -> Camera:
    """Of a chunk that begins at `start` [] and goes on along `camera` [4k], the cameras [1+k,3] of the three video
    frames before each latent's own. The first latent stands for one frame: its three are that one."""
    frames = torch.arange(len(camera)).view(-1, TIME_STRIDE)[:, :-1]
    return Camera.concatenate([Camera.stack([start] * (TIME_STRIDE - 1))[None], camera[frames].to(start.c2w)])


FARTHEST = 8.0
"""Motion of more cells is held here: it is out of sight, or was behind the camera."""


def motion(readout: Readout, camera: Camera, between: Camera) -> Tensor:
    """Where what the memory shows to `camera` [T] was in the frames `between` [T,3]: [T,6,h,w], see `Condition`.

    A latent stands for four video frames, and a readout is what the last of them sees. How the picture moved up to
    there no single readout tells: it depends on the depth of what is seen and on the cameras in between.
    """
    grid = (readout.mask.shape[-2], readout.mask.shape[-1])
    z = readout.depth.z.to(camera.c2w)
    uv = cell_centers(grid, device=z.device, dtype=z.dtype)
    points = camera.unproject(uv.expand(*z.shape, 2), z)
    seen, ahead = between.project(rearrange(points, "t h w xyz -> t 1 (h w) xyz"))
    moved = (seen - rearrange(uv, "h w xy -> (h w) xy")) * uv.new_tensor([grid[1], grid[0]])
    moved = torch.where((ahead > 0)[..., None], moved, FARTHEST * moved.sign())
    moved = moved.nan_to_num_(0).clamp_(-FARTHEST, FARTHEST)
    moved = rearrange(moved, "t f (h w) xy -> t (f xy) h w", h=grid[0])
    return (moved * readout.mask[:, None]).float().to(readout.latents.device)


def drafted_views(count: int) -> list[int]:
    """Which of a chunk's `count` latent frames a draft shows: the first, which is there, the middle and the last."""
    return sorted({0, count // 2, count - 1})


def as_published(condition: Condition, before: Tensor, constant: Tensor | None) -> Condition:
    """The condition with what only branches in the published layout see.

    before       [P,C,h,w] readout latents of the memory, from where the preceding frames were seen
    constant     [T+P,C,h,w] latents of the encoded constant video (`WorldModel.constant`), or None
    """
    return dataclasses.replace(
        condition,
        preceding_memory=rearrange(before, "p c h w -> 1 c p h w"),
        constant=None if constant is None else rearrange(constant, "t c h w -> 1 c t h w"),
    )


def plucker(camera: Camera, grid: tuple[int, int]) -> Tensor:
    """Plucker coordinates (unit direction, moment) of every cell's ray, in the frame of the first camera: [T,6,h,w]."""
    origin, direction = camera.relative_to(camera[0]).rays(grid)
    direction = torch.nn.functional.normalize(direction, dim=-1)
    moment = torch.linalg.cross(origin[:, None, None].expand_as(direction), direction)
    return rearrange(torch.cat([direction, moment], dim=-1), "t h w c -> t c h w").float()


def pixel_codec(model: WorldModel) -> tuple[Decode, Encode]:
    """A model's autoencoder as the two callables of `RGBPointMemory`."""

    def decode(latents: Tensor, state: StreamDecoder | None) -> tuple[Tensor, StreamDecoder]:
        decoder = model.decoder() if state is None else state.copy()
        frames = decoder.decode(latents)
        # the first latent of a stream is one frame; a later one is four, and stands at the last of them
        return frames[(len(frames) - 1) % TIME_STRIDE :: TIME_STRIDE], decoder

    def encode(frames: Tensor) -> Tensor:
        return torch.cat([model.encode(frame[None]) for frame in frames])

    return decode, encode
