"""Clips on disk as latents: what the denoiser and the depth head are trained on, rendered or prepared.

One safetensors file a clip, with the caption in its header. `T` latent frames, `C` latent channels, `h w` latent grid:
    latents f16 [T,C,h,w], images f16 [T,C,h,w] (each frame 4k encoded alone), depth f16 and valid [T,h,w],
    c2w [T,4,4], intrinsics [4]; keep [T,h,w], which cells may enter a memory, where something moves
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.codec import encode_images
from mirage.models.world import WorldModel
from mirage.scenes import Clip

_IMAGES = 8  # that are encoded at once: a GPU wants more than one, and its memory ends somewhere


@dataclass(frozen=True)
class LatentClip:
    """`latents` [T,C,h,w] of a clip, `images` [T,C,h,w] the same moments encoded as single images, `depth` [T,h,w] and
    `camera` [T] of video frame 4k, `caption`; `keep` [T,h,w]: what stands still, None: everything."""

    latents: Tensor
    images: Tensor
    depth: DepthMap
    camera: Camera
    caption: str
    keep: Tensor | None = None


def encode_clip(model: WorldModel, clip: Clip, *, bf16: bool = False) -> dict[str, Tensor]:
    """The tensors of a latent clip, as the file holds them: what `render_clips` is to keep."""
    with torch.autocast(model.vae.device.type, torch.bfloat16, enabled=bf16):
        encoded = encode_frames(model, clip.rgb)
    depth = clip.depth.resized((encoded["latents"].shape[-2], encoded["latents"].shape[-1]))
    return {
        **encoded,
        "depth": depth.z.half().contiguous().cpu(),
        "valid": depth.valid.cpu(),
        "c2w": clip.camera.c2w[::TIME_STRIDE].contiguous(),
        "intrinsics": clip.camera.intrinsics[0].contiguous(),
    }


def encode_frames(model: WorldModel, frames: Tensor) -> dict[str, Tensor]:
    """Frames uint8 [F,3,H,W], F = 1 + 4k, as one stream (`latents`) and every fourth one by itself (`images`)."""
    rgb = frames.float() / 255
    latents = model.encode(rgb)
    images = torch.cat([encode_images(model.vae, some) for some in rgb[::TIME_STRIDE].split(_IMAGES)])
    return {"latents": latents.half().contiguous().cpu(), "images": images.half().contiguous().cpu()}


def load_latent_clip(path: Path) -> LatentClip:
    with safe_open(path, framework="pt") as file:
        held = {key: file.get_tensor(key) for key in file.keys()}
        caption = (file.metadata() or {}).get("caption", "")
    if not held.keys() >= {"latents", "images", "depth", "valid", "c2w", "intrinsics"}:
        raise InputError(f"{path} is no latent clip; it holds {', '.join(sorted(held))}")
    return LatentClip(
        held["latents"].float(),
        held["images"].float(),
        DepthMap(held["depth"].float(), held["valid"]),
        Camera(held["c2w"], held["intrinsics"]),
        caption,
        held.get("keep"),
    )
