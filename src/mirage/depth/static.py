"""What may enter the memory: what stands still. A thing that moved would haunt the place where it stood.

`T` latent frames, `J` frames to compare with, `C` channels, `h w` latent grid, `N` = h * w cells. No model is asked;
what moves gives itself away to frames of the same chunk and to earlier ones:

    seen through    a frame saw what lies behind this point: it was not there then
    changed         a frame sees the surface at this place, but it looks different

Each is a share of the frames that show it. A single cell's share is noisy, and a thing that moves by less than its own
width is seen through at its edges only; so the shares flow between neighbouring cells that look alike and lie at one
depth, and a thing is judged nearly as a whole. What is usual in a chunk (how far depths of one surface differ, how far
each channel does) is measured in it. All constants were chosen on scenes 200 to 227; docs/memory.md has the figures.

Somebody with a better eye (a segmenter, a painted video) gives a mask; it is added to what is found here.
"""

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.visibility import Sight, sight

Past = tuple[Tensor, DepthMap, Camera]
"""Earlier frames: latents [J,C,h,w], depth [J,h,w], camera [J]."""

_SEEN_THROUGH, _CHANGED = 0.012, 1.4
"""Shares, after they have flowed, that are a motion: of frames; of frames times the difference, in units of `usual`."""
_MARGIN = 0.03
"""Depth that is noisier than this must be seen through by as much more."""
_SIGMAS = 2.5
"""Noise of the depth, in standard deviations, that two frames are granted before one sees through the other."""
_ALIKE = 8.0
"""Difference, in units of `usual`, across which little flows."""
_ROUNDS = 12
"""How often shares flow to the next cell."""
_PAST = 16
"""Earlier frames that are asked, spread evenly: more add little."""


def static(
    latents: Tensor,
    depth: DepthMap,
    camera: Camera,
    *,
    past: Past | None = None,
    moving: Tensor | None = None,
    tolerance: float = 0.05,
) -> Tensor:
    """Cells [T,h,w] of a chunk that may be written: bool, True where the depth is valid and nothing says it moves.

    latents [T,C,h,w], depth [T,h,w], camera [T]: the chunk.
    past: earlier frames of the walk; the last one counts like a frame of the chunk, of the others 16 are asked.
    moving: [T,h,w] bool, cells that somebody else knows to move.
    tolerance: least relative depth difference that counts; more where the chunk's own depths differ by more.

    One frame alone says nothing about motion. What moves less than a cell is not found.
    """
    for name, given in (("depth", depth), ("moving", moving)):
        if given is not None and given.shape != latents.shape[:1] + latents.shape[2:]:
            raise InputError(f"{name} is [T,h,w] like the latents {list(latents.shape)}, got {list(given.shape)}")
    if camera.shape != latents.shape[:1]:
        raise InputError(f"{len(latents)} latent frames have one camera each, got {list(camera.shape)}")
    if past is not None and past[0].shape[1:] != latents.shape[1:]:
        raise InputError(f"earlier latents are [J,C,h,w] like {list(latents.shape)}, got {list(past[0].shape)}")
    T = len(latents)
    around, every, views = _together(latents, depth, camera.to(depth.z.device, depth.z.dtype), past)
    look = around / around[-T - 1 :].std((0, 2, 3), keepdim=True).clamp_min(1e-6)

    places = [t for t in range(len(around) - T, len(around))]
    origin, direction = views.rays((depth.shape[-2], depth.shape[-1]))
    points = (origin[:, None, None] + every.z[..., None] * direction).flatten(1, 2)[places]
    noise = _noise(points, places, views, every)
    sights = [
        _others(sight(p, views, every, tolerance=max(tolerance, _SIGMAS * noise)), t)
        for p, t in zip(points, places, strict=True)
    ]
    differences = _differences(sights, look, places)
    on, before = (torch.stack([getattr(one, name) for one in sights]) for name in ("on", "before"))
    usual = _usual(differences, on)

    changed = (differences / usual[:, None]).mean(2).sqrt()
    count = on.sum(1)
    through = before.sum(1) / (before.sum(1) + count + 1)
    shares = torch.stack([through, (changed * on).sum(1) / (count + 1)])
    shares = shares.unflatten(-1, (depth.shape[-2], depth.shape[-1]))
    look = look[places] / (_ALIKE * usual.sqrt())[:, None, None]
    through, changed = _flowed(shares, look, depth, jump=max(tolerance, 2 * noise))
    moves = (through > max(_SEEN_THROUGH, noise - _MARGIN)) | (changed > _CHANGED)
    return depth.valid & ~(moves if moving is None else moves | moving.to(moves.device))


def cells(mask: Tensor, grid: tuple[int, int], *, frames: int = 4) -> Tensor:
    """A mask of video frames [frames*T,H,W], above 0 where something moves, as cells [T,h,w] of latents that stand for
    so many `frames` each: a cell moves if any of its pixels does in any of them."""
    if mask.ndim != 3 or len(mask) % frames:
        raise InputError(f"a mask of what moves is [{frames}T,H,W] for T latents, got {list(mask.shape)}")
    found = torch.nn.functional.adaptive_max_pool2d((mask > 0).float(), grid)
    return found.unflatten(0, (-1, frames)).amax(1) > 0


def _together(latents: Tensor, depth: DepthMap, camera: Camera, past: Past | None) -> tuple[Tensor, DepthMap, Camera]:
    """Earlier frames, the very last of them, then the chunk."""
    if past is None or not len(past[0]):
        return latents.float(), depth, camera
    n = len(past[0]) - 1
    some = [*torch.linspace(0, n - 1, min(_PAST, n)).round().long().tolist(), n]
    before, seen, eye = past[0][some].to(latents.device), past[1][some].to(depth.z.device), past[2][some]
    return (
        torch.cat([before, latents]).float(),
        DepthMap.concatenate([DepthMap(seen.z.to(depth.z.dtype), seen.valid), depth]),
        Camera.concatenate([eye.to(depth.z.device, depth.z.dtype), camera]),
    )


def _noise(points: Tensor, places: list[int], camera: Camera, depth: DepthMap) -> float:
    """Standard deviation by which depths of one surface differ from frame to frame, relative: from the median, so
    that neither what moves nor what is hidden counts."""
    h, w = depth.shape[-2:]
    found = []
    for p, t in zip(points, places, strict=True):
        uv, z = camera.project(p)
        u, v = uv.nan_to_num(-1, -1, -1).unbind(-1)
        cell = (v * h).clamp(0, h - 1).long() * w + (u * w).clamp(0, w - 1).long()
        there, valid = depth.z.flatten(1).gather(1, cell), depth.valid.flatten(1).gather(1, cell)
        valid &= (z > 0) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1) & depth.valid[t].flatten()
        valid[t] = False
        found.append((z / there - 1)[valid])
    apart = torch.cat(found).abs()
    return 1.4826 * apart.median().item() if len(apart) else 0.0


def _others(one: Sight, t: int) -> Sight:
    """Without what frame t says of itself."""
    others = torch.ones_like(one.on)
    others[t] = False
    return Sight(one.on & others, one.before & others, one.behind & others, one.uv)


def _differences(sights: list[Sight], look: Tensor, places: list[int]) -> Tensor:
    """Squared difference [T,J,C,N] of each cell from where it lands. What the four cells around a landing span is none,
    or every edge in a pattern would be one."""
    h, w = look.shape[-2:]
    low, high = -_corners(-look), _corners(look)
    found = []
    for one, t in zip(sights, places, strict=True):
        u, v = one.uv.nan_to_num(0, 0, 0).unbind(-1)
        corner = (v * h + 0.5).clamp(0, h).long() * (w + 1) + (u * w + 0.5).clamp(0, w).long()
        here, below, above = look[t].flatten(1)[None], _gathered(low, corner), _gathered(high, corner)
        found.append(torch.maximum(below - here, here - above).clamp_min(0).square())
    return torch.stack(found)


def _usual(differences: Tensor, on: Tensor) -> Tensor:
    """What four fifths of the squared differences of each channel stay below, [C]: channels that change with the view
    anyway count for little."""
    compared = differences.transpose(2, 3)[on]
    if not len(compared):
        return differences.new_ones(differences.shape[2])
    return compared.kthvalue(1 + int(0.8 * (len(compared) - 1)), dim=0).values + 0.02


def _flowed(shares: Tensor, look: Tensor, depth: DepthMap, *, jump: float) -> Tensor:
    """Shares [K,T,h,w], averaged with the four neighbours again and again, as far as those look alike and continue."""
    flow = []
    for axis in (-1, -2):
        n = depth.shape[axis] - 1
        (look_a, look_b), (z_a, z_b), (valid_a, valid_b) = (
            (x.narrow(axis, 0, n), x.narrow(axis, 1, n)) for x in (look, depth.z, depth.valid)
        )
        apart = (look_a - look_b).square().mean(1) + ((z_a / z_b).log() / jump).square()
        flow.append((axis, n, torch.exp(-apart) * (valid_a & valid_b)))
    total = torch.ones_like(depth.z)
    for axis, n, weight in flow:
        total.narrow(axis, 0, n).add_(weight)
        total.narrow(axis, 1, n).add_(weight)
    for _ in range(_ROUNDS):
        summed = shares.clone()
        for axis, n, weight in flow:
            summed.narrow(axis, 0, n).add_(weight * shares.narrow(axis, 1, n))
            summed.narrow(axis, 1, n).add_(weight * shares.narrow(axis, 0, n))
        shares = summed / total
    return shares


def _gathered(values: Tensor, index: Tensor) -> Tensor:
    """Values [S,C,a,b] at flat places [S,N]: [S,C,N]."""
    return values.flatten(2).gather(2, index[:, None].expand(-1, values.shape[1], -1))


def _corners(values: Tensor) -> Tensor:
    """Largest of the cells around each corner of the grid: [T,C,h,w] -> [T,C,h+1,w+1]."""
    return torch.nn.functional.max_pool2d(values, 2, stride=1, padding=1)
