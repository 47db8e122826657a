"""The ray caster: axis-aligned boxes to exact colour, depth and surface, frame by frame.

A box has six faces; face k belongs to box k // 6, to axis (k % 6) // 2 and to its low (even) or high (odd) side. Each
face is tested only inside the rectangle of the screen that it can cover; colours are then computed for one flat list
of hits, sorted so that faces of one kind lie together. Edges are smoothed by four more rays in those pixels only
whose surface differs from a neighbour's; depth and surface stay the centre's. Selections are arithmetic rather than
boolean: on a CPU that is several times faster in torch.

`f` frames of a block, `N` boxes, `K = 6 N` faces, `n` hits, `P` rows of the material table (named in `ROWS`). Scene
axes: x, y down, z; floors at y = 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange, repeat
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import Brief
from mirage.scenes.textures import FAMILIES, pattern

if TYPE_CHECKING:
    from mirage.scenes.scene import Scene

# What the material table says of each face; `u v` are the face's two axes in scene units.
ROWS = (
    *("r0", "g0", "b0", "r1", "g1", "b1", "r2", "g2", "b2"),  # base colour, then what the pattern's two weights add
    *("su", "sv", "ou", "ov", "duty"),  # periods per metre, origin of the pattern
    *("lx", "ly", "lz", "falloff", "lr", "lg", "lb", "ar", "ag", "ab"),  # the light it gets, and the ambient one
    *("u0", "u1", "v0", "v1", "side"),  # where its surroundings darken it, and the sign of its normal
)
SPANS = {0: (2, 1), 1: (0, 2), 2: (0, 1)}  # axis of a face -> the axes u, v that span it
FLOOR = 3  # the fourth kind of face beside the three axes: tops that things stand on
_LOOK, _LIGHT = ROWS.index("lx"), len(ROWS)
_NEAR, _FAR, _STEEP = 1e-3, 1e6, 1e20


@dataclass(frozen=True, eq=False, repr=False)
class View(Brief):
    """What a camera sees: `rgb [F,3,H,W]` in [0,1]; exact z-`depth` (sky: invalid); `surface [F,H,W]` face ids (-1:
    sky); `moving [F,H,W]`, True where any part of the pixel shows a box that moves."""

    rgb: Tensor
    depth: DepthMap
    surface: Tensor
    moving: Tensor


def render(scene: "Scene", camera: Camera, size: tuple[int, int], *, time: Tensor | None = None) -> View:
    """Draw `camera [F]` on a grid of `size` (H, W) on the scene's device. `time [F]` in frames; None: 0, 1, 2, ..."""
    device = scene.boxes.device
    camera = camera.to(device=device, dtype=torch.float32)
    frames = len(camera)
    time = torch.arange(frames) if time is None else time
    shift = scene.shift(time.to(device=device, dtype=torch.float32))
    bounds = scene.boxes + shift[:, :, None]
    eyes = _Eyes.of(camera, size)
    planes, windows = _planes(eyes, bounds), _windows(camera, bounds, size)
    rgb = torch.empty(frames, 3, *size, device=device)
    z = torch.empty(frames, *size, device=device)
    surface = torch.empty(frames, *size, device=device, dtype=torch.int32)
    moving = torch.zeros(frames, *size, device=device, dtype=torch.bool)
    for part in _blocks(frames, 1 if device.type == "cpu" else 24):
        some = eyes[part]
        z[part], face = _trace(some, planes[:, part], windows[part])
        surface[part] = face
        hits = _hits(some, planes[:, part], z[part], face)
        rgb[part] = _smooth(_shade(scene, some, shift[part], hits), hits, face.shape)
        if scene.moves:
            moving[part] = _moving(scene, hits, face.shape)
    return View(rgb, DepthMap(z, surface >= 0), surface, moving)


def _blocks(frames: int, step: int) -> Iterator[slice]:
    """On a CPU a frame at a time, which stays in cache; on a GPU many, to fill it."""
    return (slice(i, min(i + step, frames)) for i in range(0, frames, step))


@dataclass(frozen=True, eq=False)
class _Eyes:
    """Rays of z-depth 1: direction(x, y) = `base + x * dx + y * dy`; pixel centres have whole x and y. All [f,3]."""

    origin: Tensor
    base: Tensor
    dx: Tensor
    dy: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, camera: Camera, size: tuple[int, int]) -> "_Eyes":
        height, width = size
        fx, fy, cx, cy = camera.intrinsics[..., None].unbind(1)
        right, down, ahead = camera.c2w[:, :3, :3].unbind(2)
        base = ahead + right * ((0.5 / width - cx) / fx) + down * ((0.5 / height - cy) / fy)
        return cls(camera.center, base, right / (fx * width), down / (fy * height), size)

    def __getitem__(self, part: slice) -> "_Eyes":
        return _Eyes(self.origin[part], self.base[part], self.dx[part], self.dy[part], self.size)

    def of_hits(self, values: Tensor, frame: Tensor | None) -> Tensor:
        """Values [f,3] of a block -> [3,n] per hit, or [3,1] where there is one frame."""
        return values.T if frame is None else values.T.index_select(1, frame)


def _windows(camera: Camera, bounds: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixel rectangle (left, top, right, bottom; past the end) that holds each face in each frame: [F,K,4] int on
    the CPU, empty (right <= left) where the face looks away or is out of view."""
    camera, bounds = camera.to("cpu"), bounds.cpu()
    corner = torch.stack([_corners(bounds, axis, side) for axis in range(3) for side in range(2)], 2)  # [F,N,6,4,3]
    frames, boxes = bounds.shape[:2]
    seen = (corner - camera.center[:, None, None, None]).view(frames, -1, 3) @ camera.c2w[:, :3, :3]
    seen = seen.view(frames, boxes, 6, 4, 3)
    following = seen.roll(-1, 3)
    za, zb = seen[..., 2:], following[..., 2:]
    crossing = torch.lerp(seen, following, ((_NEAR - za) / (zb - za)).nan_to_num(0, 0, 0).clamp(0, 1))
    points = torch.cat([seen, crossing], 3)
    present = torch.cat([za > _NEAR, (za > _NEAR) != (zb > _NEAR)], 3)
    scale = torch.tensor([size[1], size[0]])
    focal, centre = camera.intrinsics[:, None, None, None].split(2, -1)
    pixel = (points[..., :2] / points[..., 2:].clamp(min=_NEAR) * focal + centre) * scale - 0.5
    low = torch.where(present, pixel, _FAR).amin(3).floor().clamp(min=0)
    high = torch.where(present, pixel, -_FAR).amax(3).ceil().add(1).minimum(scale)
    outward = torch.tensor([-1.0, 1.0]).repeat(3)
    eye = repeat(camera.center, "f a -> f 1 (a e)", e=2)
    facing = (eye - rearrange(bounds, "f n e a -> f n (a e)")) * outward > 0
    high = torch.where(facing[..., None], high, 0)
    return torch.cat([low, high], 3).flatten(1, 2).int()


def _corners(bounds: Tensor, axis: int, side: int) -> Tensor:
    """The four corners of one face of every box, in order around it: [F,N,4,3]."""
    b, c = SPANS[axis]
    around = bounds.new_empty(*bounds.shape[:2], 4, 3)
    around[..., axis] = bounds[:, :, None, side, axis]
    around[..., b] = bounds[:, :, [0, 1, 1, 0], b]
    around[..., c] = bounds[:, :, [0, 0, 1, 1], c]
    return around


def _trace(eyes: _Eyes, planes: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest face along every pixel's centre ray: z-depth `[f,h,w]` (`_FAR`: none), face id (-1: none), as floats."""
    height, width = eyes.size
    x = torch.arange(width, device=planes.device, dtype=torch.float32)
    y = torch.arange(height, device=planes.device, dtype=torch.float32)
    along, across = eyes.base[:, :, None] + eyes.dx[:, :, None] * x, eyes.dy[:, :, None] * y
    direction = [along[:, a, None, :] + across[:, a, :, None] for a in range(3)]
    inverse = [d.reciprocal().clamp_(-_STEEP, _STEEP) for d in direction]
    best = torch.full((len(eyes.base), height, width), _FAR, device=planes.device)
    face = torch.full_like(best, -1.0)
    shown = (windows[..., 2:] > windows[..., :2]).all(2)[..., None]
    low = torch.where(shown, windows[..., :2], 1 << 20).amin(0)
    high = torch.where(shown, windows[..., 2:], 0).amax(0)
    chosen = shown.any(0)[:, 0].nonzero()[:, 0]
    plane, u, v, half_u, half_v = (list(rearrange(p, "f k -> k f 1 1")) for p in planes)
    for k, left, top, right, bottom in torch.cat([chosen[:, None], low[chosen], high[chosen]], 1).tolist():
        axis = k % 6 // 2
        b, c = SPANS[axis]
        area = (slice(None), slice(top, bottom), slice(left, right))
        t = plane[k] * inverse[axis][area]
        p = (t * direction[b][area]).sub_(u[k]).abs_().sub_(half_u[k])
        q = (t * direction[c][area]).sub_(v[k]).abs_().sub_(half_v[k])
        outside = torch.maximum(p, q, out=p)
        missed = torch.maximum(outside, torch.neg(t, out=q), out=p).clamp_(min=0)
        t.add_(missed, alpha=_STEEP)  # exact where the ray meets the face, beyond everything elsewhere
        nearest = best[area]
        farther = torch.sub(t, nearest, out=q).mul_(_STEEP).clamp_(0, 1)
        face[area].sub_(k).mul_(farther).add_(k)
        torch.minimum(nearest, t, out=nearest)
    return best, face


def _planes(eyes: _Eyes, bounds: Tensor) -> Tensor:
    """Of each face, from the eye: its plane's offset, its middle along u and v, half widths: [5,F,K]."""
    relative = bounds - eyes.origin[:, None, None]
    middle, half = relative.mean(2), (relative[:, :, 1] - relative[:, :, 0]) / 2
    u, v = ([SPANS[k // 2][i] for k in range(6)] for i in (0, 1))
    plane = rearrange(relative, "f n e a -> f (n a e)")
    spans = (middle[:, :, u], middle[:, :, v], half[:, :, u], half[:, :, v])
    return torch.stack([plane, *(span.flatten(1) for span in spans)])


@dataclass(frozen=True, eq=False)
class _Hits:
    """Places `[n]` where rays end, `x y` in pixels, `t` z-depth, `face` (-1: sky), `frame` of the block
    (None where there is one). First every pixel's centre, then four rays for each pixel `edge` that shows several
    surfaces."""

    x: Tensor
    y: Tensor
    t: Tensor
    face: Tensor
    frame: Tensor | None
    edge: Tensor


def _hits(eyes: _Eyes, planes: Tensor, t: Tensor, face: Tensor) -> _Hits:
    frames, height, width = face.shape
    edge = torch.zeros_like(face)
    across, below = (face[:, :, 1:] - face[:, :, :-1]).abs_(), (face[:, 1:] - face[:, :-1]).abs_()
    edge[:, :, 1:] += across
    edge[:, :, :-1] += across
    edge[:, 1:] += below
    edge[:, :-1] += below
    x = torch.arange(width, device=face.device, dtype=torch.float32).expand_as(face)
    y = torch.arange(height, device=face.device, dtype=torch.float32)[:, None].expand_as(face)
    f = torch.arange(frames, device=face.device, dtype=torch.int32)[:, None, None].expand_as(face)
    edge = edge.flatten().nonzero()[:, 0]
    ex, ey = (v.flatten().index_select(0, edge) for v in (x, y))
    ef = f.flatten().index_select(0, edge)
    offset = torch.tensor([[-0.125, -0.375], [0.375, -0.125], [-0.375, 0.125], [0.125, 0.375]], device=face.device)
    sx, sy = ((v + offset[:, i, None]).flatten() for i, v in enumerate((ex, ey)))
    st, sface = _sub_rays(eyes, planes, face, edge, sx, sy, ef)
    # Where all four stay on the pixel's own surface its centre, which the patterns have filtered, is better.
    own = face.flatten().index_select(0, edge)
    mixed = (sface.view(4, -1) - own).abs_().amax(0).nonzero()[:, 0]
    sx, sy, st, sface = (v.view(4, -1).index_select(1, mixed).flatten() for v in (sx, sy, st, sface))
    return _Hits(
        x=torch.cat([x.flatten(), sx]),
        y=torch.cat([y.flatten(), sy]),
        t=torch.cat([t.flatten(), st]),
        face=torch.cat([face.flatten(), sface]).int(),
        frame=None if frames == 1 else torch.cat([f.flatten(), ef.index_select(0, mixed).repeat(4)]),
        edge=edge.index_select(0, mixed),
    )


def _sub_rays(
    eyes: _Eyes, planes: Tensor, face: Tensor, edge: Tensor, x: Tensor, y: Tensor, frame: Tensor
) -> tuple[Tensor, Tensor]:
    """z-depth and face of the four rays at `x y [4e]` of the pixels `edge [e]`. A ray ends on the nearest of the faces
    that its pixel and the four beside it show; only one that meets none of those is tried on every face."""
    height, width = eyes.size
    padded = torch.nn.functional.pad(face[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    around = [padded[:, i : i + height, j : j + width] for i, j in ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1))]
    faces = torch.stack([side.flatten().index_select(0, edge) for side in around])  # [5,e]
    k = faces.clamp(min=0).int()
    many = None if planes.shape[1] == 1 else frame.repeat(4)
    d = torch.addcmul(
        torch.addcmul(eyes.of_hits(eyes.base, many), eyes.of_hits(eyes.dx, many), x), eyes.of_hits(eyes.dy, many), y
    )
    axes = torch.tensor([[axis, *SPANS[axis]] for axis in range(3)], device=face.device, dtype=torch.int32)
    here = torch.arange(len(x), device=face.device, dtype=torch.int32)
    row = (k % 6 // 2).repeat(1, 4)
    along = (d.flatten().index_select(0, (axes[:, i][row] * len(x) + here).flatten()).view(5, -1) for i in range(3))
    at = (k + frame * planes.shape[2]).repeat(1, 4).flatten()
    t = _meet(planes.flatten(1).index_select(1, at).view(5, 5, -1), *along)
    t.add_((-faces).clamp_(0, 1).repeat(1, 4), alpha=_STEEP)
    t, which = t.min(0)
    face = faces.repeat(1, 4).gather(0, which[None])[0]

    lone = (t >= _FAR).nonzero()[:, 0]
    if len(lone):
        boxes = planes.shape[2] // 6
        every = axes.repeat_interleave(2, 0).repeat(boxes, 1)  # [K,3]
        chosen = d.index_select(1, lone)
        far, which = _meet(
            planes.index_select(1, frame.repeat(4).index_select(0, lone)).transpose(1, 2),
            *(chosen.index_select(0, every[:, i]) for i in range(3)),
        ).min(0)
        t[lone] = far.clamp(max=_FAR)
        face[lone] = torch.where(far >= _FAR, -1.0, which.float())
    return t, face


def _meet(planes: Tensor, da: Tensor, du: Tensor, dv: Tensor) -> Tensor:
    """z-depth at which rays meet faces (rows of `_planes`, any shape [5,...]), beyond `_FAR` where they do not."""
    plane, u, v, half_u, half_v = planes
    t = plane / da
    outside = torch.maximum((t * du).sub_(u).abs_().sub_(half_u), (t * dv).sub_(v).abs_().sub_(half_v))
    missed = torch.maximum(outside, -t).clamp_(min=0)
    return t.add_(missed, alpha=_STEEP).nan_to_num_(_STEEP, _STEEP, _STEEP)


def _smooth(colour: Tensor, hits: _Hits, shape: torch.Size) -> Tensor:
    """Colours of hits [3,n] to pictures [f,3,h,w]: an edge pixel is the mean of its four rays."""
    pixels = shape.numel()
    fine = rearrange(colour[:, pixels:], "c (s e) -> s c e", s=4).mean(0)
    colour = colour[:, :pixels]
    for channel, value in zip(colour, fine, strict=True):
        channel.index_copy_(0, hits.edge, value)
    return rearrange(colour.clamp_(0, 1), "c (f h w) -> f c h w", f=shape[0], h=shape[1])


def _moving(scene: "Scene", hits: _Hits, shape: torch.Size) -> Tensor:
    """Pixels [f,h,w] any of whose rays ends on a mover."""
    movers = torch.cat([scene.motion_boxes.new_zeros(1), scene.motion_boxes.repeat_interleave(6)])
    some = movers.index_select(0, hits.face + 1)
    moving = some[: shape.numel()].clone()
    moving[hits.edge] |= rearrange(some[shape.numel() :], "(s e) -> s e", s=4).any(0)
    return moving.view(shape)


def _shade(scene: "Scene", eyes: _Eyes, shift: Tensor, hits: _Hits) -> Tensor:
    """Colours `[3,n]`: pattern, then lambert light with falloff, ambient light, darkening in corners and under things.

    Hits are sorted by kind of face (axis and pattern family), shaded in runs, and put back.
    """
    kinds = torch.cat([scene.group.new_full((1,), len(FAMILIES) * (FLOOR + 1)), scene.group]).to(torch.uint8)
    kind, order = kinds.index_select(0, hits.face + 1).sort(stable=True)
    x, y, t, face = (v.index_select(0, order) for v in (hits.x, hits.y, hits.t, hits.face))
    frame = None if hits.frame is None else hits.frame.index_select(0, order)
    origin, base, dx, dy = (eyes.of_hits(v, frame) for v in (eyes.origin, eyes.base, eyes.dx, eyes.dy))
    d = torch.addcmul(torch.addcmul(base, dx, x), dy, y)
    point = torch.addcmul(origin, d, t)
    local = point
    if scene.moves:
        at = face.clamp(min=0) // 6 + (0 if frame is None else frame * shift.shape[1])
        local = point - shift.flatten(0, 1).T.index_select(1, at)
    colour = torch.empty_like(point)
    counts = torch.bincount(kind.int(), minlength=len(FAMILIES) * (FLOOR + 1) + 1).tolist()
    end = 0
    for number, count in enumerate(counts):
        run = slice(end, end + count)
        end += count
        if count == 0:
            continue
        axis, family = divmod(number, len(FAMILIES))
        if axis > FLOOR:
            colour[:, run] = _sky(scene, d[:, run])
            continue
        slopes = tuple(v if frame is None else v[:, run] for v in (dx, dy))
        surface = _Run(point[:, run], local[:, run], d[:, run], t[run], slopes, face[run])
        look = _albedo(scene, surface, axis % FLOOR if axis != FLOOR else 1, FAMILIES[family])
        torch.mul(look, _light(scene, surface, axis), out=colour[:, run])
    out = torch.empty_like(colour)
    for source, target in zip(colour, out, strict=True):
        target.index_copy_(0, order, source)
    return out


@dataclass(frozen=True, eq=False)
class _Run:
    """Hits of one kind: where in the scene, and in the box's own frame [3,n]; rays and their change by a pixel."""

    point: Tensor
    local: Tensor
    d: Tensor
    t: Tensor
    slopes: tuple[Tensor, ...]
    face: Tensor


def _albedo(scene: "Scene", run: _Run, axis: int, family: str) -> Tensor:
    """Colour of the surface itself [3,n]."""
    if family == "flat":
        return scene.material[:3].index_select(1, run.face)
    m = scene.material[:_LOOK].index_select(1, run.face)
    su, sv, ou, ov, duty = m[9:14]
    # How far the hit moves along the face for one pixel: the plane's exact ray differential.
    b, c = SPANS[axis]
    (dx, dy), ratio = run.slopes, 1 / run.d[axis]
    slope_x, slope_y = ratio * dx[axis], ratio * dy[axis]
    wu, wv = (
        ((dx[i] - run.d[i] * slope_x).abs_() + (dy[i] - run.d[i] * slope_y).abs_()) * run.t * scale
        for i, scale in ((b, su), (c, sv))
    )
    u, v = (run.local[b] - ou) * su, (run.local[c] - ov) * sv
    if family == "photograph":
        assert scene.pictures is not None
        return scene.pictures.seen(duty, u, v, wu, wv).mul_(m[3:6])
    first, second = pattern(family, u, v, wu, wv, duty)
    colour = torch.addcmul(m[:3], m[3:6], first)
    return colour if second is None else colour.addcmul_(m[6:9], second)


def _light(scene: "Scene", run: _Run, kind: int) -> Tensor:
    """Light that the surface gets [3,n]."""
    axis = 1 if kind == FLOOR else kind
    b, c = SPANS[axis]
    m = scene.material[_LOOK:_LIGHT].index_select(1, run.face)
    to_light = m[:3] - run.point
    square = torch.addcmul(torch.addcmul(to_light[0].square(), to_light[1], to_light[1]), to_light[2], to_light[2])
    lambert = (to_light[axis] * m[14]).clamp_(min=0) * square.rsqrt()
    light = torch.addcmul(m[7:10], m[4:7], lambert.div_((m[3] * square).add_(1)))
    u0, u1, v0, v1 = m[10:14]
    for value, low, high in ((run.point[b], u0, u1), (run.point[c], v0, v1)):
        # Darker within 60 cm of where a face meets its surroundings.
        near = torch.minimum(value - low, high - value).mul_(-1 / 0.6).add_(1).clamp_(0, 1)
        light *= near.square_().mul_(-0.3).add_(1)
    return light.mul_(_contact(scene, run.point)) if kind == FLOOR else light


def _contact(scene: "Scene", point: Tensor) -> Tensor:
    """Soft dark ground around what stands still on it (movers cast nothing, so only their own pixels change): [n]."""
    shade = torch.ones_like(point[0])
    for cx, cz, hx, hz, reach in scene.standing:
        dx, dz = ((point[0] - cx).abs_() - hx).clamp_(min=0), ((point[2] - cz).abs_() - hz).clamp_(min=0)
        near = torch.addcmul(dx.square_(), dz, dz).sqrt_().mul_(-1 / reach).add_(1).clamp_(min=0)
        shade *= near.square_().mul_(-0.45).add_(1)
    return shade


def _sky(scene: "Scene", d: Tensor) -> Tensor:
    """Horizon to zenith, with a few soft clouds, or a panorama; `d [3,n]`."""
    if scene.pictures is not None and scene.pictures.sky is not None:
        return scene.pictures.above(d)
    d = d / d.norm(dim=0, keepdim=True)
    up = (-d[1]).clamp(0, 1)
    blend = 1 - (1 - up).pow(3)
    px, pz = d[0] / (up + 0.25), d[2] / (up + 0.25)
    cloud = torch.sin(1.7 * px + 0.9 * torch.sin(1.3 * pz) + 1) + torch.sin(1.1 * pz - 0.6 * px + 2)
    cloud = torch.sigmoid(3 * (cloud - 0.6)) * scene.sky[2, 3] * (up * 4).clamp_(max=1)
    colour = torch.lerp(scene.sky[0, :3, None], scene.sky[1, :3, None], blend)
    return torch.lerp(colour, scene.sky[2, :3, None].expand_as(colour), cloud)
