"""Encoding and decoding whole batches of clips, with gradients and without clamping: what training needs.

A Wan autoencoder is causal: its first latent frame is one image, every further one holds four video frames, and each
convolution keeps the last frames it saw. So a clip is two calls, its first frame and all the rest, with the caches
carried over; that is the same as latent by latent (codec.py), and quicker. A grouped one takes all groups at once; the
first frame is a group in which nothing moves.

B batch, F = 1 + 4 (T - 1) video frames, T latent frames, C latent channels. Latents here are not normalised.
"""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, patchify, unpatchify
from einops import rearrange
from torch import Tensor, nn

from mirage.chunks import TIME_STRIDE
from mirage.models.grouped import GroupedAutoencoder
from mirage.models.streams import Autoencoder


def encode(vae: Autoencoder, video: Tensor) -> Tensor:
    """Video [B,3,F,H,W] in [-1, 1] -> the posterior's mean [B,C,T,h,w]."""
    if isinstance(vae, GroupedAutoencoder):
        still = video[:, :, :1].expand(-1, -1, TIME_STRIDE - 1, -1, -1)
        groups = rearrange(torch.cat([still, video], 2), "b c (t g) h w -> (b t) c g h w", g=TIME_STRIDE)
        return rearrange(vae.encode(groups), "(b t) c h w -> b c t h w", b=len(video))
    its: Any = vae.config
    cache = _empty_cache(vae.encoder)
    x = patchify(video, its.patch_size or 1)
    pieces = [vae.encoder(piece, feat_cache=cache, feat_idx=[0]) for piece in _first_and_rest(x)]
    return vae.quant_conv(torch.cat(pieces, dim=2))[:, : its.z_dim]


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Latents [B,C,T,h,w] -> video [B,3,F,H,W] around [-1, 1], not clamped."""
    if isinstance(vae, GroupedAutoencoder):
        return vae.decode(latents)[0][:, :, TIME_STRIDE - 1 :]
    its: Any = vae.config
    cache = _empty_cache(vae.decoder)
    pieces = [
        vae.decoder(piece, feat_cache=cache, feat_idx=[0], first_chunk=i == 0)
        for i, piece in enumerate(_first_and_rest(vae.post_quant_conv(latents)))
    ]
    return unpatchify(torch.cat(pieces, dim=2), its.patch_size or 1)


def _first_and_rest(x: Tensor) -> list[Tensor]:
    return [piece for piece in (x[:, :, :1], x[:, :, 1:]) if piece.shape[2] > 0]


def _empty_cache(part: nn.Module) -> list[Any]:
    return [None] * sum(isinstance(module, WanCausalConv3d) for module in part.modules())
