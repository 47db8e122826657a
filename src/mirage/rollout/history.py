"""The latent frames that a walk keeps beside its memory: to begin the next chunk, and to look back at.

`J` kept frames, `C` latent channels, `h w` latent grid. Values are immutable: adding makes a new history, so a snapshot
is a reference.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap

RECENT = 16  # the newest frames are all kept: the next chunk begins with them


@dataclass(frozen=True, eq=False)
class History:
    """latents [J,C,h,w], depth [J,h,w], camera [J], and the number [J] of each on the walk; oldest first."""

    latents: Tensor
    depth: DepthMap
    camera: Camera
    number: Tensor

    def added(self, latents: Tensor, depth: DepthMap, camera: Camera, *, limit: int) -> "History":
        """With newer frames at the end. Above `limit` every other one of the older frames goes, so that what is kept
        stays spread over the whole walk and a walk of any length needs the same room."""
        first = int(self.number[-1]) + 1
        number = torch.cat([self.number, torch.arange(first, first + len(latents))])
        together = History(
            torch.cat([self.latents, latents]),
            DepthMap.concatenate([self.depth, depth]),
            Camera.concatenate([self.camera, camera]),
            number,
        )
        while len(together) > limit:
            older = torch.arange(0, len(together) - RECENT, 2)
            newer = torch.arange(len(together) - RECENT, len(together))
            together = together[torch.cat([older, newer])]
        return together

    def __getitem__(self, index: Tensor | slice) -> "History":
        return History(self.latents[index], self.depth[index], self.camera[index], self.number[index])

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return f"History({len(self)} latent frames, {self.nbytes / 2**20:.1f} MiB)"

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.latents, self.depth.z, self.depth.valid))
