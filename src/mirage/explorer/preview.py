"""A picture from the memory within milliseconds: what is known from a pose, decoded by one matrix.

    decoder = LinearDecoder.of(model).learned(latents, frames)     from the given image alone, at no cost
    decoder = decoder.learned(chunk.latents, frames)               a little better after every chunk of a walk
    view = seen(memory, camera, decoder, grid)                     unknown cells are marked in view.known

A latent cell and its eight neighbours are projected to the cell's own pixels by least squares, ridge-regularised: no
more than one matrix, and a hundred times as fast as the model's decoder.

`N` points, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels, `s` pixels per cell along a side.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad, unfold

from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory
from mirage.models.world import WorldModel

RIDGE, FADES = 1e-3, 0.9  # of the mean square of an input; what was learned before counts so much after each chunk


@dataclass(frozen=True, eq=False)
class LinearDecoder:
    """Normal equations of the fit and their solution: `gram` [9(C+1),9(C+1)], `cross` and `weight` [9(C+1),3ss]."""

    gram: Tensor
    cross: Tensor
    weight: Tensor
    stride: int

    @classmethod
    def of(cls, model: WorldModel) -> "LinearDecoder":
        """One that knows nothing yet."""
        n, out = 9 * (model.channels + 1), 3 * model.stride**2
        return cls(torch.zeros(n, n), torch.zeros(n, out), torch.zeros(n, out), model.stride)

    def learned(self, latents: Tensor, frames: Tensor) -> "LinearDecoder":
        """Fitted to these too: latents [T,C,h,w] and the frame that each ends with [T,3,H,W]."""
        given, s = _around(latents.detach().cpu().float()), self.stride
        wanted = rearrange(frames.detach().cpu().float(), "t c (h a) (w b) -> (t h w) (c a b)", a=s, b=s)
        gram, cross = FADES * self.gram + given.T @ given, FADES * self.cross + given.T @ wanted
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        return LinearDecoder(gram, cross, torch.linalg.solve(gram + ridge, cross), s)

    def decode(self, latents: Tensor) -> Tensor:
        """[T,C,h,w] -> [T,3,H,W] in [0, 1]."""
        t, _, h, w = latents.shape
        pixels = (_around(latents.float()) @ self.weight).clamp_(0, 1)
        return rearrange(pixels, "(t h w) (c a b) -> t c (h a) (w b)", t=t, h=h, w=w, a=self.stride, b=self.stride)

    def colours(self, features: Tensor) -> Tensor:
        """[N,C] -> [N,3] in [0, 1]: the mean colour of a surface that is like this all around."""
        flat = self.weight.view(-1, 9, self.weight.shape[1]).sum(1)
        flat = rearrange(flat, "k (c p) -> k c p", c=3).mean(-1)
        return (features.float() @ flat[:-1] + flat[-1]).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known from a pose: picture [3,H,W] in [0, 1], and which cells [h,w] are."""

    picture: Tensor
    known: Tensor

    @property
    def coverage(self) -> float:
        """Share of cells that are known."""
        return float(self.known.float().mean())


@torch.no_grad()
def seen(memory: LatentSpatialMemory, camera: Camera, decoder: LinearDecoder, grid: tuple[int, int]) -> Seen:
    """The memory from one camera []. Nothing changes."""
    readout = memory.read(camera[None], grid)
    return Seen(decoder.decode(readout.latents.cpu())[0], readout.mask[0].cpu())


def copied(memory: LatentSpatialMemory) -> LatentSpatialMemory:
    """The memory of this moment, to be read by another thread while the session writes its own."""
    return LatentSpatialMemory.from_state(*memory.state())


def _around(latents: Tensor) -> Tensor:
    """Each cell with its neighbours and a one: [T,C,h,w] -> [T*h*w,9(C+1)]."""
    with_one = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)
    return rearrange(unfold(pad(with_one, (1, 1, 1, 1), mode="replicate"), 3), "t k n -> (t n) k")
