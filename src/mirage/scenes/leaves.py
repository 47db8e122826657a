"""Pictures with the statistics of photographs, and of nothing: dead leaves.

Shapes of every size (as many of each as hide their share, so that any scale looks like any other) lie on each other;
each has a colour, a slope of light and a grain whose spectrum falls as a photograph's does. What is trained on the
scenes alone has seen large flat surfaces and patterns; a photograph has neither. (Dead leaves:
Lee, Mumford, Huang 2001.)
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_SHARPEST, _SOFTEST = 0.4, 2.5  # pixels over which the edge of a shape fades


def leaves(size: tuple[int, int], generator: torch.Generator, *, shapes: int = 220) -> Tensor:
    """One picture, [3,H,W] in [0, 1]."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")

    def uniform(low: float, high: float, *count: int) -> Tensor:
        return low + (high - low) * torch.rand(count or (1,), generator=generator)

    palette = _palette(generator)
    picture = _shaded(palette[0], x, y, uniform) + _grain(size, generator, float(uniform(0, 0.1)))
    smallest, largest = 2.5, 0.4 * max(size)
    # density of radii ~ r^-2, largest first, so that something of every size stays to be seen
    u = torch.rand(shapes, generator=generator).sort().values
    radii = 1 / (1 / smallest + u * (1 / largest - 1 / smallest)).flip(0)
    soft = float(uniform(_SHARPEST, _SOFTEST))
    for radius in radii.tolist():
        cx, cy, turn, stretch = (float(uniform(*span)) for span in
                                 ((0, width), (0, height), (0, math.pi), (0.3, 1.0)))  # fmt: skip
        reach = radius + 3 * soft
        rows = slice(max(int(cy - reach), 0), min(int(cy + reach) + 1, height))
        columns = slice(max(int(cx - reach), 0), min(int(cx + reach) + 1, width))
        some_x, some_y = x[rows, columns], y[rows, columns]
        if some_x.numel() == 0:
            continue
        c, s = math.cos(turn), math.sin(turn)
        along, across = c * (some_x - cx) + s * (some_y - cy), (c * (some_y - cy) - s * (some_x - cx)) / stretch
        power = (2.0, 8.0, 2.0)[int(uniform(0, 3))]  # ellipses, and boxes with a little rounding
        distance = (along.abs() ** power + across.abs() ** power) ** (1 / power)
        cover = ((radius - distance) / soft).sigmoid()
        colour = palette[int(uniform(0, len(palette)))]
        own = _shaded(colour, some_x, some_y, uniform)
        if radius > 8:
            own = own + _grain((own.shape[1], own.shape[2]), generator, float(uniform(0, 0.12)))
        picture[:, rows, columns] = torch.lerp(picture[:, rows, columns], own, cover)
    picture = picture + 0.02 * float(uniform(0, 1)) * torch.randn(picture.shape, generator=generator)
    return picture.clamp(0, 1)


def _palette(generator: torch.Generator) -> Tensor:
    """A dozen colours [12,3] that go together: grey levels along one or two directions of colour, as in photographs."""
    grey = torch.rand((12, 1), generator=generator) ** 1.3
    tint = torch.randn((2, 3), generator=generator) * 0.28
    vivid = torch.rand((12, 1), generator=generator) ** 2
    return (grey + vivid * tint[torch.randint(2, (12,), generator=generator)]).clamp(0, 1)


def _shaded(colour: Tensor, x: Tensor, y: Tensor, uniform: Callable[[float, float], Tensor]) -> Tensor:
    """The colour under a light that falls off along a line: [3,h,w]."""
    angle, slope = float(uniform(0, 2 * math.pi)), float(uniform(0, 0.9)) / 256
    light = 1 + slope * (math.cos(angle) * (x - x.mean()) + math.sin(angle) * (y - y.mean()))
    return colour[:, None, None] * light


def _grain(size: tuple[int, int], generator: torch.Generator, amount: float) -> Tensor:
    """Grey noise [1,h,w] of deviation `amount` whose amplitude falls as 1/f^k, k drawn from 0.9 to 1.9, along a
    direction more than across it."""
    height, width = size
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    turn, stretch, fall = torch.rand(3, generator=generator).tolist()
    turn, stretch, fall = math.pi * turn, 1 + 3 * stretch, 0.9 + fall
    c, s = math.cos(turn), math.sin(turn)
    radius = ((c * fx + s * fy).square() + (stretch * (c * fy - s * fx)).square()).sqrt()
    spectrum = (radius + 1 / max(size)) ** -fall
    spectrum[0, 0] = 0
    noise = torch.fft.irfft2(torch.fft.rfft2(torch.randn(size, generator=generator)) * spectrum, s=size)
    return (amount * noise / noise.std().clamp_min(1e-6))[None]
