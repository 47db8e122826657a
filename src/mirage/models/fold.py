"""The Wan autoencoder for CPUs: its causal 3D convolutions as 2D ones, its norms in one pass.

A kernel of 3 frames over C channels is a kernel of 1 frame over the 3 C channels of three neighbouring frames:

    frames   0  0  a  b  c            a kernel of 3 frames at b reads (0 a b)
    channels [0 0 a] [0 a b] [a b c]  -> one 2D convolution over 3 C channels

It is the same sum. CPU libraries are several times faster at it, most of all with few channels, and a single image,
whose past is all zeros, needs only the last third. Weights, names and configuration stay those of diffusers.
"""

from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm
from einops import rearrange
from torch import Tensor, nn

Part = TypeVar("Part", bound=nn.Module)


class FoldedCausalConv3d(WanCausalConv3d):
    """`WanCausalConv3d` with time folded into channels. Same input, same output up to rounding."""

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        # the same padding on both sides in space, all of it before in time
        left, _, top, _, past, _ = cast(tuple[int, ...], self._padding)
        if cache_x is not None and past > 0:
            x = torch.cat([cache_x.to(x.device), x], dim=2)
            past -= cache_x.shape[2]
        taps, (step, *stride) = self.kernel_size[0], self.stride
        weight, batch = self.weight, x.shape[0]
        if past == taps - 1 and x.shape[2] == 1:  # an image: everything before it is zero
            weight, taps, past = weight[:, :, -1:], 1, 0
        frames = rearrange(x, "b c t h w -> b t h w c")
        if past > 0:
            frames = F.pad(frames, (0, 0, 0, 0, 0, 0, past, 0))
        count = (frames.shape[1] - taps) // step + 1
        if taps > 1:
            frames = torch.cat([frames[:, k : k + step * (count - 1) + 1 : step] for k in range(taps)], dim=-1)
        elif step > 1:
            frames = frames[:, ::step]
        images = rearrange(frames, "b t h w c -> (b t) c h w")
        kernel = rearrange(weight, "o c k y x -> o (k c) y x").contiguous(memory_format=torch.channels_last)
        out = F.conv2d(images, kernel, self.bias, stride=tuple(stride), padding=(top, left))
        return rearrange(out, "(b t) o h w -> b o t h w", b=batch)


class LeanRMSNorm(WanRMS_norm):
    """`WanRMS_norm` as one factor per place and one per channel, in the dtype of its input; up to rounding the same.

    The original divides, scales and shifts one after another, and from bfloat16 makes float32, which the convolution
    behind it has to undo.
    """

    def forward(self, x: Tensor) -> Tensor:
        axis = 1 if self.channel_first else -1
        norm = torch.linalg.vector_norm(x, dim=axis, keepdim=True, dtype=torch.float32)
        factor = (self.scale / norm.clamp_min(1e-12)).to(x.dtype)
        return x * factor * self.gamma.to(x.dtype)


def fold_time(module: Part) -> Part:
    """Let every causal convolution of `module` run folded and every norm lean, in place; returns it. State and names do
    not change."""
    for part in module.modules():
        if type(part) is WanCausalConv3d:
            part.__class__ = FoldedCausalConv3d
        elif type(part) is WanRMS_norm and not isinstance(part.bias, nn.Parameter):
            part.__class__ = LeanRMSNorm
    return module
