"""Video to latents and back, as a stream: what a causal autoencoder has seen is carried from call to call.

    frames    0 | 1 2 3 4 | 5 6 7 8 | ...       a stream's first latent stands for one frame, each later one for four
    latents   0 |    1    |    2    | ...       latent k has seen frames 0 .. 4k and nothing later

So a stream cut anywhere between latents gives what one call gives: no seam, and a cost that does not grow with time.
Letters: `F` video frames, `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels. Frames are in
[0, 1]; latents are normalised (the autoencoder's mean and deviation removed).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, patchify, unpatchify
from einops import rearrange
from torch import Tensor, nn

from mirage.errors import InputError

FRAMES = 4  # video frames per latent frame, after the first


class StreamDecoder:
    """Latents -> frames. State: the autoencoder's causal cache, which `copy` keeps for going back to."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self.vae = vae
        self._cache: list[Any] = _empty_cache(vae.decoder)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The next latents [T,C,h,w] of the stream -> their frames [4T,3,H,W], [1 + 4(T-1),3,H,W] in the first call."""
        its: Any = self.vae.config
        if latents.ndim != 4 or latents.shape[1] != its.z_dim or len(latents) == 0:
            raise InputError(f"latents have shape {list(latents.shape)}; accepted: [T,{its.z_dim},h,w], T 1 or more")
        z = rearrange(latents.to(self.vae.device), "t c h w -> 1 c t h w")
        mean, std = _statistics(self.vae, z)
        z = self.vae.post_quant_conv((z * std + mean).to(self.vae.dtype))
        pieces = []
        for latent in z.split(1, dim=2):
            start = self._cache[0] is None
            pieces.append(self.vae.decoder(latent, feat_cache=self._cache, feat_idx=[0], first_chunk=start))
        pixels = torch.cat(pieces, dim=2)
        pixels = unpatchify(pixels, patch_size=its.patch_size or 1).float()
        return rearrange(pixels.clamp(-1, 1) * 0.5 + 0.5, "1 c f h w -> f c h w")

    def copy(self) -> StreamDecoder:
        """The same place in the same stream; what happens to one does not touch the other."""
        other = StreamDecoder(self.vae)
        other._cache = list(self._cache)  # the autoencoder replaces its entries and never writes into them
        return other


class StreamEncoder:
    """Frames -> latents. State: the autoencoder's causal cache."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self.vae = vae
        self._cache: list[Any] = _empty_cache(vae.encoder)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """The next frames [F,3,H,W] of the stream -> latents [T,C,h,w]: F = 1 + 4k in the first call, 4k in later ones.

        The mode of the posterior: the same frames give the same latents.
        """
        its: Any = self.vae.config
        start = self._cache[0] is None
        stride = its.scale_factor_spatial
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.shape[2] % stride or frames.shape[3] % stride:
            accepted = f"[F,3,H,W] with H and W multiples of {stride}"
            raise InputError(f"frames have shape {list(frames.shape)}; accepted: {accepted}")
        if len(frames) % FRAMES != int(start) or len(frames) == 0:
            accepted = "1 + 4k at the start of a stream" if start else "4k after the start of a stream"
            raise InputError(f"got {len(frames)} frames; accepted: {accepted}")
        x = rearrange(frames.to(self.vae.device, self.vae.dtype) * 2 - 1, "f c h w -> 1 c f h w")
        x = patchify(x, patch_size=its.patch_size or 1)
        pieces = [x[:, :, :1], *x[:, :, 1:].split(FRAMES, dim=2)] if start else x.split(FRAMES, dim=2)
        encoded = [
            self.vae.encoder(piece, feat_cache=self._cache, feat_idx=[0]) for piece in pieces if piece.shape[2] > 0
        ]
        z = self.vae.quant_conv(torch.cat(encoded, dim=2))[:, : its.z_dim].float()  # the other half is the log variance
        mean, std = _statistics(self.vae, z)
        return rearrange((z - mean) / std, "1 c t h w -> t c h w")


def _statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    its: Any = vae.config
    mean, std = (like.new_tensor(values, dtype=torch.float32) for values in (its.latents_mean, its.latents_std))
    return mean[:, None, None, None], std[:, None, None, None]


def _empty_cache(part: nn.Module) -> list[Any]:
    return [None] * sum(isinstance(module, WanCausalConv3d) for module in part.modules())
