"""Encoding what the denoiser and the depth head are trained on: a clip's frames as one stream and one by one.

`F` video frames of `H W` pixels, `T` latent frames of `C` channels on an `h w` grid.
"""

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.conditioning import frames_between
from mirage.models.streams import encode_images
from mirage.models.world import WorldModel
from mirage.scenes import Clip
from mirage.training.clips import LatentClip

_IMAGES = 8  # that are encoded at once: a GPU wants more than one, and its memory ends somewhere


def encode_clip(model: WorldModel, clip: Clip, *, bf16: bool = False) -> LatentClip:
    """A rendered clip as latents, on the CPU; its depth on their grid."""
    with torch.autocast(model.vae.device.type, torch.bfloat16, enabled=bf16):
        latents, images = encode_frames(model, clip.rgb)
    depth = clip.depth.resized((latents.shape[-2], latents.shape[-1])).to("cpu")
    path = clip.camera.to("cpu")
    between = frames_between(path[0], path[1:])
    return LatentClip(latents, images, depth, path[::TIME_STRIDE], clip.caption, kind=clip.kind, between=between)


def encode_frames(model: WorldModel, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames uint8 [F,3,H,W], F = 1 + 4k, as one stream and every fourth one by itself: f16 [T,C,h,w] both, on the
    CPU."""
    rgb = frames.float() / 255
    latents = model.encode(rgb)
    images = torch.cat([encode_images(model.vae, some) for some in rgb[::TIME_STRIDE].split(_IMAGES)])
    return latents.half().cpu(), images.half().cpu()
