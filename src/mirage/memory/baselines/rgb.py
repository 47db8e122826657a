"""The explicit 3D baseline: a cloud of coloured points. What is read is rendered to pixels and encoded again.

`T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels, `N` points. Latents are decoded, every pixel is
lifted, the cloud is drawn at full resolution, and the picture goes through the encoder: the round trip of explicit
systems. The z-buffer, the splats and the store are those of the latent memory, so only the representation differs.

    write   latents --decode--> pixels --lift--> points            read   points --draw--> pixels --encode--> latents
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.memory.merge import cube_keys
from mirage.memory.points import PointColumns, Points, tile_order
from mirage.memory.projection.footprint import see
from mirage.memory.readout import Readout
from mirage.memory.table import History, Snapshot, Table

Decode = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""(latents [T,C,h,w] of a stream, what the call before returned or None) -> (frames [T,3,H,W] in [0, 1] at the moments
of these latents, state for the next call, which must never change). An autoencoder of video is causal: what a latent
shows depends on those before it."""
Encode = Callable[[Tensor], Tensor]
"""Frames [T,3,H,W] in [0, 1], each an image of its own -> latents [T,C,h,w]."""


class RGBPointMemory:
    """A `SpatialMemory` of pixels. Given the codec as two callables, it knows nothing of networks.

    voxel: points are merged in cubes this wide (world units), the first that were seen stay; None: every pixel of
        every frame is kept. A point is 12 bytes of position and 3 of colour, and 8 for what a read needs beside it.
    tolerance: relative difference in depth up to which neighbouring cells are one surface; see `upsampled`.
    """

    def __init__(
        self,
        channels: int,
        *,
        decode: Decode,
        encode: Encode,
        voxel: float | None = None,
        tolerance: float = 0.1,
        device: torch.device | str | None = None,
    ) -> None:
        if voxel is not None and not (math.isfinite(voxel) and voxel > 0):
            raise InputError(f"a voxel is a width in world units above 0, or None, got {voxel}")
        self.channels, self.voxel, self.tolerance = channels, voxel, tolerance
        self.decode, self.encode = decode, encode
        self._points = Points(3, features="uint8", device=device, pages=None)
        self._log = Table({"first_row": torch.empty(0, dtype=torch.int64, device=device)})
        self._history = History(self._log, self._points.rows, self._points.pages)
        self._stream: Any = None
        self._size: tuple[int, int] | None = None
        self._cubes = torch.empty(0, dtype=torch.int64, device=device)  # that hold a point, ascending; never changed

    # -- the two verbs ----------------------------------------------------------------------------------------------

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int:
        """Decode latents [T,C,h,w], which follow those written before, and lift their pixels; returns points added.

        `depth` [T,h,w] on the latent grid, or [T,H,W] of the pixels; `keep` [T,h,w] on the grid of the depth.
        """
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise InputError(f"a write takes latents [T,{self.channels},h,w], got {list(latents.shape)}")
        if depth.shape[:-2] != latents.shape[:1] or camera.shape != latents.shape[:1]:
            raise InputError(
                f"a write takes depth and a camera per latent frame, got {list(depth.shape)} and "
                f"{list(camera.shape)} for {len(latents)}"
            )
        frames, self._stream = self.decode(latents, self._stream)
        self._size = (frames.shape[-2], frames.shape[-1])
        depth = depth.to(self.device)
        depth = depth if keep is None else depth.masked(keep.to(self.device))
        depth = upsampled(depth, self._size, tolerance=self.tolerance)
        camera, frames = camera.to(self.device, torch.float32), frames.to(self.device)
        return sum(self._write_frame(frames[t], depth[t], camera[t]) for t in range(len(frames)))

    def read(self, camera: Camera, grid: tuple[int, int]) -> Readout:
        """What the cameras [T] see of the cloud, encoded. A cell is known if at least half of its pixels are.

        index, frame and depth are those of the cell's known pixel nearest to its centre; the offset is 0, because
        a rendered picture has no phase. Pixels that nothing covers are filled from around them before encoding.
        """
        if self._size is None or not len(self):
            return Readout.holes(len(camera), self.channels, grid)
        if any(pixels % cells for pixels, cells in zip(self._size, grid, strict=True)):
            raise InputError(f"pixels {self._size} are whole cells of the latent grid, got a grid of {grid}")
        pixels, covered, depth, index = self.render(camera)
        latents = self.encode(filled(pixels, covered))
        a, b = self._size[0] // grid[0], self._size[1] // grid[1]
        mask = reduce(covered.float(), "t (h a) (w b) -> t h w", "mean", a=a, b=b) >= 0.5
        t, row, column = _central(covered, (a, b))
        index, depth = index[t, row, column].masked_fill(~mask, -1), depth[t, row, column]
        return Readout(
            latents=latents * mask[:, None].to(latents.device),
            mask=mask,
            depth=DepthMap(depth, mask),
            index=index,
            frame=self._frame_of(index),
            offset=torch.zeros(len(camera), 2, *grid, device=mask.device),
        )

    def render(self, camera: Camera) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The cloud as the cameras [T] see it: colours [T,3,H,W] in [0, 1], which pixels are covered [T,H,W], their
        depth and the point that won, -1 for none."""
        assert self._size is not None, "nothing was written, so there is no picture size"
        seen = see(
            self._points.cloud, self._points.rows["footprint"], camera.to(self.device), self._size, front=0.0, fill=True
        )
        covered = seen.index >= 0
        if not len(self):
            return torch.zeros(len(camera), 3, *self._size, device=self.device), covered, seen.depth, seen.index
        colours = self._points.features(seen.index.flatten().clamp_min(0), torch.float32).div_(255)
        pixels = rearrange(colours, "(t h w) c -> t c h w", h=self._size[0], w=self._size[1])
        return pixels.masked_fill_(~covered[:, None], 0), covered, seen.depth, seen.index

    # -- keeping ----------------------------------------------------------------------------------------------------

    def touch(self, readout: Readout) -> None:
        """Nothing to remember: nothing is ever evicted."""

    def snapshot(self) -> tuple[Snapshot, Any, tuple[int, int] | None, Tensor]:
        """This moment, to come back to; see `LatentSpatialMemory.snapshot`."""
        return self._history.snapshot(), self._stream, self._size, self._cubes

    def restore(self, snapshot: tuple[Snapshot, Any, tuple[int, int] | None, Tensor]) -> None:
        """Come back to a moment."""
        moment, self._stream, self._size, self._cubes = snapshot
        self._history.restore(moment)

    def __repr__(self) -> str:
        return f"RGBPointMemory({len(self):,} points, {self.nbytes / 2**20:.1f} MiB on {self.device})"

    def __len__(self) -> int:
        return len(self._points)

    @property
    def nbytes(self) -> int:
        """Bytes allocated for the cloud, used or not; the codec's state, which shows the walk too, is not counted."""
        return self._log.nbytes + self._points.rows.nbytes + self._points.pages.nbytes + self._cubes.nbytes

    @property
    def points(self) -> PointColumns:
        """The cloud as columns: position [N,3], colour [N,3] in [0, 1], frame, footprint."""
        everything = torch.arange(len(self), device=self.device)
        return PointColumns(
            self._points.position,
            self._points.features(everything, torch.float32) / 255,
            self._frame_of(everything),
            self._points.rows["footprint"],
        )

    @property
    def device(self) -> torch.device:
        return self._points.rows.device

    # -- how a frame enters -----------------------------------------------------------------------------------------

    def _write_frame(self, frame: Tensor, depth: DepthMap, camera: Camera) -> int:
        size = (depth.shape[-2], depth.shape[-1])
        cells = tile_order(size).to(self.device)
        cells = cells[depth.valid.flatten()[cells]]
        position = camera.unproject(cell_centers(size, device=self.device), depth.z.float()).flatten(0, 1)[cells]
        colour = rearrange(frame, "c h w -> (h w) c")[cells] * 255
        footprint = depth.z.flatten()[cells] / (camera.intrinsics[:2] * position.new_tensor(size).flip(0)).min()
        if self.voxel is not None:
            position, colour, footprint = self._merged(position, colour, footprint, self.voxel)
        number = len(self._log)
        self._log.append(first_row=torch.tensor([len(self)], device=self.device))
        if len(position):
            self._points.append(position, colour.round().clamp(0, 255).to(torch.uint8), number, footprint)
        return len(position)

    def _merged(
        self, position: Tensor, colour: Tensor, footprint: Tensor, voxel: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The means of what falls into each cube, of the cubes that hold nothing yet. A point is as large as its cube
        at least."""
        keys, cube = cube_keys((position / voxel).floor().long()).unique(return_inverse=True)
        number = torch.bincount(cube, minlength=len(keys))[:, None]

        def mean(values: Tensor) -> Tensor:
            return values.new_zeros(len(keys), values.shape[1]).index_add_(0, cube, values) / number

        at = torch.searchsorted(self._cubes, keys)
        new = torch.ones_like(keys, dtype=torch.bool)
        if len(self._cubes):
            new = self._cubes[at.clamp_max(len(self._cubes) - 1)] != keys
        self._cubes = _inserted(self._cubes, keys[new], at[new])
        size = mean(footprint[:, None])[:, 0].clamp_min(voxel)
        return mean(position)[new], mean(colour)[new], size[new]

    def _frame_of(self, rows: Tensor) -> Tensor:
        """The written frame that made each of `rows` [*]; -1 of -1."""
        return (torch.searchsorted(self._log["first_row"], rows.contiguous(), right=True) - 1).int()


def _inserted(ascending: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Ascending values [k] put into ascending [n] before its elements `at` [k], as a new tensor."""
    at = at + torch.arange(len(at), device=at.device)
    stays = torch.ones(len(ascending) + len(values), dtype=torch.bool, device=at.device)
    stays[at] = False
    both = ascending.new_empty(len(stays))
    both[at], both[stays] = values, ascending
    return both


def _central(covered: Tensor, cell: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of every cell of `cell` (a, b) pixels the covered pixel nearest to its centre: t, row, column, each [T,h,w]."""
    a, b = cell
    aside = (cell_centers(cell, device=covered.device) - 0.5).square().sum(-1).flatten()
    order = aside.argsort(stable=True)
    ranked = rearrange(covered, "t (h a) (w b) -> t h w (a b)", a=a, b=b).index_select(-1, order)
    pixel = order[ranked.to(torch.uint8).argmax(-1)]
    t, row, column = (torch.arange(n, device=covered.device) for n in pixel.shape)
    return t[:, None, None], row[:, None] * a + pixel // b, column * b + pixel % b


def upsampled(depth: DepthMap, size: tuple[int, int], *, tolerance: float = 0.1) -> DepthMap:
    """Depth [T,h,w] at `size` (H, W) without blending across silhouettes, or with what is invalid.

    A pixel takes the inverse depth, which is linear on a plane, interpolated between those of the four cells around it
    whose depth is within `tolerance` (relative) of the nearest cell's; it is valid if the nearest cell is.
    """
    if depth.shape[-2:] == size:
        return depth
    nearest = depth.resized(size)
    inverse = torch.where(depth.valid, 1 / depth.z, 0.0)  # a missing cell is near to nothing
    middle = torch.where(nearest.valid, 1 / nearest.z, 0.0)
    weight, total = torch.zeros_like(middle), torch.zeros_like(middle)
    (top, bottom, down), (left, right, across) = (
        _neighbours(n, pixels, depth.z.device) for n, pixels in zip(depth.shape[-2:], size, strict=True)
    )
    for rows, share_down in ((top, 1 - down), (bottom, down)):
        picked = inverse.index_select(-2, rows)
        for columns, share_across in ((left, 1 - across), (right, across)):
            there = picked.index_select(-1, columns)
            share = ((middle - there).abs_() <= tolerance * there) * (share_down[:, None] * share_across)
            weight += share
            total += share.mul_(there)
    return DepthMap(torch.where(nearest.valid, weight / total.clamp_min_(1e-12), nearest.z), nearest.valid)


def _neighbours(cells: int, pixels: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For every pixel centre along one side: the cells before and after it, and how far it is on the way."""
    at = ((torch.arange(pixels, device=device) + 0.5) * cells / pixels - 0.5).clamp(0, cells - 1)
    before = at.floor().long().clamp_max(max(cells - 2, 0))
    return before, (before + 1).clamp_max(cells - 1), at - before


def filled(values: Tensor, known: Tensor) -> Tensor:
    """Values [T,C,H,W] with what is not `known` [T,H,W] taken from around it: pulled from ever coarser means.

    A network that looks at a picture with black holes sees their edges everywhere; this keeps a baseline from suffering
    by them. All zeros where nothing is known at all.
    """
    if bool(known.all()):
        return values
    share, kept = known[:, None].to(values), values.masked_fill(~known[:, None], 0)
    if min(values.shape[-2:]) == 1:
        return torch.where(
            known[:, None], values, kept.sum((-1, -2), keepdim=True) / share.sum((-1, -2), keepdim=True).clamp_min(1)
        )
    shares = avg_pool2d(share, 2, ceil_mode=True)
    coarse = filled(avg_pool2d(kept, 2, ceil_mode=True) / shares.clamp_min(1e-6), shares[:, 0] > 0)
    t, row, column = (~known).nonzero().unbind(-1)
    rearrange(kept, "t c h w -> t h w c")[t, row, column] = rearrange(coarse, "t c h w -> t h w c")[
        t, row // 2, column // 2
    ]
    return kept
