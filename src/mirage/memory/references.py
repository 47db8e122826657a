"""Which past frames a denoiser should look at: those that together see the most of what it is about to draw.

`T` target cameras, `J` past frames, `h w` latent grid, `N` sampled target cells. The memory says what the targets will
show; a past frame counts for a cell if it saw that very surface and not something before it. Four frames that each see
the same half of the target are worth one, so they are chosen greedily, each for what the others leave
(`benchmarks/bounds.py` compares the choices). It stands beside the memory because training and inference must choose
alike.
"""

from functools import singledispatch

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.geometry.visibility import sight
from mirage.memory.readout import Readout

_SAMPLES = 1024
"""Target cells that are asked about, spread evenly over the known ones: a share of cells is then good to a percent."""


@singledispatch
def pick_references(
    memory: object, readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int
) -> list[int]:
    """Up to `count` of the past frames `history` [J], with depth [J,h,w], that a denoiser should look at while it draws
    what `camera` [T] sees; `readout` is what `memory` showed to those cameras.

    By the surfaces that the readout knows (`choose_references`), unless a kind of memory has a rule of its own, which
    its file registers: `@pick_references.register`. `baselines/frames.py` is an example.
    """
    return choose_references(readout, camera, history, depth, count=count)


def choose_references(
    readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int = 4
) -> list[int]:
    """Up to `count` frames of `history` [J], the most useful first; fewer where no other frame sees anything of it.

    readout: what the target cameras `camera` [T] see of the memory.
    depth: of the past frames [J,h,w], at any resolution; the latent grid is enough.

    Each frame is the one that sees most of the cells that those before it do not; once they see together all that can
    be seen, the cells count anew. Between equals the newest wins. The same input gives the same answer.
    """
    if len(camera.shape) != 1 or len(camera) != len(readout):
        raise InputError(f"the readout has {len(readout)} target cameras, got cameras {list(camera.shape)}")
    if len(history.shape) != 1 or depth.shape[:-2] != history.shape:
        raise InputError(f"past cameras [J] come with depth [J,h,w], got {list(history.shape)} and {list(depth.shape)}")
    if not len(history) or not readout.mask.any():
        return []
    points = known_points(readout, camera)
    seen = sight(points, history.to(points.device, points.dtype), depth).on
    return _greedy(seen, count)


def best_overlap_first(
    readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int = 4, least: float = 0.04
) -> list[int]:
    """As `choose_references`, by the rule of the published training: each frame by itself, for the share that it sees
    of the target camera that it has most in common with; the best first, of equals the oldest, none below `least`.

    The published overlap is of voxels, walls or not; here it is of the target's surface as far as the frame sees it.
    """
    if not len(history) or not readout.mask.any():
        return []
    points = known_points(readout, camera)
    seen = sight(points, history.to(points.device, points.dtype), depth).on.float()
    target, _ = _known_cells(readout, _SAMPLES)
    of = torch.nn.functional.one_hot(target, len(camera)).to(seen)  # [N,T]
    shares = ((seen @ of) / of.sum(0).clamp_min(1)).amax(-1)  # [J]
    order = shares.argsort(descending=True, stable=True)[:count]
    return [int(frame) for frame in order if shares[frame] >= least]


def choose_by_overlap(camera: Camera, history: Camera, depth: DepthMap, *, count: int = 4) -> list[int]:
    """As `choose_references` for a memory without geometry: by what the views have in common, whatever stands in them.

    The targets' views are sampled at three depths around the median of `depth` [J,h,w], from which only this scale is
    taken. A past frame counts for a sample in its view that lies at most twice as far from it as from the target, and
    at least half as far: else it shows the place at another size, if at all.
    """
    if not len(history) or not depth.valid.any():
        return []
    grid = (6, 8)
    near = depth.z[depth.valid].median() / 2
    z = (near * near.new_tensor([1.0, 2.0, 4.0]))[:, None, None].expand(len(camera), 3, *grid)
    uv = cell_centers(grid, device=z.device).expand(*z.shape, 2)
    points = camera.to(z.device, z.dtype).unproject(uv, z).flatten(0, -2)
    there, ahead = history.to(z.device, z.dtype).project(points)
    ratio = ahead / z.flatten()
    return _greedy((ratio >= 0.5) & (ratio <= 2) & ((there >= 0) & (there <= 1)).all(-1), count)


def known_points(readout: Readout, camera: Camera, *, samples: int = _SAMPLES) -> Tensor:
    """World positions [N,3] of at most `samples` known cells of a readout, spread evenly over them."""
    h, w = readout.mask.shape[-2:]
    t, cell = _known_cells(readout, samples)
    offset = readout.offset.flatten(-2)[t, :, cell] / readout.offset.new_tensor([w, h])
    uv = cell_centers((h, w), device=t.device).flatten(0, 1)[cell] + offset
    z = readout.depth.z.flatten(-2)[t, cell]
    return camera.to(z.device, z.dtype)[t].unproject(uv[:, None], z[:, None])[:, 0]


def _known_cells(readout: Readout, samples: int) -> tuple[Tensor, Tensor]:
    """Target [N] and flat cell [N] of at most `samples` known cells, spread evenly over them."""
    h, w = readout.mask.shape[-2:]
    known = readout.mask.flatten().nonzero()[:, 0]
    if len(known) > samples:
        known = known[torch.arange(samples, device=known.device) * len(known) // samples]
    return known // (h * w), known % (h * w)


def _greedy(seen: Tensor, count: int) -> list[int]:
    """Rows of `seen` [J,N] whose union grows fastest."""
    newest_first = seen.flip(0).float()
    left = torch.ones_like(newest_first[0])
    free = newest_first.new_ones(len(seen))
    chosen: list[int] = []
    while len(chosen) < count:
        gain = (newest_first @ left) * free
        best = int(gain.argmax())  # of equals the first: the newest
        if gain[best] > 0:
            chosen.append(len(seen) - 1 - best)
            free[best] = 0
            left *= 1 - newest_first[best]
        elif (left == 1).all():  # no frame that is left sees anything at all
            break
        else:
            left = torch.ones_like(left)
    return chosen
