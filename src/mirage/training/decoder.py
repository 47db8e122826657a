"""Training the autoencoder's decoder alone: the latents stay what they are, so all that was trained on them still fits.

Whole clips are encoded once and kept; a step decodes a window of one, from its first frame on, against its pixels. The
window's cells that lie at a cut, where the decoder sees zeros instead of the picture, are left out of the loss.

Letters: F video frames, T latent frames, C channels, h w latent grid.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from mirage.models.autoencode import AutoencoderKLWan, decode, encode
from mirage.training.autoencoder import held_out_quality
from mirage.training.clips import clip_paths
from mirage.training.draws import draw, normal
from mirage.training.samples import Batch


@dataclass(frozen=True)
class DecoderConfig:
    """`window`: side in cells of what a step decodes, all frames of it, the same of `batch` clips; `noise`: largest
    deviation on the latents."""

    clips: Path
    window: int = 12
    batch: int = 1
    noise: float = 0.05
    held_out: int = 8


@dataclass(frozen=True)
class Windows(Batch):
    """`rgb` uint8 [B,3,F,H,W]: of the clips at `paths`, the latent cells `rows` and `columns` (start, stop)."""

    rgb: Tensor
    paths: tuple[Path, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]


class DecoderTask:
    """See the module's docstring."""

    def __init__(self, vae: AutoencoderKLWan, config: DecoderConfig) -> None:
        self.vae, self.config = vae, config
        self.module: nn.Module = self.modules(vae)
        paths = clip_paths(config.clips)
        train, self.test = paths[: -config.held_out], paths[-config.held_out :]
        its: Any = vae.config
        self.stride: int = its.scale_factor_spatial
        self.maker = Windower(config, train, self.stride)
        self._latents = lru_cache(maxsize=None)(self._encoded)

    @staticmethod
    def modules(vae: AutoencoderKLWan) -> nn.Module:
        """What is trained."""
        return nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})

    def loss(self, batch: Windows, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        z, side = torch.cat([self._latents(path) for path in batch.paths]), self.stride
        height, width = z.shape[-2:]
        (top, bottom), (left, right) = batch.rows, batch.columns
        z = z[..., top:bottom, left:right]
        level = self.config.noise * float(torch.rand((), generator=generator))
        error = decode(self.vae, z + level * normal(z.shape, generator, z.device)) - (batch.rgb.float() / 127.5 - 1)
        rows = slice(side * (top > 0), error.shape[-2] - side * (bottom < height))
        columns = slice(side * (left > 0), error.shape[-1] - side * (right < width))
        error = error[..., rows, columns]
        mse = error.square().mean()
        return mse + 0.1 * error.abs().mean(), {"mse": float(mse.detach())}

    def evaluate(self) -> dict[str, float]:
        return held_out_quality(self.vae, self.test, clips=True)

    @torch.no_grad()
    def _encoded(self, path: Path) -> Tensor:
        """Latents [1,C,T,h,w] of the whole clip."""
        with safe_open(path, framework="pt") as file:
            rgb = file.get_tensor("rgb").to(self.vae.device).float().transpose(0, 1)[None] / 127.5 - 1
        return encode(self.vae, rgb)


@dataclass(frozen=True)
class Windower:
    """A `Maker` of windows of the clips at `paths`."""

    config: DecoderConfig
    paths: list[Path]
    stride: int

    def __call__(self, number: int, generator: torch.Generator) -> Windows:
        side = self.stride
        paths = tuple(self.paths[draw(len(self.paths), generator)] for _ in range(self.config.batch))
        with safe_open(paths[0], framework="pt") as file:
            _, _, height, width = file.get_slice("rgb").get_shape()
        rows, columns = self.span(height // side, generator), self.span(width // side, generator)
        (top, bottom), (left, right) = rows, columns
        clips = []
        for path in paths:
            with safe_open(path, framework="pt") as file:
                clips.append(file.get_slice("rgb")[:, :, top * side : bottom * side, left * side : right * side])
        return Windows(torch.stack(clips).transpose(1, 2), paths, rows, columns)

    def span(self, cells: int, generator: torch.Generator) -> tuple[int, int]:
        """Where the window lies along a side of so many cells."""
        window = min(self.config.window, cells)
        start = draw(cells - window + 1, generator)
        return start, start + window
