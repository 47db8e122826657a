"""The streams of codec.py for a `GroupedAutoencoder`: every group is encoded by itself, and the decoder looks back once
in some of its blocks.

The first latent of a stream stands for one frame: a group in which nothing moves, of which the last frame is kept.
"""

from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.models.codec import StreamDecoder, StreamEncoder, normalised
from mirage.models.grouped import GroupedAutoencoder


class GroupedStreamDecoder(StreamDecoder):
    """Latents -> frames. State: what the decoder's blocks saw last, a few hundred channels on the latent grid."""

    vae: GroupedAutoencoder

    def _whole(self, z: Tensor) -> list[Tensor]:
        return list(z.split(1, dim=2))

    def _video(self, state: Tensor, cache: list[Any], start: bool) -> Tensor:
        video, cache[:] = self.vae.decode(state, None if start else cache)
        return video[:, :, -1:] if start else video

    def _entries(self, name: Any) -> int:
        return sum(block.back is not None for block in self.vae.decoder.body)


class GroupedStreamEncoder(StreamEncoder):
    """Frames -> latents. State: whether the stream has begun."""

    vae: GroupedAutoencoder

    def _encode(self, frames: Tensor, start: bool) -> Tensor:
        x = frames.to(self.vae.device, self.vae.dtype) * 2 - 1
        if start:
            x = torch.cat([x[:1].expand(TIME_STRIDE - 1, -1, -1, -1), x])
        groups = rearrange(x, "(t g) c h w -> t c g h w", g=TIME_STRIDE)
        encoded = torch.cat([self.vae.encode(group) for group in groups.split(1)])
        return rearrange(normalised(self.vae, rearrange(encoded, "t c h w -> 1 c t h w")), "1 c t h w -> t c h w")


def encoded_images(vae: GroupedAutoencoder, frames: Tensor) -> Tensor:
    """See `mirage.models.codec.encode_images`."""
    x = repeat(frames.to(vae.device, vae.dtype) * 2 - 1, "f c h w -> f c g h w", g=TIME_STRIDE)
    return normalised(vae, vae.encode(x)[:, :, None])[:, :, 0]
