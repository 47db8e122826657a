"""The streams of codec.py for a `GroupedAutoencoder`: every group is encoded by itself, and the decoder looks back once
in some of its blocks.

The first latent of a stream stands for one frame: a group in which nothing moves, of which the last frame is kept.
"""

from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.models.codec import StreamDecoder, StreamEncoder, cuts, grown, normalised, statistics
from mirage.models.grouped import GroupedAutoencoder


class GroupedStreamDecoder(StreamDecoder):
    """Latents -> frames. State: what the decoder's blocks saw last, a few hundred channels on the latent grid."""

    vae: GroupedAutoencoder

    def _decode(self, latents: Tensor) -> Tensor:
        start, (h, w) = not self._caches, self._grid
        its: Any = self.vae.config
        stride = its.scale_factor_spatial
        z = rearrange(latents, "t c h w -> 1 c t h w")
        mean, std = statistics(self.vae, z)
        z = (z * std + mean).to(self.vae.dtype)
        count = TIME_STRIDE * len(latents)
        frames = latents.new_zeros(count, 3, h * stride, w * stride, dtype=torch.float32)
        for y, (rows, row_weight) in enumerate(cuts(h, self.tiles)):
            for x, (columns, column_weight) in enumerate(cuts(w, self.tiles)):
                place = frames[..., grown(rows, stride), grown(columns, stride)]
                past = None if start else [entry.to(self.vae.device) for entry in self._caches[y, x]]
                weight = None
                if self.tiles is not None:
                    weight = row_weight.repeat_interleave(stride)[:, None] * column_weight.repeat_interleave(stride)
                    weight = weight.to(frames.device)
                at = 0
                for latent in z[..., rows, columns].split(1, dim=2):
                    video, past = self.vae.decode(latent, past)
                    pixels = video[0].transpose(0, 1).float().clamp_(-1, 1)
                    place[at : at + TIME_STRIDE] += pixels if weight is None else pixels * weight
                    at += TIME_STRIDE
                assert past is not None
                self._caches[y, x] = [entry.to(self.rest or entry.device) for entry in past]
        return frames[TIME_STRIDE - 1 if start else 0 :].mul_(0.5).add_(0.5)


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
