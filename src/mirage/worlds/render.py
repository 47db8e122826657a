"""The ray caster: axis-aligned boxes to exact colour, depth and surface, frame by frame.

A box has six faces; face k belongs to box k // 6, to axis (k % 6) // 2 and to its low (even) or high (odd) side. Per block of frames each
face is tested only inside the rectangle of the screen that it can cover; colours are then computed for the flat list of hits. Edges
are smoothed by four more rays in those pixels only whose surface differs from a neighbour's; depth and surface stay the centre's.

`f` frames of a block, `K` faces, `n` hits, `P` rows of the material table (names in `ROWS`). World axes: x, y down, z; floor at y = 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange, repeat
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.worlds.textures import FAMILIES, pattern

if TYPE_CHECKING:
    from mirage.worlds.world import World

# What the material table says of each face; `u v` are the face's two axes in world units.
ROWS = (
    *("r0", "g0", "b0", "r1", "g1", "b1", "r2", "g2", "b2"),  # base colour, then what the pattern's two weights add
    *("su", "sv", "ou", "ov", "duty"),  # periods per metre, origin of the pattern
    *("lx", "ly", "lz", "falloff", "lr", "lg", "lb", "ar", "ag", "ab"),  # the light that reaches it, and the ambient one
    *("u0", "u1", "v0", "v1", "side"),  # where its surroundings darken it, and the sign of its normal
)
_ROW = {name: i for i, name in enumerate(ROWS)}
_UV = {0: (2, 1), 1: (0, 2), 2: (0, 1)}  # the axes that span a face
_NEAR = 1e-3


@dataclass(frozen=True)
class View:
    """What a camera sees: `rgb [F,3,H,W]` in [0,1]; exact z-`depth` (sky: invalid); `surface [F,H,W]` face ids (-1: sky);
    `moving [F,H,W]`, True where any part of the pixel shows a box that moves."""

    rgb: Tensor
    depth: DepthMap
    surface: Tensor
    moving: Tensor


def render(world: "World", camera: Camera, size: tuple[int, int], *, time: Tensor | None = None) -> View:
    """Draw `camera [F]` on a grid of `size` (H, W) on the world's device. `time [F]` in frames; None: 0, 1, 2, ..."""
    device = world.boxes.device
    camera = camera.to(device=device, dtype=torch.float32)
    frames = len(camera)
    time = torch.arange(frames) if time is None else time
    shift = world.shift(time.to(device=device, dtype=torch.float32))
    rgb = torch.empty(frames, 3, *size, device=device)
    z = torch.empty(frames, *size, device=device)
    surface = torch.empty(frames, *size, device=device, dtype=torch.int32)
    moving = torch.zeros(frames, *size, device=device, dtype=torch.bool)
    for part in _blocks(frames, 1 if device.type == "cpu" else 24):
        eyes = _Eyes.of(camera[part], size)
        bounds = world.boxes + shift[part, :, None]
        t, face = _trace(eyes, bounds)
        colour, z[part], surface[part] = _shade_block(world, eyes, bounds, shift[part], t, face, moving[part])
        rgb[part] = rearrange(colour, "c (f h w) -> f c h w", f=eyes.count, h=size[0])
    return View(rgb, DepthMap(z, surface >= 0), surface, moving)


def _blocks(frames: int, step: int) -> Iterator[slice]:
    """On a CPU a frame at a time, which stays in cache; on a GPU many, to fill it."""
    return (slice(i, min(i + step, frames)) for i in range(0, frames, step))


@dataclass(frozen=True)
class _Eyes:
    """Rays of a block: direction(x, y) = `base + x * dx + y * dy` in pixels (x, y at pixel centres are integers), z-depth 1."""

    origin: Tensor  # [f,3]
    base: Tensor  # [f,3]
    dx: Tensor  # [f,3]
    dy: Tensor  # [f,3]
    rotation: Tensor  # [f,3,3]
    intrinsics: Tensor  # [f,4]
    size: tuple[int, int]

    @classmethod
    def of(cls, camera: Camera, size: tuple[int, int]) -> "_Eyes":
        fx, fy, cx, cy = camera.intrinsics[..., None].unbind(1)
        rotation = camera.c2w[:, :3, :3]
        right, down, ahead = rotation.unbind(2)
        height, width = size
        base = ahead + right * ((0.5 / width - cx) / fx) + down * ((0.5 / height - cy) / fy)
        eyes = (base, right / (fx * width), down / (fy * height), rotation, camera.intrinsics)
        return cls(camera.c2w[:, :3, 3], *eyes, size)

    @property
    def count(self) -> int:
        return len(self.origin)


def _trace(eyes: _Eyes, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest face along every pixel's centre ray: z-depth `[f,h,w]` (inf: none) and face id (int32, -1: none)."""
    height, width = eyes.size
    x = torch.arange(width, device=bounds.device, dtype=torch.float32)
    y = torch.arange(height, device=bounds.device, dtype=torch.float32)
    along, across = eyes.base[:, :, None] + eyes.dx[:, :, None] * x, eyes.dy[:, :, None] * y
    direction = [along[:, a, None, :] + across[:, a, :, None] for a in range(3)]
    inverse = [d.reciprocal() for d in direction]
    best = torch.full((eyes.count, height, width), torch.inf, device=bounds.device)
    face = torch.full((eyes.count, height, width), -1, device=bounds.device, dtype=torch.int32)
    relative = rearrange(bounds - eyes.origin[:, None, None], "f n e a -> n e a f 1 1")
    for k, (top, bottom, left, right) in _windows(eyes, bounds):
        box, axis, side = k // 6, (k % 6) // 2, k % 2
        b, c = _UV[axis]
        area = (slice(None), slice(top, bottom), slice(left, right))
        low, high = relative[box].unbind(0)
        t = relative[box, side, axis] * inverse[axis][area]
        p, q = t * direction[b][area], t * direction[c][area]
        hit = (p >= low[b]).logical_and_(p <= high[b]).logical_and_(q >= low[c]).logical_and_(q <= high[c])
        nearest = best[area]
        hit.logical_and_(t < nearest).logical_and_(t > _NEAR)
        torch.where(hit, t, nearest, out=t)
        nearest.copy_(t)
        face[area].masked_fill_(hit, k)
    return best, face


def _windows(eyes: _Eyes, bounds: Tensor) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Faces that may be seen in this block, each with the pixel rectangle (top, bottom, left, right) that holds it."""
    eyes_cpu = [v.cpu() for v in (eyes.origin, eyes.rotation, eyes.intrinsics)]
    origin, rotation, intrinsics = eyes_cpu
    bounds = bounds.cpu()
    corner = torch.stack([_corners(bounds, axis, side) for axis in range(3) for side in range(2)], 2)  # [f,n,6,4,3]
    seen = (corner - origin[:, None, None, None]) @ rotation[:, None, None]
    following = seen.roll(-1, 3)
    za, zb = seen[..., 2:], following[..., 2:]
    crossing = torch.lerp(seen, following, ((_NEAR - za) / (zb - za)).nan_to_num(0, 0, 0).clamp(0, 1))
    points = torch.cat([seen, crossing], 3)
    present = torch.cat([za > _NEAR, (za > _NEAR) != (zb > _NEAR)], 3)[..., 0]
    scale = torch.tensor([eyes.size[1], eyes.size[0]])
    focal, centre = intrinsics[:, None, None, None].split(2, -1)
    pixel = (points[..., :2] / points[..., 2:].clamp(min=_NEAR) * focal + centre) * scale - 0.5
    low = pixel.masked_fill(~present[..., None], torch.inf).amin(3)
    high = pixel.masked_fill(~present[..., None], -torch.inf).amax(3)
    plane = rearrange(bounds, "f n e a -> f n (a e)")
    sign = torch.tensor([-1.0, 1.0]).repeat(3)
    outside = (repeat(origin, "f a -> f 1 (a e)", e=2) - plane) * sign > 0
    outside &= (high[..., 0] >= 0) & (high[..., 1] >= 0) & (low[..., 0] <= scale[0]) & (low[..., 1] <= scale[1])
    low, high = (v.masked_fill(~outside[..., None], m) for v, m in ((low, torch.inf), (high, -torch.inf)))
    low, high = low.amin(0).flatten(0, 1), high.amax(0).flatten(0, 1)
    keep = outside.any(0).flatten().nonzero()[:, 0]
    first = torch.minimum(low[keep].floor().clamp(min=0), scale - 1).int()
    last = torch.minimum(high[keep].ceil() + 1, scale.float()).int()
    rows = torch.stack([first[:, 1], last[:, 1], first[:, 0], last[:, 0]], 1).tolist()
    kept = zip(keep.tolist(), rows, strict=True)
    return [(k, (t, b, x0, x1)) for k, (t, b, x0, x1) in kept if b > t and x1 > x0]


def _corners(bounds: Tensor, axis: int, side: int) -> Tensor:
    """The four corners of one face of every box, in order around it: [f,n,4,3]."""
    b, c = _UV[axis]
    around = bounds.new_empty(*bounds.shape[:2], 4, 3)
    around[..., axis] = bounds[:, :, None, side, axis]
    around[..., b] = bounds[:, :, [0, 1, 1, 0], b]
    around[..., c] = bounds[:, :, [0, 0, 1, 1], c]
    return around


def _shade_block(
    world: "World", eyes: _Eyes, bounds: Tensor, shift: Tensor, t: Tensor, face: Tensor, moving: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours of a block `[3, f*h*w]`, its z (0 at sky, to be masked) and surface; marks `moving` in place."""
    height, width = eyes.size
    grid = torch.arange(face.numel(), device=face.device)
    x, y, frame = grid % width, grid // width % height, grid // (width * height)
    flat = face.flatten().long()
    colour = _shade(world, eyes, shift, _Hits(frame, x.float(), y.float(), t.flatten(), flat))
    if world.motion_boxes.any():
        moving |= (face >= 0) & world.motion_boxes[(face // 6).clamp(min=0)]

    edge = torch.zeros_like(face, dtype=torch.bool)
    across, below = face[:, :, 1:] != face[:, :, :-1], face[:, 1:] != face[:, :-1]
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= below
    edge[:, :-1] |= below
    chosen = edge.flatten().nonzero()[:, 0]
    if len(chosen):
        rays = _sub_rays(eyes, bounds, face, chosen)
        fine = rearrange(_shade(world, eyes, shift, rays), "c (s n) -> c s n", s=4)
        colour[:, chosen] = fine.mean(1)
        if world.motion_boxes.any():
            some = world.motion_boxes[(rays.face // 6).clamp(min=0)] & (rays.face >= 0)
            moving.view(-1)[chosen] |= rearrange(some, "(s n) -> s n", s=4).any(0)
    return colour.clamp_(0, 1), t.masked_fill(face < 0, 0), face


@dataclass(frozen=True)
class _Hits:
    """A flat list of places where rays end: all `[n]`; `x y` in pixels, `t` z-depth, `face` -1 for the sky."""

    frame: Tensor
    x: Tensor
    y: Tensor
    t: Tensor
    face: Tensor


def _sub_rays(eyes: _Eyes, bounds: Tensor, face: Tensor, chosen: Tensor) -> _Hits:
    """Four rays for each `chosen` pixel `[n]` (rotated grid). Each ends on the nearest of the faces that the pixel and its eight
    neighbours show, so no face is searched for twice; one that hits none of them continues its own pixel's plane."""
    height, width = eyes.size
    x, y, frame = chosen % width, chosen // width % height, chosen // (width * height)
    near = []
    for dy, dx in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        yy, xx = (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1)
        near.append(face.view(-1)[(frame * height + yy) * width + xx])
    candidate = torch.stack(near).long().sort(0, descending=True).values  # [9,n]
    fresh = torch.cat([torch.ones_like(candidate[:1], dtype=torch.bool), candidate[1:] != candidate[:-1]])
    # Most pixels meet two faces, few more than four: keep each pixel's first four different ones.
    order = fresh.to(torch.int8).sort(dim=0, descending=True, stable=True).indices[:4]
    candidate, fresh = candidate.gather(0, order), fresh.gather(0, order)
    own = face.view(-1)[chosen].long()
    candidate[-1] = torch.where(fresh[-1], candidate[-1], own)

    offset = torch.tensor([[-0.125, -0.375], [0.375, -0.125], [-0.375, 0.125], [0.125, 0.375]], device=face.device)
    xs, ys = ((v + offset[:, i, None]).flatten() for i, v in enumerate((x, y)))  # [4n]
    frames, own = frame.repeat(4), own.repeat(4)
    d = _directions(eyes, frames, xs, ys)  # [3,4n]
    candidate = candidate.repeat(1, 4)  # [4,4n]
    t = _meet(eyes, bounds, frames, d, candidate, clip=True)
    t, which = t.min(0)
    winner = candidate.gather(0, which[None])[0]
    missed = t.isinf()
    sky = (candidate < 0).any(0)
    winner = torch.where(missed, torch.where(sky, torch.full_like(own, -1), own), winner)
    lone = (missed & ~sky).nonzero()[:, 0]
    if len(lone):
        t[lone] = _meet(eyes, bounds, frames[lone], d[:, lone], own[lone][None], clip=False)[0]
    return _Hits(frames, xs, ys, t, winner)


def _directions(eyes: _Eyes, frame: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Ray directions `[3,n]`."""
    if eyes.count == 1:
        return eyes.base.T + eyes.dx.T * x + eyes.dy.T * y
    return eyes.base.T[:, frame] + eyes.dx.T[:, frame] * x + eyes.dy.T[:, frame] * y


def _meet(eyes: _Eyes, bounds: Tensor, frame: Tensor, d: Tensor, face: Tensor, *, clip: bool) -> Tensor:
    """z-depth `[c,n]` at which rays `d [3,n]` meet the planes of `face [c,n]`; inf where there is none, or outside it if `clip`."""
    k = face.clamp(min=0)
    axis, side = k % 6 // 2, k % 2
    spans = torch.tensor([_UV[a] for a in range(3)], device=face.device)
    relative = rearrange(bounds - eyes.origin[:, None, None], "f n e a -> (f n e a)")
    at = (frame * bounds.shape[1] + k // 6) * 6
    t = relative[at + side * 3 + axis] / d.gather(0, axis)
    good = (face >= 0) & (t > _NEAR)
    if clip:
        for b in (spans[axis, 0], spans[axis, 1]):
            p = t * d.gather(0, b)
            good &= (p >= relative[at + b]) & (p <= relative[at + 3 + b])
    return torch.where(good, t, torch.full_like(t, torch.inf))


def _shade(world: "World", eyes: _Eyes, shift: Tensor, hits: _Hits) -> Tensor:
    """Colours `[3,n]` of hits: pattern, lambert light with falloff, ambient, darkening towards edges and under furniture."""
    colour = torch.empty(3, len(hits.face), device=hits.face.device)
    group = torch.where(hits.face >= 0, world.group[hits.face.clamp(min=0)], -1)
    for g in world.groups:
        rows = (group == g).nonzero()[:, 0]
        if len(rows):
            axis, family = divmod(g, len(FAMILIES))
            some = _Hits(hits.frame[rows], hits.x[rows], hits.y[rows], hits.t[rows], hits.face[rows])
            colour[:, rows] = _shade_group(world, eyes, shift, some, axis, FAMILIES[family])
    rows = (group < 0).nonzero()[:, 0]
    if len(rows):
        colour[:, rows] = _sky(world, _directions(eyes, hits.frame[rows], hits.x[rows], hits.y[rows]))
    return colour


def _shade_group(world: "World", eyes: _Eyes, shift: Tensor, hits: _Hits, axis: int, family: str) -> Tensor:
    """`_shade` for hits whose faces share an axis and a pattern family."""
    m = world.material[:, hits.face]
    row = {name: m[i] for name, i in _ROW.items()}
    d = _directions(eyes, hits.frame, hits.x, hits.y)
    one = eyes.count == 1
    origin, dx, dy = (v.T if one else v.T[:, hits.frame] for v in (eyes.origin, eyes.dx, eyes.dy))
    point = torch.addcmul(origin.expand_as(d), hits.t, d)

    b, c = _UV[axis]
    local = point
    if world.motion_boxes.any():
        local = point - shift[hits.frame, hits.face // 6].T
    u, v = local[b], local[c]
    if family == "flat":
        albedo = m[0:3]
    else:
        # How far the hit moves along the face for one pixel: the plane's exact ray differential.
        ratio = hits.t / d[axis]
        slope_x, slope_y = ratio * dx[axis], ratio * dy[axis]
        wu, wv = ((hits.t * dx[i] - d[i] * slope_x).abs() + (hits.t * dy[i] - d[i] * slope_y).abs() for i in (b, c))
        su, sv = row["su"], row["sv"]
        first, second = pattern(family, (u - row["ou"]) * su, (v - row["ov"]) * sv, wu * su, wv * sv, row["duty"])
        albedo = torch.addcmul(torch.addcmul(m[0:3], first, m[3:6]), second, m[6:9])

    to_light = m[_ROW["lx"] : _ROW["lz"] + 1] - point
    square = to_light.square().sum(0)
    lambert = (to_light[axis] * row["side"]).clamp_(min=0) * square.rsqrt()
    strength = lambert / (1 + row["falloff"] * square)
    light = torch.addcmul(m[_ROW["ar"] : _ROW["ab"] + 1], strength, m[_ROW["lr"] : _ROW["lb"] + 1])
    return albedo * light * (_corner_shade(u, v, row) * _contact_shade(world, axis, point))


def _corner_shade(u: Tensor, v: Tensor, row: dict[str, Tensor]) -> Tensor:
    """Darker within half a metre of where a face meets its surroundings."""
    reach, depth = 0.6, 0.3
    near_u = (torch.minimum(u - row["u0"], row["u1"] - u) / reach).clamp_(0, 1)
    near_v = (torch.minimum(v - row["v0"], row["v1"] - v) / reach).clamp_(0, 1)
    near_u, near_v = (1 - near_u).square_(), (1 - near_v).square_()
    return (1 - depth * near_u) * (1 - depth * near_v)


def _contact_shade(world: "World", axis: int, point: Tensor) -> Tensor:
    """Soft dark ground around what stands still on it; 1 for other surfaces (movers cast none, so only their own pixels change)."""
    shade = torch.ones_like(point[0])
    if axis != 1 or not world.standing:
        return shade
    floor = point[1].abs() < 1e-3
    for cx, cz, hx, hz, reach in world.standing:
        dx, dz = ((point[0] - cx).abs() - hx).clamp_(min=0), ((point[2] - cz).abs() - hz).clamp_(min=0)
        near = (1 - (dx.square() + dz.square()).sqrt_() / reach).clamp_(min=0)
        shade *= 1 - 0.45 * near.square_()
    return torch.where(floor, shade, torch.ones_like(shade))


def _sky(world: "World", d: Tensor) -> Tensor:
    """Horizon to zenith, with a few soft clouds; `d [3,n]`."""
    d = d / d.norm(dim=0, keepdim=True)
    up = (-d[1]).clamp(0, 1)
    blend = 1 - (1 - up).pow(3)
    px, pz = d[0] / (up + 0.25), d[2] / (up + 0.25)
    cloud = torch.sin(1.7 * px + 0.9 * torch.sin(1.3 * pz) + 1) + torch.sin(1.1 * pz - 0.6 * px + 2)
    cloud = torch.sigmoid(3 * (cloud - 0.6)) * world.sky[2, 3] * (up * 4).clamp_(max=1)
    colour = torch.lerp(world.sky[0, :3, None], world.sky[1, :3, None], blend)
    return torch.lerp(colour, world.sky[2, :3, None].expand_as(colour), cloud)
