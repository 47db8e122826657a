"""LPIPS, the learned perceptual distance (Zhang et al. 2018), on weights that the user already has. `H W`: pixels.

Nothing is downloaded, nothing skipped: without its two files LPIPS is an `InputError` that names what is missing.
In a folder, both as their authors publish them: `alexnet*.pth` (or `vgg16*.pth`), torchvision's classifier, and
`alex.pth` (or `vgg.pth`), the 1x1 heads of the `lpips` package, version 0.1.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from mirage.errors import InputError

Net = Literal["alex", "vgg"]
# (layers of the published classifier's `features`, where its activations are taken: the last index of each slice)
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_BACKBONES = {"alex": "alexnet*.pth", "vgg": "vgg16*.pth"}
_WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Distance of images [*,3,H,W] in [0, 1] -> [*]; 0 for equal ones.

    lpips = Lpips.load("weights/lpips", net="alex")
    lpips(image, reference)
    """

    def __init__(self, net: Net = "alex") -> None:
        super().__init__()
        self.net: Net = net
        self.features = _alexnet() if net == "alex" else _vgg16()
        self.heads = nn.ModuleList([nn.Conv2d(width, 1, 1, bias=False) for width in _WIDTHS[net]])
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | os.PathLike[str] | None, net: Net = "alex") -> Self:
        """From a folder with both files; `InputError` "weights missing" otherwise."""
        if net not in _TAPS:
            raise InputError(f"an LPIPS net is alex or vgg, got {net!r}")
        needed = f"{_BACKBONES[net]} (torchvision's) and {net}.pth (the lpips package's heads)"
        if folder is None:
            raise InputError(f"LPIPS weights missing: name a folder with {needed}")
        backbones = sorted(Path(folder).glob(_BACKBONES[net]))
        heads = Path(folder) / f"{net}.pth"
        if not backbones or not heads.is_file():
            raise InputError(f"LPIPS weights missing: {folder} has no {needed}")
        model = cls(net)
        features = {
            name.removeprefix("features."): value
            for name, value in _weights(backbones[0]).items()
            if name.startswith("features.")
        }
        linear = _weights(heads)
        renamed = {f"{i}.weight": linear.get(f"lin{i}.model.1.weight", torch.empty(0)) for i in range(5)}
        _fill(model.features, features, source=backbones[0])
        _fill(model.heads, renamed, source=heads)
        return model

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        if image.shape != reference.shape or image.shape[-3] != 3:
            raise InputError(
                f"LPIPS compares images [*,3,H,W] of one size, got {list(image.shape)} and {list(reference.shape)}"
            )
        lead = image.shape[:-3]
        pairs = zip(self._activations(image), self._activations(reference), self.heads, strict=True)
        return sum(
            ((head((a - b).square())).mean(dim=(1, 2, 3)) for a, b, head in pairs), start=image.new_zeros(())
        ).reshape(lead)

    def _activations(self, image: Tensor) -> Sequence[Tensor]:
        """Per tap [N,C,h,w] of unit length along C."""
        x = image.float().reshape(-1, *image.shape[-3:]) * 2 - 1
        x = (x - x.new_tensor(_MEAN)[:, None, None]) / x.new_tensor(_SPREAD)[:, None, None]
        taken = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS[self.net]:
                taken.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return taken


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    last = 3
    for block, (width, convolutions) in enumerate(zip(_WIDTHS["vgg"], (2, 2, 3, 3, 3), strict=True)):
        if block:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(last, width, 3, padding=1), nn.ReLU()]
            last = width
    return nn.Sequential(*layers)


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path} is not a PyTorch file of weights ({str(error).splitlines()[0][:120]})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected weights by name")
    return content


def _fill(module: nn.Module, weights: dict[str, Tensor], *, source: Path) -> None:
    wanted = module.state_dict()
    for name, value in wanted.items():
        got = weights.get(name)
        if got is None or got.shape != value.shape:
            shape = "nothing" if got is None else list(got.shape)
            raise InputError(f"{source} has {shape} for layer {name}; LPIPS expects {list(value.shape)}")
    module.load_state_dict({name: weights[name] for name in wanted})
