"""Colours for points that carry latents, for maps and point clouds. `N` points, `C` latent channels."""

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mirage.memory import LatentSpatialMemory

if TYPE_CHECKING:
    from mirage.models.world import WorldModel

VIEWS, SAMPLE, WIDEST = 8, 20_000, 512


def false_colours(features: Tensor) -> Tensor:
    """[N,C] -> [N,3] in [0, 1]: where each feature lies along the three directions in which they differ most. Equal
    things get equal colours; which colour means nothing."""
    if len(features) < 4:
        return torch.full((len(features), 3), 0.5)
    spread_out = torch.linspace(
        0, features.shape[1] - 1, min(features.shape[1], WIDEST)
    ).long()  # eigh takes their cube
    features = features[:, spread_out].float()
    sample = features[torch.linspace(0, len(features) - 1, min(len(features), SAMPLE)).long()]
    mean, spread = sample.mean(0), torch.linalg.eigh(torch.atleast_2d(torch.cov(sample.T)))
    directions = spread.eigenvectors[:, -3:].flip(1)
    directions = directions * directions.sum(0).sign().where(directions.sum(0) != 0, torch.ones(()))  # one sign of two
    along = (features - mean) @ directions
    low, high = torch.quantile((sample - mean) @ directions, torch.tensor([0.02, 0.98]), dim=0)
    shares = ((along - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return torch.nn.functional.pad(shares, (0, 3 - shares.shape[1]), value=0.5)  # one or two channels have fewer


@torch.no_grad()
def true_colours(memory: LatentSpatialMemory, model: "WorldModel") -> Tensor:
    """[N,3] in [0, 1]: the linear map from latents to mean colour that fits best what the decoder makes of the memory,
    seen from its own cameras. Approximate: a latent holds more than its mean colour."""
    cameras = memory.cameras
    chosen = torch.linspace(0, len(cameras) - 1, min(VIEWS, len(cameras))).round().long()
    grid = (model.size[0] // model.stride, model.size[1] // model.stride)
    known, seen = [], []
    for camera in chosen.tolist():
        readout = memory.read(cameras[camera : camera + 1], grid)
        colour = avg_pool2d(model.decode(readout.latents.to(model.vae.dtype)), model.stride)
        mask = readout.mask.flatten()
        known.append(rearrange(readout.latents, "t c h w -> (t h w) c").float()[mask])
        seen.append(rearrange(colour, "t c h w -> (t h w) c").float()[mask])
    fit = torch.linalg.lstsq(_with_one(torch.cat(known)), torch.cat(seen), driver="gelsd").solution
    return (_with_one(memory.points.feature.float()) @ fit).clamp(0, 1)


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
