"""A light autoencoder of video: groups of four frames, two-dimensional convolutions, no norm.

A latent says what its four frames show and nothing else, so one taken out of a memory says the same wherever it is put;
a single image is a group in which nothing moves. Only the decoder looks back, one latent in some of its blocks, so that
a group goes on from the one before it.

    encode   4 frames --unshuffle 4--> 4 x [top, H/4, W/4] --unshuffle 2, side by side--> [width, H/8, W/8] --> latent
    decode   latent --> [width, H/8, W/8] --side by side, shuffle 2--> 4 x [top, H/4, W/4] --shuffle 4--> 4 frames

Nothing is computed at the picture's full size, and there are neither norms nor a causal cache of pixels, which a Wan
autoencoder of these sizes spends half of its time on.

Letters: `B` batch, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` = 8 h, 8 w pixels. Video is in
[-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from mirage.chunks import TIME_STRIDE

PATCH = 4
"""Pixels along a side that the finest grid takes together."""


class GroupedAutoencoder(ModelMixin, ConfigMixin):
    """See the module's docstring.

    z_dim          latent channels C
    width, top     channels on the latent grid and on that of a quarter of the picture's sides
    body, head     blocks there, in encoder and decoder; in the decoder every second block of the body looks back
    decoder_body   blocks of the decoder's, where it has another number of them
    latents_mean, latents_std   of each channel, over what it was trained on
    """

    @register_to_config
    def __init__(
        self,
        z_dim: int = 32,
        width: int = 192,
        top: int = 64,
        body: int = 4,
        head: int = 2,
        decoder_body: int | None = None,
        latents_mean: Sequence[float] = (),
        latents_std: Sequence[float] = (),
        scale_factor_spatial: int = 8,
        scale_factor_temporal: int = TIME_STRIDE,
    ) -> None:
        super().__init__()
        if not latents_mean:
            self.register_to_config(latents_mean=[0.0] * z_dim, latents_std=[1.0] * z_dim)
        self.encoder = GroupEncoder(z_dim, width, top, body, head)
        self.decoder = GroupDecoder(z_dim, width, top, body if decoder_body is None else decoder_body, head)

    def encode(self, video: Tensor) -> Tensor:
        """Groups [B,3,4,H,W] -> latents [B,C,h,w], not normalised."""
        return self.encoder(video)

    def decode(self, latents: Tensor, past: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Latents [B,C,T,h,w], not normalised -> groups [B,3,4 T,H,W] around [-1, 1], and what the next call is to be
        given as `past` (None: these begin the stream)."""
        return self.decoder(latents, past)


class GroupEncoder(nn.Module):
    """Groups to latents."""

    def __init__(self, z_dim: int, width: int, top: int, body: int, head: int) -> None:
        super().__init__()
        self.enter = _convolution(3 * PATCH**2, top)
        self.head = nn.Sequential(*(Block(top) for _ in range(head)))
        self.merge = nn.Conv2d(4 * TIME_STRIDE * top, width, 1)
        self.body = nn.Sequential(*(Block(width) for _ in range(body)))
        self.leave = _convolution(width, z_dim)

    def forward(self, video: Tensor) -> Tensor:
        """[B,3,4,H,W] -> [B,C,h,w]."""
        x = rearrange(video, "b c t (y p) (x q) -> (b t) (c p q) y x", p=PATCH, q=PATCH)
        x = self.head(self.enter(_last(x)))
        x = rearrange(x, "(b t) c (y p) (x q) -> b (t p q c) y x", t=TIME_STRIDE, p=2, q=2)
        return self.leave(self.body(self.merge(_last(x))))


class GroupDecoder(nn.Module):
    """Latents to groups."""

    def __init__(self, z_dim: int, width: int, top: int, body: int, head: int) -> None:
        super().__init__()
        self.enter = _convolution(z_dim, width)
        self.body = nn.ModuleList(Block(width, back=number % 2 == 1) for number in range(body))
        self.split = nn.Conv2d(width, 4 * TIME_STRIDE * top, 1)
        self.head = nn.Sequential(*(Block(top) for _ in range(head)))
        self.leave = _convolution(top, 3 * PATCH**2)

    def forward(self, latents: Tensor, past: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """[B,C,T,h,w] -> [B,3,4 T,H,W]; see `GroupedAutoencoder.decode`."""
        batch, times = latents.shape[0], latents.shape[2]
        x = self.enter(_last(rearrange(latents, "b c t y x -> (b t) c y x")))
        left: list[Tensor] = []
        for block in self.body:
            if block.back is None:
                x = block(x)
                continue
            steps = rearrange(x, "(b t) c y x -> b t c y x", b=batch)
            first = steps[:, :1] if past is None else past[len(left)]
            before = rearrange(torch.cat([first, steps[:, :-1]], 1), "b t c y x -> (b t) c y x")
            left.append(steps[:, -1:])
            x = block(x, _last(before))
        x = rearrange(self.split(x), "b (t p q c) y x -> (b t) c (y p) (x q)", t=TIME_STRIDE, p=2, q=2)
        x = self.leave(self.head(_last(x)))
        video = rearrange(x, "(b t) (c p q) y x -> b c t (y p) (x q)", t=TIME_STRIDE * times, p=PATCH, q=PATCH)
        return video, left


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity; with `back`, the first also sees the latent before."""

    def __init__(self, width: int, *, back: bool = False) -> None:
        super().__init__()
        self.first, self.second = _convolution(width, width), _convolution(width, width)
        self.back = nn.Conv2d(width, width, 3, padding=1, bias=False) if back else None
        with torch.no_grad():
            self.second.weight.mul_(0.3)
            if self.back is not None:
                self.back.weight.mul_(0.3)

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        inner = self.first(F.relu(x))
        if self.back is not None and before is not None:
            inner = inner + self.back(F.relu(before))
        return x + self.second(F.relu_(inner))


def _convolution(enters: int, leaves: int) -> nn.Conv2d:
    return nn.Conv2d(enters, leaves, 3, padding=1)


def _last(x: Tensor) -> Tensor:
    """Channels last in memory, which convolutions of few channels want."""
    return x.contiguous(memory_format=torch.channels_last)
