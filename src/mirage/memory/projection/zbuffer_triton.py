"""The z-buffer for CUDA: `zbuffer_torch` of zbuffer.py, to the bit, as a Triton kernel.

One program takes one page that one camera may see, and lets its points compete for their cells by an atomic minimum
on 64-bit keys: rank bits above, id below. The minimum does not depend on the order of arrival, so the answer does not
either. Fused multiply-adds are switched off and the division is the correctly rounded one, or the last bits of a
projection would differ from the other twins and with them, now and then, a winner.
"""

import torch
import triton  # pyright: ignore[reportMissingImports] -- comes with torch for CUDA
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from mirage.memory.points import PAGE, Cloud
from mirage.memory.projection.hits import Hits, hits

_NOBODY = torch.iinfo(torch.int64).max
OPTIONS = {"PAGE": PAGE, "LANES": triton.next_power_of_2(PAGE)}
"""Compile-time constants of the kernel, beside BANDED and CHOOSING."""


def zbuffer_triton(
    cloud: Cloud,
    matrix: Tensor,
    size: tuple[int, int],
    visible: Tensor,
    front: float,
    within: tuple[Tensor, Tensor] | None,
    near: float,
) -> Hits:
    """See `zbuffer_torch`."""
    h, w = size
    camera, page = visible.nonzero().unbind(-1)
    nearest = torch.full((len(matrix), h, w), torch.inf, device=cloud.device)
    low, high = (nearest, nearest) if within is None else (bound.float().contiguous() for bound in within)

    def compete(*, choosing: bool) -> Tensor:
        keys = torch.full((len(matrix), h, w), _NOBODY, device=cloud.device)
        if len(page):
            compete_kernel[(len(page),)](  # pyright: ignore[reportIndexIssue]
                cloud.x,
                cloud.y,
                cloud.z,
                camera,
                page,
                matrix.contiguous(),
                low,
                high,
                nearest,
                keys,
                h,
                w,
                near,
                1 + front,
                BANDED=within is not None,
                CHOOSING=choosing,
                **OPTIONS,
                num_warps=4,
                enable_fp_fusion=False,
            )
        return keys

    keys = compete(choosing=False)
    if front > 0:
        nearest = torch.where(keys == _NOBODY, torch.inf, (keys >> 32).int().view(torch.float32))
        keys = compete(choosing=True)
    return hits(cloud, matrix, torch.where(keys == _NOBODY, -1, keys & 0xFFFFFFFF))


@triton.jit
def compete_kernel(
    x_ptr,
    y_ptr,
    z_ptr,
    camera_ptr,
    page_ptr,
    matrix_ptr,
    low_ptr,
    high_ptr,
    nearest_ptr,
    key_ptr,
    h,
    w,
    near,
    slack,
    BANDED: tl.constexpr,
    CHOOSING: tl.constexpr,
    PAGE: tl.constexpr,
    LANES: tl.constexpr,
):
    """The points of one page compete in one camera: by z, or, `CHOOSING`, by distance to the cell's centre among
    those with z <= slack * nearest. `BANDED`: only points with low <= z <= high of their cell exist."""
    program = tl.program_id(0)
    camera = tl.load(camera_ptr + program)
    lane = tl.arange(0, LANES)
    point = tl.load(page_ptr + program) * PAGE + lane
    live = lane < PAGE
    x = tl.load(x_ptr + point, live, 0.0)
    y = tl.load(y_ptr + point, live, 0.0)
    z = tl.load(z_ptr + point, live, 0.0)
    row = matrix_ptr + camera * 12
    across = x * tl.load(row) + y * tl.load(row + 1) + z * tl.load(row + 2) + tl.load(row + 3)
    down = x * tl.load(row + 4) + y * tl.load(row + 5) + z * tl.load(row + 6) + tl.load(row + 7)
    ahead = x * tl.load(row + 8) + y * tl.load(row + 9) + z * tl.load(row + 10) + tl.load(row + 11)
    inverse = tl.div_rn(1.0, ahead)
    u, v = across * inverse, down * inverse
    live = live & (ahead > near) & (u >= 0) & (u < w) & (v >= 0) & (v < h)
    column, line = tl.where(live, u, 0.0).to(tl.int32), tl.where(live, v, 0.0).to(tl.int32)
    cell = camera * h * w + line * w + column
    if BANDED:
        live = live & (ahead >= tl.load(low_ptr + cell, live, 0.0)) & (ahead <= tl.load(high_ptr + cell, live, 0.0))
    rank = ahead
    if CHOOSING:
        live = live & (ahead <= tl.load(nearest_ptr + cell, live, 0.0) * slack)
        aside, below = u - column.to(tl.float32) - 0.5, v - line.to(tl.float32) - 0.5
        rank = aside * aside + below * below
    key = (rank.to(tl.int32, bitcast=True).to(tl.int64) << 32) | point
    live = live & (key < tl.load(key_ptr + cell, live, 0))  # most lose without an atomic
    tl.atomic_min(key_ptr + cell, key, live, sem="relaxed")
