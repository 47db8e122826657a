"""Surface patterns, filtered analytically over the footprint of a pixel, so that nothing shimmers.

A pattern answers two weights per point; the colour is `base + first * d1 + second * d2`. `x y` are pattern
coordinates (one unit is one period), `wx wy` the width of the pixel in those units, `duty` the share of the period
that the feature takes. Everything is flat `[N]`. Far away each pattern fades into its own mean, as an exact box
filter would make it.
"""

import math

import torch
from torch import Tensor

FAMILIES = (
    "flat",
    "stripes",
    "checker",
    "dots",
    "blotches",
    "gradient",
    "bricks",
    "tiles",
    "frame",
    "windows",
    "photograph",
)


"""Every one but the last, which shows pictures (pictures.py), is a pattern."""


def pattern(family: str, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor, duty: Tensor) -> tuple[Tensor, Tensor | None]:
    """The weights of the second and third colour, each `[N]` in [0, 1]; None: the pattern has no third."""
    return _PATTERNS[family](x, y, wx.clamp(min=1e-2), wy.clamp(min=1e-2), duty)


def _pulse(x: Tensor, w: Tensor, duty: Tensor | float) -> Tensor:
    """Mean over [x - w/2, x + w/2] of the step that is 1 on the first `duty` of each period."""
    a, b = x - 0.5 * w, x + 0.5 * w
    fa, fb = a.floor(), b.floor()
    high, low = (b - fb).clamp_(max=duty), (a - fa).clamp_(max=duty)
    return (fb.sub_(fa).mul_(duty)).add_(high).sub_(low).div_(w)


def _inside(x: Tensor, w: Tensor, half: Tensor | float) -> Tensor:
    """Soft indicator of |x - 1/2| <= half, one pixel wide at the edge."""
    return ((half - (x - 0.5).abs()) / w + 0.5).clamp_(0, 1)


def _flat(x, y, wx, wy, duty):
    return torch.zeros_like(x), None


def _stripes(x, y, wx, wy, duty):
    return _pulse(x, wx, duty), None


def _checker(x, y, wx, wy, duty):
    return 0.5 - 0.5 * (2 * _pulse(x, wx, 0.5) - 1) * (2 * _pulse(y, wy, 0.5) - 1), None


def _dots(x, y, wx, wy, duty):
    w, radius = torch.maximum(wx, wy), 0.5 * duty
    distance = torch.hypot(x - x.floor() - 0.5, y - y.floor() - 0.5)
    near = ((radius - distance) / w.clamp(min=0.02) + 0.5).clamp_(0, 1)
    return torch.lerp(near, math.pi * radius * radius, (2 * w - 0.5).clamp_(0, 1)), None


def _blotches(x, y, wx, wy, duty):
    tau = 2 * math.pi
    bend = torch.sin(tau * 0.61 * y + 1.3)
    wave = torch.sin(tau * x + 1.4 * bend) + torch.sin(tau * (0.83 * y - 0.37 * x) + 0.7)
    wave = wave + 0.6 * torch.sin(tau * (1.31 * x + 0.9 * y) + 2.1)
    fade = torch.exp(-4 * torch.maximum(wx, wy).square())
    return torch.sigmoid(2.2 * wave * fade), None


def _gradient(x, y, wx, wy, duty):
    t = y.clamp(0, 1)
    return t * t * (3 - 2 * t), None


def _bricks(x, y, wx, wy, duty):
    row = y.floor()
    return _blocks(x + 0.5 * (row - 2 * (0.5 * row).floor()), y, row, wx, wy, duty)


def _tiles(x, y, wx, wy, duty):
    return _blocks(x, y, y.floor(), wx, wy, duty)


def _blocks(x, y, row, wx, wy, duty):
    """Rows of blocks between joints; the second weight is each block's own tone, which fades before it flickers."""
    inside = _pulse(x, wx, 1 - duty) * _pulse(y, wy, 1 - duty * 1.5)
    tone = torch.frac((x.floor() * 0.7548777 + row * 0.5698403).abs())
    return inside, inside * torch.lerp(tone, torch.full_like(tone, 0.5), torch.maximum(wx, wy).mul(2).clamp_(0, 1))


def _frame(x, y, wx, wy, duty):
    """A picture: base is the frame, then the canvas, then a disc and a horizon on it."""
    canvas = _inside(x, wx, 0.5 - duty) * _inside(y, wy, 0.5 - duty)
    hill = ((y - 0.62 + 0.1 * torch.sin(6 * x)) / wy + 0.5).clamp_(0, 1)
    disc = ((0.14 - torch.hypot(x - 0.62, y - 0.36)) / torch.maximum(wx, wy) + 0.5).clamp_(0, 1)
    return canvas, canvas * torch.maximum(hill, disc)


def _windows(x, y, wx, wy, duty):
    """Panes in a wall; the second weight brightens each pane downwards."""
    pane = _pulse(x - 0.5 * duty, wx, 1 - duty) * _pulse(y - 0.5 * duty, wy, 1 - duty)
    down = torch.lerp(torch.frac(y - y.floor()), torch.full_like(y, 0.5), wy.mul(2).clamp_(0, 1))
    return pane, pane * down


_PATTERNS = {
    "flat": _flat,
    "stripes": _stripes,
    "checker": _checker,
    "dots": _dots,
    "blotches": _blotches,
    "gradient": _gradient,
    "bricks": _bricks,
    "tiles": _tiles,
    "frame": _frame,
    "windows": _windows,
}
