"""What the channels of a latent are worth, and networks that know it by them, when some of the channels are dead, or
begin to mean something else.

What these took from such a channel becomes nothing, and what they said of it becomes its mean; all else stays, so that
training goes on instead of beginning again. `C` latent channels; `changed` their numbers.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from mirage.models.depth_head import LatentDepthHead
from mirage.models.world import WorldModel
from mirage.training.autoencoder import dead_channels
from mirage.training.draws import normal

_HALF = 0.5  # of the way from the network's guess to the readout, until it learns better


@torch.no_grad()
def pixel_weights(model: WorldModel, latents: Tensor, *, amount: float = 0.3, least: float = 0.2) -> Tensor:
    """What an error of each channel is to count [C,1,1,1]: the root of the energy that noise of deviation `amount` on
    it alone adds to the picture, in units of the mean over living channels. Dead ones count `least`, as does what
    counts less, so that they stay at their mean. `latents` [T,C,h,w]: a corner of the first frames is taken."""
    z = latents[:3, :, :16, :16].to(model.vae.device)
    before = model.decode(z)
    generator = torch.Generator().manual_seed(0)
    energy = torch.zeros(z.shape[1])
    for channel in range(z.shape[1]):
        moved = z.clone()
        moved[:, channel] += amount * normal(z[:, channel].shape, generator, z.device)
        energy[channel] = (model.decode(moved) - before).square().mean()
    energy[dead_channels(energy)] = 0
    roots = energy.sqrt()
    return (roots / roots[roots > 0].mean()).clamp_min(least)[:, None, None, None].to(model.transformer.device)


@torch.no_grad()
def forget_in_denoiser(model: WorldModel, changed: Sequence[int]) -> None:
    """In the transformer and its branch; their output is clean latents."""
    channels, chosen = model.channels, list(changed)
    if not chosen:
        return
    transformer, branch = model.transformer, model.memory_branch
    assert branch is not None
    transformer.patch_embedding.weight[:, chosen] = 0
    branch.patch_embedding.weight[:, chosen] = 0  # the readout comes first of what it sees
    out = transformer.proj_out
    rearrange(out.weight, "(patch c) d -> patch c d", c=channels)[:, chosen] = 0
    rearrange(out.bias, "(patch c) -> patch c", c=channels)[:, chosen] = 0
    if branch.detail is not None:
        enter, leave = branch.detail.enter, branch.detail.leave[-1]
        assert isinstance(leave, nn.Conv2d)
        assert leave.bias is not None
        beside = enter.in_channels - 3 * channels - 1  # what the branch sees beside the readout
        readout, latents, output = 0, channels + beside, 2 * channels + beside + 1  # see `MemoryBranch.correction`
        for start in (readout, latents, output):
            enter.weight[:, [start + channel for channel in chosen]] = 0
        shares = [channels + channel for channel in chosen]
        leave.weight[chosen + shares] = 0
        leave.bias[chosen], leave.bias[shares] = 0, _HALF


@torch.no_grad()
def forget_in_depth_head(head: LatentDepthHead, changed: Sequence[int]) -> None:
    """In the depth head."""
    head.stem.weight[:, list(changed)] = 0


@torch.no_grad()
def hear_words(model: WorldModel, *, generator: torch.Generator, faint: float = 0.2) -> None:
    """Let what the text encoder says reach the transformer and its branch at full strength, through a fresh embedding,
    and add little to what they do, at first."""
    for part in model.transformer.condition_embedder.text_embedder.modules():
        if isinstance(part, nn.Linear):
            part.weight.normal_(0, part.in_features**-0.5, generator=generator)
            part.bias.zero_()
    assert model.memory_branch is not None
    for name, part in [*model.transformer.named_modules(), *model.memory_branch.named_modules()]:
        if name.endswith("attn2.to_out.0"):
            part.weight.mul_(faint)
            part.bias.mul_(faint)
