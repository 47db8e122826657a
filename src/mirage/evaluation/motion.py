"""How the camera moved between two pictures, from their pixels and the first one's depth; only where one asks.

    patches of the first picture --normalised correlation--> places in the second          `find_matches`
    their depth --> points --robust fit of the pose that brings them there--> rotation, direction     `camera_motion`
    many pairs --robust fit of what the commanded motion leaves over--> one steady turn               `rotation_drift`

Patches rather than key points, because what a small model makes up is soft: it has few corners, and still moves. What
cannot be found is None. `H W` pixels, `N` matches, `S` starts; bearings are unit vectors in camera axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, normalize, unfold

from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap

LEAST_MATCHES, LEAST_SHARE = 8, 0.25
"""A motion is believed that so many matches, and such a share of them, agree on."""
_HALF, _STEP = 5, 2  # pixels of the halved picture: a patch is 11 x 11, one at every second pixel
_REACH = 24  # as far as a patch may have gone
_ALIKE, _CLEAR = 0.6, 0.04  # least correlation, and how much less every other place must have
_MOST = 300  # matches to fit a motion to
_NEAR = 1.5  # pixels of the halved picture within which a match agrees with a motion


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of two pictures: bearings [N,3] in the first and in the second camera; `points` [N,3] of the first ones,
    None where depth plays no part. Within `near` radians a match agrees with a motion."""

    here: Tensor
    there: Tensor
    points: Tensor | None
    near: float


@dataclass(frozen=True, eq=False)
class Motion:
    """The second camera seen from the first: `rotation` [3,3]; unit `direction` [3], None where the camera is known to
    stand; `inliers` of `matches` agree."""

    rotation: Tensor
    direction: Tensor | None
    matches: int
    inliers: int


@dataclass(frozen=True, eq=False)
class Drift:
    """What a camera turns beside what was commanded: axis times radians, per frame [3]; see `Motion` for the rest."""

    turn: Tensor
    matches: int
    inliers: int


def find_matches(
    first: Tensor, second: Tensor, intrinsics: Tensor, *, where: tuple[Tensor, Tensor], depth: DepthMap | None
) -> Matches | None:
    """Matches of two pictures [3,H,W] of a camera with `intrinsics` [4], from the pixels `where` bool [H,W] of each.
    `depth` of the first one, on any grid and to any scale; None: the camera is known to stand and only turn, so that
    depth plays no part. None is returned where there are too few.
    """
    here, there = matching_places(first, second, where=where)
    z = None
    if depth is not None:
        here, there, z = _lifted(here, there, depth)
    if len(here) < LEAST_MATCHES:
        return None
    camera = Camera(torch.eye(4, dtype=torch.float64), intrinsics.double())
    few = torch.linspace(0, len(here) - 1, min(len(here), _MOST)).long()  # more say no more, and take longer
    here, there = here[few].double(), there[few].double()
    one = torch.ones(len(here), dtype=torch.float64)
    return Matches(
        normalize(camera.unproject(here, one), dim=-1),
        normalize(camera.unproject(there, one), dim=-1),
        None if z is None else camera.unproject(here, z[few].double()),
        _NEAR * 2 / (float(intrinsics[0]) * first.shape[-1]),
    )


def camera_motion(found: Matches) -> Motion | None:
    """The motion that explains the matches; None where too few of them agree on one.

    A rotation is fitted to bearings by RANSAC (fixed seed) and least squares; a pose to points by reweighted
    Gauss-Newton from many starts. Without depth, from bearings alone, five numbers must come out of one per match, and
    of a strip along the picture's edge they hardly do.
    """
    rotation, agree = fitted_turn(found.here, found.there, found.near)
    direction = None
    if found.points is not None:
        rotation, t, agree = fitted_pose(found.points, found.there, rotation, found.near)
        direction = normalize(t, dim=0)
    if int(agree.sum()) < max(LEAST_MATCHES, LEAST_SHARE * len(agree)):
        return None
    return Motion(rotation, direction, len(agree), int(agree.sum()))


def rotation_drift(pairs: Sequence[tuple[Matches, Tensor, int]], *, rounds: int = 30) -> Drift | None:
    """The one steady turn that must be added to the commanded motion to explain the matches of many pairs; None where
    less than half of them agree on one. A pair: matches, the commanded motion (the second camera seen from the first,
    [4,4]), and the frames from one to the other.

    Motions of single pairs, put together, are off by as much as a strip along an edge lets a turn be taken for a step.
    Here steps are as commanded, to the depth's scale, and what is left is one turn for all. Robust Gauss-Newton from no
    turn and from the turn of each pair by itself, so that it is not drawn to what was commanded; the best is taken.
    """
    if not pairs:
        return None
    points, seen, frames, starts = [], [], [], [torch.zeros(3, dtype=torch.float64)]
    for found, commanded, count in pairs:
        back = pose.invert(commanded.double())
        step = 0 if found.points is None else back[:3, 3]
        here = found.here if found.points is None else found.points
        points.append(here @ back[:3, :3].T + step)
        seen.append(found.there)
        frames.append(torch.full((len(here), 1), float(count), dtype=torch.float64))
        alone, _ = fitted_turn(normalize(points[-1], dim=-1), found.there, found.near)
        starts.append(pose.log_rotation(alone) / count)
    ahead, b, length = normalize(torch.cat(points), dim=-1), torch.cat(seen), torch.cat(frames)
    turn, near = torch.stack(starts), pairs[0][0].near  # [S,3]
    for number in range(rounds):
        turned = _turned(ahead, turn, length)
        slope = pose.skew(turned) * length[..., None]  # for turn -> turn + w: turned -> turned + length turned x w
        step = _robust_step(slope, turned - b, 2 * near if number < rounds // 2 else near / 2)
        turn = turn + _at_most(step, 0.02)
    off = (_turned(ahead, turn, length) - b).norm(dim=-1)
    best = (1 + (2 * off / near).square()).log().sum(1).argmin()
    agree = int((off[best] < near).sum())
    return Drift(turn[best], len(b), agree) if agree >= max(LEAST_MATCHES, 0.5 * len(b)) else None


def _turned(ahead: Tensor, turn: Tensor, frames: Tensor) -> Tensor:
    """Bearings [N,3] as cameras see them that have turned by `turn` [S,3] for so many `frames` [N,1]: [S,N,3]."""
    return torch.einsum("snji,nj->sni", pose.exp_rotation(turn[:, None] * frames), ahead)


def _lifted(here: Tensor, there: Tensor, depth: DepthMap) -> tuple[Tensor, Tensor, Tensor]:
    """The matches uv [N,2] whose cell of the depth [h,w] has one, and that [N]."""
    size = torch.tensor([depth.shape[-1], depth.shape[-2]])
    column, row = (here * size).long().clamp_min(0).minimum(size - 1).unbind(1)
    has = depth.valid[row, column]
    return here[has], there[has], depth.z[row, column][has]


def matching_places(first: Tensor, second: Tensor, *, where: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Where patches of the first picture are in the second: uv [N,2] in the unit square, twice. Patches that lie wholly
    in `where` and have detail along both axes; the best place must be much better than every other, lie in `where`,
    and find its way back."""
    a, b = (avg_pool2d(image.float().mean(0)[None, None], 2)[0, 0] for image in (first, second))
    inside = [-avg_pool2d(-mask.float()[None, None], 2)[0, 0] == 1 for mask in where]
    size = a.shape
    whole = _whole(inside[0]) & (_detail(a) > 1e-5)
    rows, columns = torch.nonzero(whole, as_tuple=True)
    kept = (rows % _STEP == 0) & (columns % _STEP == 0)
    start = torch.stack([rows[kept], columns[kept]], 1)
    end, fine = _found(a, b, start, among=_whole(inside[1]))
    if len(start):
        back, _ = _found(b, a, end.clamp_min(0), among=_whole(torch.ones_like(inside[0])))
        good = (end[:, 0] >= 0) & ((back - start).abs().amax(1) <= 1)
        start, end, fine = start[good], end[good], fine[good]
    scale = torch.tensor([size[1], size[0]])
    return (start.flip(1) + 0.5) / scale, ((end + fine).flip(1) + 0.5) / scale


# -- matching -----------------------------------------------------------------------------------------------------


def _found(a: Tensor, b: Tensor, start: Tensor, *, among: Tensor, block: int = 128) -> tuple[Tensor, Tensor]:
    """For patches of `a` at start [N,2] (row, column): the best place in `b` [N,2], -1 where there is none that is
    clear, and its part of a pixel [N,2]."""
    if not len(start):
        return start, start.float()
    side, span = 2 * _HALF + 1, 2 * _REACH + 1
    size = b.shape
    pad = _HALF + _REACH
    wide = torch.nn.functional.pad(b[None, None], (pad,) * 4)[0, 0]
    allowed = torch.nn.functional.pad(among[None, None].float(), (_REACH,) * 4)[0, 0]
    patches = _patches(a)[start[:, 0], start[:, 1]]  # [N, side * side], without mean, of length 1
    ends, fines = [], []
    for at, patch in zip(start.split(block), patches.split(block), strict=True):
        rows = at[:, 0, None] + torch.arange(span + side - 1)
        columns = at[:, 1, None] + torch.arange(span + side - 1)
        area = wide[rows[:, :, None], columns[:, None, :]]  # [n, span + side - 1, ...]
        free = allowed[at[:, 0, None, None] + torch.arange(span)[:, None], at[:, 1, None, None] + torch.arange(span)]
        n = len(at)
        taps = rearrange(patch, "n (y x) -> n 1 y x", y=side)
        product = conv2d(area[None], taps, groups=n)[0]
        mean = avg_pool2d(area[:, None], side, 1)[:, 0]
        square = avg_pool2d(area[:, None].square(), side, 1)[:, 0]
        spread = ((square - mean.square()).clamp_min(1e-7) * side * side).sqrt()
        score = torch.where(free > 0, product / spread, -1.0)
        best, index = score.flatten(1).max(1)
        row, column = index // span, index % span
        y, x = torch.meshgrid(torch.arange(span), torch.arange(span), indexing="ij")
        far = ((y - row[:, None, None]).abs() > 2) | ((x - column[:, None, None]).abs() > 2)
        other = torch.where(far, score, -1.0).flatten(1).amax(1)
        edge = (row == 0) | (row == span - 1) | (column == 0) | (column == span - 1)
        clear = (best > _ALIKE) & (other < best - _CLEAR) & ~edge
        place = at + torch.stack([row, column], 1) - _REACH
        ends.append(torch.where(clear[:, None], place, -1))
        fines.append(_peak(score, row.clamp(1, span - 2), column.clamp(1, span - 2)))
    end = torch.cat(ends)
    assert int(end[:, 0].max()) < size[0]
    return end, torch.cat(fines)


def _peak(score: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Part of a pixel [n,2], within half a pixel, from a parabola along each axis."""
    n = torch.arange(len(score))
    middle = score[n, row, column]
    parts = []
    for before, after in (
        (score[n, row - 1, column], score[n, row + 1, column]),
        (score[n, row, column - 1], score[n, row, column + 1]),
    ):
        bend = (before - 2 * middle + after).clamp_max(-1e-6)
        parts.append((0.5 * (before - after) / bend).clamp(-0.5, 0.5))
    return torch.stack(parts, 1)


def _patches(image: Tensor) -> Tensor:
    """[H,W] -> the patch around every pixel, without its mean and of length 1: [H,W,side * side]."""
    side = 2 * _HALF + 1
    flat = unfold(image[None, None], side, padding=_HALF)[0]
    return rearrange(normalize(flat - flat.mean(0), dim=0), "k (h w) -> h w k", h=image.shape[0])


def _whole(mask: Tensor) -> Tensor:
    """bool [H,W]: the whole patch lies in the mask and in the picture."""
    outside = torch.nn.functional.pad(1 - mask.float()[None, None], (_HALF,) * 4, value=1.0)
    return torch.nn.functional.max_pool2d(outside, 2 * _HALF + 1, 1)[0, 0] == 0


def _detail(image: Tensor) -> Tensor:
    """Mean square slope along the direction with the least of it (Shi and Tomasi), in each patch: [H,W]."""
    down, right = torch.gradient(image)
    products = torch.stack([down * down, right * right, down * right])[:, None]
    yy, xx, xy = avg_pool2d(products, 2 * _HALF + 1, 1, _HALF)[:, 0]
    return 0.5 * (yy + xx) - (0.25 * (yy - xx).square() + xy.square()).sqrt()


# -- fitting ------------------------------------------------------------------------------------------------------


def fitted_turn(a: Tensor, b: Tensor, near: float, *, draws: int = 500) -> tuple[Tensor, Tensor]:
    """The rotation with a = R b of bearings [N,3], by RANSAC on pairs of matches; and which agree, bool [N]."""
    pairs = torch.randint(len(a), (draws, 2), generator=torch.Generator().manual_seed(0))
    several = _kabsch(a[pairs], b[pairs], torch.ones(draws, 2, dtype=a.dtype))
    off = (a - torch.einsum("sij,nj->sni", several, b)).norm(dim=-1)
    agree = (off < near)[(off < near).sum(1).argmax()]
    rotation = several[0]
    for _ in range(5):
        rotation = _kabsch(a, b, agree.to(a.dtype))
        agree = (a - b @ rotation.T).norm(dim=-1) < near
    return rotation, agree


def _kabsch(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """R [*,3,3] that minimises the weighted sum of |a - R b|^2 over [*,N,3]."""
    return pose.orthonormalised(torch.einsum("...ni,...nj,...n->...ij", a, b, weight))


def fitted_pose(
    points: Tensor, b: Tensor, turn: Tensor, near: float, *, rounds: int = 20
) -> tuple[Tensor, Tensor, Tensor]:
    """R, t and which agree, of mu R b + t = X with mu > 0: points [N,3] as the first camera sees them, their bearings
    [N,3] in the second one. Depth that is off by a factor makes t off by it, and no more."""
    reach = 0.1 * points[:, 2].median()
    steps = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).to(points) * reach
    starts = [turn, torch.eye(3, dtype=points.dtype)]
    rotation = torch.cat([start.expand(len(steps), 3, 3) for start in starts])
    t = torch.cat([steps] * len(starts))
    identity = torch.eye(3, dtype=points.dtype)
    wide, fine = 2 * near, near / 4  # first to get there, then to leave wrong matches out
    for number in range(rounds):
        width = wide if number < rounds // 2 else fine
        seen, distance, off = _seen_off(points, b, rotation, t)
        # for R -> R exp(w) and t -> t + R d: seen -> seen + seen x w - d
        ahead = seen / distance
        onto = (identity - ahead[..., :, None] * ahead[..., None, :]) / distance[..., None]
        slope = onto @ torch.cat([pose.skew(seen), -identity.expand(*seen.shape, 3)], -1)
        turned, moved = _robust_step(slope, off, width).split(3, dim=1)
        t = t + torch.einsum("sij,sj->si", rotation, _at_most(moved, 2 * reach))
        rotation = rotation @ pose.exp_rotation(_at_most(turned, 0.2))
    off = _seen_off(points, b, rotation, t)[2].norm(dim=-1)
    best = (1 + (off / fine).square()).log().sum(1).argmin()
    return rotation[best], t[best], off[best] < near


def _robust_step(slope: Tensor, off: Tensor, width: float) -> Tensor:
    """The Gauss-Newton step [S,P] that lessens residuals `off` [S,N,3], whose slope in the P parameters is [S,N,3,P]; a
    residual counts as Cauchy's loss of that width has it."""
    weight = 1 / (1 + off.square().sum(-1) / width**2)
    normal = torch.einsum("snki,snkj,sn->sij", slope, slope, weight)
    damping = 1e-9 * normal.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
    normal = normal + damping * torch.eye(normal.shape[-1], dtype=normal.dtype)
    return -torch.linalg.solve(normal, torch.einsum("snki,snk,sn->si", slope, off, weight))


def _seen_off(points: Tensor, b: Tensor, rotation: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For poses [S]: the points as the second camera sees them [S,N,3], how far [S,N,1], and how far from b [S,N,3]."""
    seen = torch.einsum("sji,snj->sni", rotation, points - t[:, None])
    distance = seen.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return seen, distance, seen / distance - b


def _at_most(step: Tensor, length: float | Tensor) -> Tensor:
    return step * (length / step.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
