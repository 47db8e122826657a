"""Which streams an autoencoder has: the one place that asks what kind it is.

codec.py has those of the Wan autoencoders, grouped_codec.py those of the bundled one.
"""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from mirage.models import codec, grouped_codec
from mirage.models.codec import StreamDecoder, StreamEncoder, Tiles
from mirage.models.grouped import GroupedAutoencoder

Autoencoder = AutoencoderKLWan | GroupedAutoencoder


def stream_encoder(vae: Autoencoder) -> StreamEncoder:
    """A new stream of frames."""
    return grouped_codec.GroupedStreamEncoder(vae) if isinstance(vae, GroupedAutoencoder) else StreamEncoder(vae)


def stream_decoder(
    vae: Autoencoder, *, tiles: Tiles | None = None, rest: torch.device | str | None = None
) -> StreamDecoder:
    """A new stream of latents; `tiles` and `rest` as of `StreamDecoder`."""
    kind = grouped_codec.GroupedStreamDecoder if isinstance(vae, GroupedAutoencoder) else StreamDecoder
    return kind(vae, tiles=tiles, rest=rest)


@torch.no_grad()
def encode_images(vae: Autoencoder, frames: Tensor) -> Tensor:
    """Frames [F,3,H,W] in [0, 1], each a stream of its own -> latents [F,C,h,w]; what encoders give one by one."""
    if isinstance(vae, GroupedAutoencoder):
        return grouped_codec.encoded_images(vae, frames)
    return codec.encode_images(vae, frames)


def reach(vae: Autoencoder) -> int:
    """So many latents decide what a frame looks like, at most: a decoder that is shown them goes on to the bit."""
    if isinstance(vae, GroupedAutoencoder):
        return 1 + sum(block.back is not None for block in vae.decoder.body)
    return codec.reach(vae)
