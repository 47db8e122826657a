"""Training the latent depth head: latents of true and of imperfect frames to the worlds' own depth.

B latents a step, C channels, h w latent grid. The loss is the absolute error of log depth, once as it is and once after
the frame's mean is taken out (a single view of a room does not tell its size, but always its shape), plus the cross
entropy of "there is a surface here".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirage.models.depth_head import LatentDepthHead, cell_slopes
from mirage.training.clips import LatentClip, Place, clip_kind, latent_paths, load_latents, split
from mirage.training.draws import draw
from mirage.training.samples import Batch, Sample


@dataclass(frozen=True)
class DepthHeadConfig:
    """`batch` latents a step and process, of the latent clips in the folder `clips`, or at that URL; `noise`: largest
    deviation of noise on them, as generated ones have; `cached`: clips kept in memory; `skipped`: kinds of clips whose
    depth is not to be learnt."""

    clips: Place
    batch: int = 32
    noise: float = 0.3
    held_out: int = 16
    cached: int = 4096
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Views(Batch):
    """`latents` [B,C,h,w] with `slopes` [B,2,h,w] and `single` [B] as the head sees them; `z` and `valid` [B,h,w]."""

    latents: Tensor
    slopes: Tensor
    single: Tensor
    z: Tensor
    valid: Tensor


class DepthHeadTask:
    """See the module's docstring; half of the batch are images encoded alone."""

    def __init__(self, head: LatentDepthHead, config: DepthHeadConfig) -> None:
        self.head = head
        self.module: nn.Module = self.head
        paths = latent_paths(config.clips)
        if config.skipped:
            paths = [path for path in paths if clip_kind(path) not in config.skipped]
        train, self.test = split(paths, config.held_out)
        self.maker = Viewer(config, train)

    def loss(self, batch: Views, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        log_depth, logit = self.head(batch.latents, batch.slopes, batch.single)
        valid = batch.valid
        error = (log_depth - batch.z.log()) * valid
        mean = error.sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True).clamp_min(1)
        count = valid.sum().clamp_min(1)
        absolute, relative = error.abs().sum() / count, ((error - mean) * valid).abs().sum() / count
        known = F.binary_cross_entropy_with_logits(logit, valid.float())
        return absolute + relative + 0.2 * known, {
            "absolute": float(absolute.detach()),
            "shape": float(relative.detach()),
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """AbsRel as it is and after each frame's median is matched; share of cells whose validity is right."""
        raw, matched, right = [], [], []
        for path in self.test:
            clip = load_latents(path)
            single = torch.zeros(len(clip.latents), dtype=torch.bool)
            slopes = cell_slopes(clip.camera, (clip.latents.shape[-2], clip.latents.shape[-1]))
            there = (tensor.to(self.head.device) for tensor in (clip.latents, slopes, single))
            log_depth, logit = (x.float().cpu() for x in self.head(*there))
            for t in range(0, len(clip.latents), 4):
                valid, z = clip.depth.valid[t], clip.depth.z[t]
                right.append(((logit[t] > 0) == valid).float().mean())
                if valid.any():
                    ratio = log_depth[t].exp()[valid] / z[valid]
                    raw.append((ratio - 1).abs().mean())
                    matched.append((ratio / ratio.median() - 1).abs().mean())
        names = ("absrel", "absrel_matched", "valid_right")
        return {
            name: round(float(torch.stack(v).mean()), 4) for name, v in zip(names, (raw, matched, right), strict=True)
        }


class Viewer:
    """A `Maker` of views of the clips at `paths`."""

    def __init__(self, config: DepthHeadConfig, paths: Sequence[Place]) -> None:
        self.config, self.paths = config, paths
        self._load = lru_cache(maxsize=config.cached)(load_latents)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads the clips for itself."""
        return Viewer, (self.config, self.paths)

    def size(self, number: int) -> int:
        """Views a process."""
        return self.config.batch

    def __call__(self, number: int, samples: Sequence[Sample]) -> Views:
        views = [self._view(self._load(one.of(self.paths)), one.generator) for one in samples]
        return Views(*(torch.stack(parts) for parts in zip(*views, strict=True)))

    def _view(self, clip: LatentClip, generator: torch.Generator) -> tuple[Tensor, ...]:
        t, single = draw(len(clip.latents), generator), bool(draw(2, generator))
        latents = (clip.images if single else clip.latents)[t]
        level = self.config.noise * torch.rand((), generator=generator)
        latents = latents + level * torch.randn(latents.shape, generator=generator)
        slopes = cell_slopes(clip.camera[t], (latents.shape[-2], latents.shape[-1]))
        return latents, slopes, torch.tensor(single), clip.depth.z[t], clip.depth.valid[t]
