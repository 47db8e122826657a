"""Photographs on the surfaces of a scene, and a panorama for its sky: light, texture and noise that no pattern has.

A scene that is dressed keeps its boxes, lights and paths; what its finishes looked like it loses, and with them its
caption, whose words would no longer be true. Walls, floors, furniture and facades show pieces of photographs, mirrored
where they end and filtered over the footprint of a pixel.

Letters: `n` hits, `K` pictures, `L` texels of all of their levels; scene axes as in scene.py.
"""

import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.scenes.textures import FAMILIES

if TYPE_CHECKING:
    from mirage.scenes.scene import Scene

SIDE = 256
"""Texels along a side of a picture on a surface; each next level has half as many."""
_LEVELS = 6
_STARTS = [sum((SIDE >> k) ** 2 for k in range(level)) for level in range(_LEVELS + 1)]


class Source(Protocol):
    """Where photographs come from."""

    def square(self, rng: random.Random, side: int) -> Tensor:
        """A piece of one, uint8 [3,side,side]."""
        ...

    def panorama(self, rng: random.Random) -> Tensor | None:
        """All that is around a place, uint8 [3,H,2H], straight ahead in its middle; None: there is none."""
        ...


@dataclass(frozen=True, eq=False)
class Pictures:
    """`texels` [K,3,L] in [0, 1], level after level; `sky` [3,H,2H] or None."""

    texels: Tensor
    sky: Tensor | None

    @classmethod
    def of(cls, pictures: list[Tensor], sky: Tensor | None) -> "Pictures":
        """From uint8 [3,SIDE,SIDE] each."""
        levels = [torch.stack(pictures).float() / 255]
        while len(levels) < _LEVELS:
            levels.append(F.avg_pool2d(levels[-1], 2))
        return cls(torch.cat([level.flatten(2) for level in levels], 2), None if sky is None else sky.float() / 255)

    def to(self, device: torch.device | str) -> "Pictures":
        return Pictures(self.texels.to(device), None if self.sky is None else self.sky.to(device))

    def seen(self, number: Tensor, u: Tensor, v: Tensor, wu: Tensor, wv: Tensor) -> Tensor:
        """Colours [3,n] of pictures `number` at `u v`, in widths of a picture, by a pixel as wide as `wu wv` of it."""
        level = (torch.maximum(wu, wv) * SIDE).clamp_(1, 2 ** (_LEVELS - 1) - 1e-3).log2()
        whole = level.floor()
        near, far = (self._level(number, u, v, whole + k) for k in (0, 1))
        return torch.lerp(near, far, level - whole)

    def _level(self, number: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
        level = level.clamp(max=_LEVELS - 1).long()
        side = (SIDE >> level).float()
        start = torch.tensor(_STARTS[:_LEVELS], device=u.device)[level] + number.long() * self.texels.shape[2]
        x, y = (mirrored(at) * side - 0.5 for at in (u, v))
        x0, y0 = x.floor(), y.floor()
        fx, fy = x - x0, y - y0
        flat = self.texels.transpose(0, 1).flatten(1)
        corners = []
        for dy in (0, 1):
            row = start + ((y0 + dy).clamp(min=0).minimum(side - 1) * side).long()
            corners += [flat[:, row + (x0 + dx).clamp(min=0).minimum(side - 1).long()] for dx in (0, 1)]
        return torch.lerp(torch.lerp(corners[0], corners[1], fx), torch.lerp(corners[2], corners[3], fx), fy)

    def above(self, d: Tensor) -> Tensor:
        """Colours [3,n] of the panorama in directions `d` [3,n]; there must be one."""
        assert self.sky is not None
        d = F.normalize(d, dim=0)
        grid = torch.stack([torch.atan2(d[0], d[2]) / math.pi, torch.asin(d[1].clamp(-1, 1)) * 2 / math.pi], -1)
        return F.grid_sample(self.sky[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0]


def around(panorama: Tensor, camera: Camera, size: tuple[int, int]) -> Tensor:
    """Frames [F,3,H,W] of cameras [F] in the middle of a panorama [3,h,2h] in [0, 1]."""
    sky = Pictures(panorama.new_zeros(1, 3, 1), panorama)
    _, ahead = camera.rays(size)
    return torch.stack([sky.above(d.flatten(0, 1).T).view(3, *size) for d in ahead])


def mirrored(at: Tensor) -> Tensor:
    """Every other unit backwards: in [0, 1]."""
    within = at - 2 * (0.5 * at).floor()
    return torch.minimum(within, 2 - within)


def dressed(scene: "Scene", source: Source, rng: random.Random, *, share: float = 0.75) -> "Scene":
    """The scene with photographs on this share of its finishes, and a panorama around it if it is under the sky."""
    looks, which = scene.material[:14].unique(dim=1, return_inverse=True)
    pictures: list[Tensor] = []
    material, group = scene.material.clone(), scene.group.clone()
    for look in range(looks.shape[1]):
        if rng.random() >= share:
            continue
        faces = which == look
        period = 2 ** rng.uniform(-1.0, 1.6)  # metres
        tint = 2 ** rng.uniform(-0.4, 0.4)
        colours = [0.0, 0.0, 0.0, tint, tint, tint, 0.0, 0.0, 0.0]
        places = [1 / period, 1 / period, rng.uniform(0, 2) * period, rng.uniform(0, 2) * period, float(len(pictures))]
        material[:14, faces] = material.new_tensor([*colours, *places])[:, None]
        group[faces] = group[faces] // len(FAMILIES) * len(FAMILIES) + FAMILIES.index("photograph")
        pictures.append(source.square(rng, SIDE))
    sky = source.panorama(rng)
    if not pictures:
        return scene
    return replace(scene, material=material, group=group, pictures=Pictures.of(pictures, sky), caption="")
