"""Which autoencoder made some latents: what it makes of a picture that anybody can draw.

Its weights are no name for it: they are other bytes in bfloat16, quantised or on a card, and the latents are the same.
`C` latent channels.
"""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mirage.models.world import WorldModel

CELLS = 4
"""A side of the picture, in latent cells."""
NEAR = 0.05
"""Of their norm, what two encodings of the picture may differ by. The bundled autoencoder is 0.004 off in bfloat16, one
of random weights 0.007; with weights that are 3 % off it is 0.065 off, with another one about 1."""

_known: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


@torch.no_grad()
def fingerprint(model: WorldModel) -> Tensor:
    """The latents [C,CELLS,CELLS] of the picture, float32 on the CPU; computed once for an autoencoder."""
    if model.vae not in _known:
        made = model.encode(_picture(CELLS * model.stride)[None].to(model.runs_on))
        _known[model.vae] = made[0].float().cpu()
    return _known[model.vae]


def same_autoencoder(one: Tensor, other: Tensor) -> bool:
    """Whether two fingerprints are of one autoencoder, whatever it ran in."""
    return one.shape == other.shape and bool((one.float() - other.float()).norm() <= NEAR * other.float().norm())


def _picture(side: int) -> Tensor:
    """[3,side,side] in [0, 1]: waves of three directions and lengths, one a colour."""
    down, right = torch.meshgrid(*[torch.linspace(0, 1, side)] * 2, indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(n * (3 * right + (n - 4) * down)) for n in (3, 5, 7)])
