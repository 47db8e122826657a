"""Video to latents and back, as a stream: what a causal autoencoder has seen is carried from call to call.

    frames    0 | 1 2 3 4 | 5 6 7 8 | ...       a stream's first latent stands for one frame, each later one for four
    latents   0 |    1    |    2    | ...       latent k has seen frames 0 .. 4k and nothing later

So a stream cut anywhere between latents gives what one call gives: no seam, and a cost that does not grow with time.
Letters: `F` video frames, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels. Frames are in
[0, 1]; latents are normalised (the autoencoder's mean and deviation removed).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    WanDecoder3d,
    patchify,
    unpatchify,
)
from einops import rearrange
from torch import Tensor, nn

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.models.fitting.offload import running

_BLEND = 1  # cells to either side of a cut between tiles over which one fades into the other


@dataclass(frozen=True)
class Tiles:
    """How a frame too large for a GPU is cut for decoding: cores of `core` x `core` latent cells, each decoded with
    `margin` cells more on every side, of which the outer, spoilt by the cut, are dropped and the inner two blended.

        | core |margin|            What the autoencoder decides about the frame as a whole (its attention, on the
            |margin| core |        latent grid) is worked out once for all tiles, so tiles agree in tone. A margin that
                                   covers all convolutions behind it, 14 cells for Wan2.2, makes tiles exact.
    """

    core: int
    margin: int = 4

    @classmethod
    def of(cls, pixels: int, stride: int) -> Tiles:
        """Cores of about that many pixels, a cell being `stride` of them."""
        return cls(max(pixels // stride, 2 * _BLEND))

    def __post_init__(self) -> None:
        if self.core < 2 * _BLEND or self.margin < _BLEND:
            raise InputError(
                f"tiles of {self.core} cells with a margin of {self.margin}; "
                f"accepted: {2 * _BLEND} cells or more, a margin of {_BLEND} or more"
            )


class StreamDecoder:
    """Latents -> frames. State: the autoencoder's causal cache, which `copy` keeps for going back to.

    tiles   None: frames are decoded whole
    rest    where the cache (gigabytes, for large frames) lies between calls, and that of one tile while another is
            decoded; None: where the autoencoder is
    """

    def __init__(self, vae: Any, *, tiles: Tiles | None = None, rest: torch.device | str | None = None) -> None:
        self.vae, self.tiles, self.rest = vae, tiles, rest
        self._caches: dict[Any, list[Any]] = {}

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The next latents [T,C,h,w] of the stream -> their frames [4T,3,H,W], [1 + 4(T-1),3,H,W] in the first call."""
        its: Any = self.vae.config
        if latents.ndim != 4 or latents.shape[1] != its.z_dim or len(latents) == 0:
            raise InputError(f"latents have shape {list(latents.shape)}; accepted: [T,{its.z_dim},h,w], T 1 or more")
        if self._caches and self._grid != latents.shape[2:]:
            raise InputError(f"latents have the grid {list(latents.shape[2:])}; this stream's is {list(self._grid)}")
        self._grid = latents.shape[2:]
        with running(self.vae):
            return self._decode(latents.to(self.vae.device))

    def _decode(self, latents: Tensor) -> Tensor:
        its: Any = self.vae.config
        start = not self._caches
        (h, w), stride = self._grid, its.scale_factor_spatial
        z = rearrange(latents, "t c h w -> 1 c t h w")
        mean, std = statistics(self.vae, z)
        states = self._whole((z * std + mean).to(self.vae.dtype))
        count = TIME_STRIDE * len(states) - (TIME_STRIDE - 1) * start
        frames = latents.new_zeros(count, 3, h * stride, w * stride, dtype=torch.float32)
        for y, (rows, row_weight) in enumerate(cuts(h, self.tiles)):
            for x, (columns, column_weight) in enumerate(cuts(w, self.tiles)):
                place = frames[..., _grown(rows, stride), _grown(columns, stride)]
                weight = None
                if self.tiles is not None:
                    weight = row_weight.repeat_interleave(stride)[:, None] * column_weight.repeat_interleave(stride)
                    weight = weight.to(frames.device)
                with self._cache((y, x)) as cache:
                    at = 0
                    for number, state in enumerate(states):
                        video = self._video(state[..., rows, columns], cache, start and number == 0)
                        pixels = video[0].clamp(-1, 1).transpose(0, 1).float()
                        place[at : at + len(pixels)] += pixels if weight is None else pixels * weight
                        at += len(pixels)
        return frames.mul_(0.5).add_(0.5)

    def _whole(self, z: Tensor) -> list[Tensor]:
        """Of latents [1,C,T,h,w], not normalised, what is decided about each of the T as a whole: [1,*,1,h,w]."""
        z = self.vae.post_quant_conv(z)
        with self._cache("body") as cache:
            return [_body(self.vae.decoder, latent, cache) for latent in z.split(1, dim=2)]

    def _video(self, state: Tensor, cache: list[Any], start: bool) -> Tensor:
        """The video [1,3,F,H,W] of one of them, or of a tile of it: F = 4, 1 at the start of a stream."""
        its: Any = self.vae.config
        return unpatchify(_head(self.vae.decoder, state, cache, start), patch_size=its.patch_size or 1)

    def _entries(self, name: Any) -> int:
        """How many entries the cache of a part of the decoder has."""
        part = self.vae.decoder
        return _convolutions(part.up_blocks) + 1 if name != "body" else _convolutions(part.mid_block) + 1

    @contextmanager
    def _cache(self, name: Any) -> Iterator[list[Any]]:
        """The causal cache of one part of the decoder, brought to where it is needed; changes are kept."""
        here = self.vae.device  # for which diffusers goes through all modules: once, and not for each entry
        cache = [_moved(entry, here) for entry in self._caches.get(name, [None] * self._entries(name))]
        yield cache
        self._caches[name] = [_moved(entry, self.rest or here) for entry in cache]

    def copy(self) -> StreamDecoder:
        """The same place in the same stream; what happens to one does not touch the other."""
        other = type(self)(self.vae, tiles=self.tiles, rest=self.rest)
        if self._caches:
            # the autoencoder replaces its entries and never writes into them
            other._caches, other._grid = dict(self._caches), self._grid
        return other


def reach(vae: AutoencoderKLWan) -> int:
    """So many latents decide what a frame looks like, at most: a decoder that is shown them goes on to the bit. Every
    convolution looks two frames back, of the latents' rate or of a higher one."""
    return 1 + 2 * _convolutions(vae.decoder)


class StreamEncoder:
    """Frames -> latents. State: the autoencoder's causal cache."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self._started = False
        self._cache: list[Any] = _empty_cache(vae.encoder)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """The next frames [F,3,H,W] of the stream -> latents [T,C,h,w]: F = 1 + 4k in the first call, 4k in later ones.

        The mode of the posterior: the same frames give the same latents.
        """
        its: Any = self.vae.config
        start = not self._started
        stride = its.scale_factor_spatial
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.shape[2] % stride or frames.shape[3] % stride:
            accepted = f"[F,3,H,W] with H and W multiples of {stride}"
            raise InputError(f"frames have shape {list(frames.shape)}; accepted: {accepted}")
        if len(frames) % TIME_STRIDE != int(start) or len(frames) == 0:
            accepted = "1 + 4k at the start of a stream" if start else "4k after the start of a stream"
            raise InputError(f"got {len(frames)} frames; accepted: {accepted}")
        with running(self.vae):
            latents = self._encode(frames, start)
        self._started = True
        return latents

    def _encode(self, frames: Tensor, start: bool) -> Tensor:
        its: Any = self.vae.config
        x = rearrange(frames.to(self.vae.device, self.vae.dtype) * 2 - 1, "f c h w -> 1 c f h w")
        x = patchify(x, patch_size=its.patch_size or 1)
        pieces = [x[:, :, :1], *x[:, :, 1:].split(TIME_STRIDE, dim=2)] if start else x.split(TIME_STRIDE, dim=2)
        encoded = [
            self.vae.encoder(piece, feat_cache=self._cache, feat_idx=[0]) for piece in pieces if piece.shape[2] > 0
        ]
        return rearrange(_latents(self.vae, torch.cat(encoded, dim=2)), "1 c t h w -> t c h w")


@torch.no_grad()
def encode_images(vae: AutoencoderKLWan, frames: Tensor) -> Tensor:
    """Frames [F,3,H,W], each a stream of its own -> latents [F,C,h,w]; what `StreamEncoder` gives one by one."""
    its: Any = vae.config
    x = rearrange(frames.to(vae.device, vae.dtype) * 2 - 1, "f c h w -> f c 1 h w")
    encoded = vae.encoder(patchify(x, its.patch_size or 1), feat_cache=_empty_cache(vae.encoder), feat_idx=[0])
    return rearrange(_latents(vae, encoded), "f c 1 h w -> f c h w")


def _latents(vae: AutoencoderKLWan, encoded: Tensor) -> Tensor:
    """What a Wan encoder says [B,*,T,h,w] -> latents [B,C,T,h,w]."""
    its: Any = vae.config
    return normalised(vae, vae.quant_conv(encoded)[:, : its.z_dim])  # the other half is the log variance


def normalised(vae: Any, z: Tensor) -> Tensor:
    """Latents [B,C,T,h,w] as an autoencoder makes them -> without its mean and deviation, float32."""
    z = z.float()
    mean, std = statistics(vae, z)
    return (z - mean) / std


def statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and deviation of an autoencoder's latents, [C,1,1,1] each."""
    its: Any = vae.config
    mean, std = (like.new_tensor(values, dtype=torch.float32) for values in (its.latents_mean, its.latents_std))
    return mean[:, None, None, None], std[:, None, None, None]


def _body(decoder: WanDecoder3d, latent: Tensor, cache: list[Any]) -> Tensor:
    """The decoder as far as it works on the latent grid: [1,C,1,h,w] -> [1,d,1,h,w]."""
    place = [0]
    return decoder.mid_block(_cached(decoder.conv_in, latent, cache, place), feat_cache=cache, feat_idx=place)


def _head(decoder: WanDecoder3d, state: Tensor, cache: list[Any], start: bool) -> Tensor:
    """The rest of the decoder: [1,d,1,h,w] -> [1,c,4,H,W], 1 frame at the start of a stream."""
    place = [0]
    for block in decoder.up_blocks:
        state = block(state, feat_cache=cache, feat_idx=place, first_chunk=start)
    return _cached(decoder.conv_out, decoder.nonlinearity(decoder.norm_out(state)), cache, place)


def _cached(convolution: nn.Module, x: Tensor, cache: list[Any], place: list[int]) -> Tensor:
    """A causal convolution after what it saw before; it looks two frames back."""
    before = cache[place[0]]
    kept = x[:, :, -2:].clone()
    if kept.shape[2] < 2 and before is not None:
        kept = torch.cat([before[:, :, -1:], kept], dim=2)
    out = convolution(x, before)
    cache[place[0]] = kept
    place[0] += 1
    return out


def cuts(count: int, tiles: Tiles | None) -> list[tuple[slice, Tensor]]:
    """The tiles along one side of `count` cells: which cells each one sees, and its weight [n] in each of them.

    Weights of neighbours add up to 1: 0 in the margins, 1 in the core, rising over 2 cells where cores meet.
    """
    if tiles is None:
        return [(slice(0, count), torch.ones(count))]
    number = -(-count // tiles.core)
    edges = [round(count * k / number) for k in range(number + 1)]
    centers = torch.arange(count) + 0.5
    found = []
    for low, high in pairwise(edges):
        seen = slice(max(low - tiles.margin, 0), min(high + tiles.margin, count))
        rise = torch.ones(count) if low == 0 else ((centers - low + _BLEND) / (2 * _BLEND)).clamp(0, 1)
        fall = torch.ones(count) if high == count else ((high + _BLEND - centers) / (2 * _BLEND)).clamp(0, 1)
        found.append((seen, (rise * fall)[seen]))
    return found


def _grown(cells: slice, stride: int) -> slice:
    return slice(cells.start * stride, cells.stop * stride)


def _moved(entry: Any, device: torch.device | str) -> Any:
    """A cache entry elsewhere; some are empty and some are words."""
    return entry.to(device) if isinstance(entry, Tensor) else entry


def _empty_cache(part: nn.Module) -> list[Any]:
    return [None] * _convolutions(part)


def _convolutions(part: nn.Module) -> int:
    return sum(isinstance(module, WanCausalConv3d) for module in part.modules())
