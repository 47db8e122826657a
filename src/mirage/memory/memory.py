"""The latent spatial memory: what was seen, as points that carry latents, kept where it was seen.

`T` latent frames, `C` latent channels, `h w` latent grid, `N` points. Poses are camera-to-world, OpenCV axes; depth is
z, in world units; image coordinates live in the unit square. The memory knows geometry and nothing of VAEs, images,
nets or prompts.

>>> memory = LatentSpatialMemory(channels=48)
>>> added = memory.write(latents, depth, camera)            # [T,48,h,w], DepthMap [T,h,w], Camera [T]
>>> readout = memory.read(elsewhere, grid=(44, 80))         # readout.latents, readout.mask, readout.depth, ...
"""

import math
import os
from dataclasses import asdict, replace
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError, check_number, short
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthLike, DepthMap
from mirage.geometry.grid import cell_centers
from mirage.geometry.pose import is_rigid
from mirage.kinds import checked
from mirage.memory.accepted import check_room, frames_to_write, views_to_read
from mirage.memory.gradient import Source, connected
from mirage.memory.points import PAGE, Cloud, PointColumns, Points, tile_order, worth
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint import see
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.zbuffer import Backend
from mirage.memory.readout import Readout
from mirage.memory.regions import Region, inside
from mirage.memory.statefile import read_state, write_state
from mirage.memory.table import History, Snapshot, Table

Columns = tuple[Tensor, Tensor, Tensor, Tensor]
"""Points as `Points.append` takes them: position [k,3], feature [k,C], frame [k], footprint [k]."""
_WITNESSES = 48
"""Past cameras that are asked which tiles they would miss, spread evenly over the walk."""


class LatentSpatialMemory:
    """A persistent, bounded, deterministic store of latent points. The one mutable noun of this room.

    `dtype` is that of the latents a read returns; how features are kept is `policy.features`.
    """

    @checked
    def __init__(
        self,
        channels: int,
        *,
        policy: MemoryPolicy = MemoryPolicy(),  # noqa: B008 -- a frozen value
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_number("the channels of a memory", channels, kind=int, low=1, high=2**16)
        if not dtype.is_floating_point:
            raise InputError(f"a memory shows latents of a floating point dtype, got {dtype}")
        self.channels, self.policy, self.dtype = channels, policy, dtype
        self._sources: list[Source] = []  # of gradients
        log = {
            "index": torch.empty(0, dtype=torch.int32, device=device),
            "c2w": torch.empty(0, 4, 4, dtype=torch.float32, device=device),
            "intrinsics": torch.empty(0, 4, dtype=torch.float32, device=device),
        }
        frames, pages = None, None
        if policy.max_bytes is not None:
            # a sixteenth for the cameras of written frames, the rest for points; both allocated once, never doubled
            frames = max(1, policy.max_bytes // 16 // Table(log).row_bytes)
            page_bytes = Points(channels, features=policy.features, device=device, pages=None).page_bytes
            pages = (policy.max_bytes - frames * Table(log).row_bytes) // page_bytes
            if pages < 1:
                raise InputError(
                    f"a memory of {policy.max_bytes} bytes holds no tile of {PAGE} points; "
                    f"give it at least {page_bytes + frames * Table(log).row_bytes} bytes"
                )
        try:
            self._log = Table(log, limit=frames)
            self._points = Points(channels, features=policy.features, device=device, pages=pages)
        except RuntimeError as error:
            if policy.max_bytes is None:
                raise
            raise InputError(
                f"a budget of {policy.max_bytes} bytes is taken at once, and this machine does not have them; give less"
            ) from error
        self._history = History(self._log, self._points.rows, self._points.pages)
        self._room = math.inf if pages is None else pages * PAGE

    # -- the two verbs ----------------------------------------------------------------------------------------------

    @checked
    def write(self, latents: Tensor, depth: DepthLike, camera: CameraLike, *, keep: Tensor | None = None) -> int:
        """Lift latents [T,C,h,w] at their depth [T,h,w] into the world; returns how many points were added.

        A cell with invalid depth, or where `keep` [T,h,w] is False, never becomes a point. Frames enter one after the
        other, each against what the memory knows by then, the earlier frames of the same write included. A point
        that replaces a coarser one is not counted as added.
        """
        given = frames_to_write(latents, depth, camera, keep, channels=self.channels)
        check_room(given, features=self.policy.features, room=self._room, max_bytes=self.policy.max_bytes)
        if latents.requires_grad and torch.is_grad_enabled():
            source = Source(self.frames_written, latents.view(given.latents.shape), given.camera.to(self.device))
            self._sources = [one for one in self._sources if one.end <= source.first] + [source]
        latents, camera = given.latents, given.camera.to(self.device, torch.float32)
        z, admitted = given.depth.z.to(self.device).float(), given.admitted.to(self.device)
        columns = self._lifted(latents, z, camera)
        order = tile_order((z.shape[-2], z.shape[-1])).to(self.device)
        if self.policy.admit == "all" and self.policy.max_bytes is None:  # all frames at once: nobody asks, nobody goes
            cells = (order + torch.arange(0, z.numel(), len(order), device=self.device)[:, None]).flatten()
            cells = cells[admitted.flatten()[cells]]
            self._log_cameras(camera)
            self._points.append(*_rows(columns, cells))
            return len(cells)
        hw, added = len(order), 0
        band = z * (1 - self.policy.tolerance), z * (1 + self.policy.tolerance)
        for t in range(len(z)):
            position, feature, frame, footprint = (column[t * hw : (t + 1) * hw] for column in columns)
            added += self._write_frame(
                (position, feature, frame, footprint),
                order[admitted[t].flatten()[order]],
                camera[t : t + 1],
                (band[0][t : t + 1], band[1][t : t + 1]),
            )
        return added

    @checked
    def read(
        self,
        camera: CameraLike,
        grid: tuple[int, int] = (44, 80),
        *,
        differentiable: bool = False,
        backend: Backend | None = None,
    ) -> Readout:
        """What the cameras [T] see of the memory, on an h x w grid; one camera [] is one view. An empty memory is all
        holes.

        differentiable   gradients of the readout's latents reach those latents that were written while they required
                         grad, since the memory was last cleared, restored or moved; all else is detached always
        backend          one twin of the z-buffer by name; all give the same readout
        """
        seen = self._see(views_to_read(camera, grid), grid, front=self.policy.front, backend=backend)
        mask = seen.index >= 0
        holes = (~mask).flatten().nonzero()[:, 0]
        rows = seen.index.flatten().clamp_min(0)
        latents, frame = self._points.show(rows, self.dtype)
        latents[holes], frame[holes] = 0, -1
        h, w = grid
        readout = Readout(
            latents=rearrange(latents, "(t h w) c -> t c h w", h=h, w=w),
            mask=mask,
            depth=DepthMap(seen.depth, mask),
            index=seen.index,
            frame=frame.view_as(seen.index),
            offset=seen.offset,
        )
        if not differentiable:
            return readout
        return replace(readout, latents=connected(readout.latents, readout, self._points.position, self._sources))

    @checked
    def touch(self, readout: Readout) -> None:
        """Says that a readout of this memory was used: under a budget that evicts what is "least_read", its pages are
        as good as just read. A read by itself changes nothing, so that looking around costs no memory."""
        if self.policy.evict == "least_read" and self.policy.max_bytes is not None:
            pages = torch.unique(readout.index[readout.mask] // PAGE)
            self._points.pages.put(pages, read=torch.full_like(pages, self._points.clock + 1))

    @checked
    def coverage(self, camera: CameraLike, grid: tuple[int, int] = (44, 80)) -> Tensor:
        """Share of cells [T] that a read from these cameras would know; paid for before any diffusion is."""
        return (self._see(views_to_read(camera, grid), grid, front=0.0).index >= 0).float().mean((-1, -2))

    # -- changing what is remembered --------------------------------------------------------------------------------

    @checked
    def remove(self, region: Region, *, camera: CameraLike | None = None, thickness: float | None = None) -> int:
        """Forget a part, and return how many points that were. `region` as `mirage.memory.regions` has it: a box,
        points, a function of positions; or with `camera` a mask [h,w], bool, of the thing as that camera sees it, or
        one for each of several [T,h,w]; `thickness`: of the thing, as a share of its distance, None: its front alone.
        What stood behind it stays; `restore` brings all of it back."""
        return self._keep_only(~inside(region, self, camera=camera, thickness=thickness))

    @checked
    def crop(self, region: Region, *, camera: CameraLike | None = None, thickness: float | None = None) -> int:
        """Forget all but a part, named as for `remove`; returns how many points went."""
        return self._keep_only(inside(region, self, camera=camera, thickness=thickness))

    @checked
    def transform(self, pose: Tensor) -> None:
        """Move the world by a rigid pose [4,4], points and the cameras that they were seen from; a read from
        `camera.moved(pose)` is then what a read from `camera` was."""
        if not is_rigid(pose):
            raise InputError(f"a memory is moved by a rigid pose [4,4], rotation and translation; got {short(pose)}")
        pose = pose.to(self.device, torch.float32)
        with self._history.whole():
            self._points.move(self._points.position @ pose[:3, :3].T + pose[:3, 3])
            self._log.put(torch.arange(len(self._log), device=self.device), c2w=pose @ self._log["c2w"])
            self._sources = []

    @checked
    def to(self, device: torch.device | str) -> Self:
        """The same memory on another device: itself where it is there, else a new one, without snapshots."""
        if torch.empty(0, device=device).device == self.device:
            return self
        return type(self).from_state(*self.state(), device=device)

    # -- keeping ----------------------------------------------------------------------------------------------------

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a world file: whole or not at all. See statefile.py."""
        write_state(path, *self.state())

    @classmethod
    @checked
    def load(cls, path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> "LatentSpatialMemory":
        """The memory of a world file; `InputError` says what is wrong with one that is damaged."""
        state = read_state(path)
        return cls.from_state(state.tensors, state.meta, device=device, source=str(path))

    def clear(self) -> None:
        """Forget everything. Snapshots stay valid."""
        for table in (self._log, self._points.rows, self._points.pages):
            table.truncate(0)
        self._sources = []

    def snapshot(self) -> Snapshot:
        """This moment, to come back to: costs nothing now, and what changes from here on as long as it is held."""
        return self._history.snapshot()

    @checked
    def restore(self, snapshot: Snapshot) -> None:
        """Come back to a moment; costs what changed in between. Later snapshots stay valid, so a walk may branch."""
        self._history.restore(snapshot)
        self._sources = []

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything the memory is, for `from_state`: tensors by name, and what JSON can say (channels, policy, dtype).

        position [N,3] f32, feature [N,C] (f16, f32, or i8 with scale [N] f16), frame [N] i32, footprint [N] f32, in
        the order of their ids; read [M] i64, the clock of each page's last read; camera_index [K] i32, c2w [K,4,4] f32,
        intrinsics [K,4] f32 of the written frames. A memory made from it reads the same to the bit.
        """
        rows = self._points.rows
        tensors = {"position": self._points.position}
        tensors |= {name: rows[name] for name in rows.names if name not in "xyz"}
        tensors |= {
            "read": self._points.pages["read"],
            "camera_index": self._log["index"],
            "c2w": self._log["c2w"],
            "intrinsics": self._log["intrinsics"],
        }
        dtype = str(self.dtype).removeprefix("torch.")
        return tensors, {"channels": self.channels, "policy": asdict(self.policy), "dtype": dtype}

    @classmethod
    def from_state(
        cls,
        tensors: dict[str, Tensor],
        meta: dict[str, Any],
        *,
        device: torch.device | str | None = None,
        source: str = "the state",
    ) -> Self:
        """The inverse of `state`. The tensors are taken at their word: whoever reads them from a file checks them.
        More points than its own budget has room for are an `InputError`, which calls the state `source`."""
        policy, dtype = MemoryPolicy(**meta["policy"]), getattr(torch, meta.get("dtype", "float32"))
        memory = cls(meta["channels"], policy=policy, device=device, dtype=dtype)
        try:
            memory._log.append(index=tensors["camera_index"], c2w=tensors["c2w"], intrinsics=tensors["intrinsics"])
            memory._points.load(tensors)
        except AssertionError as error:  # a table that is full
            raise InputError(
                f"{source}: {len(tensors['position'])} points of {len(tensors['camera_index'])} frames do not fit into "
                f"the budget of {policy.max_bytes} bytes"
            ) from error
        return memory

    # -- what it holds ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._points)

    @property
    def nbytes(self) -> int:
        """Bytes allocated, used or not; under a budget that is the whole budget from the start."""
        return self._log.nbytes + self._points.rows.nbytes + self._points.pages.nbytes

    @property
    def points(self) -> PointColumns:
        """The points as columns, features as floats of the readout's dtype."""
        everything = torch.arange(len(self), device=self.device)
        return PointColumns(
            self._points.position,
            self._points.features(everything, self.dtype),
            self._points.rows["frame"],
            self._points.rows["footprint"],
        )

    @property
    def cloud(self) -> Cloud:
        """The positions as `zbuffer` takes them, pages and boxes included; good until the next write."""
        return self._points.cloud

    @property
    def frames_written(self) -> int:
        """Latent frames written so far; the next one gets this number."""
        return int(self._log["index"][-1]) + 1 if len(self._log) else 0

    @property
    def cameras(self) -> Camera:
        """Cameras of the written frames [K]: all of them, or under a small budget some, spread over the walk."""
        return Camera(self._log["c2w"], self._log["intrinsics"])

    @property
    def camera_frames(self) -> Tensor:
        """The written frame that each of `cameras` belongs to: [K] i32, rising."""
        return self._log["index"].clone()

    @property
    def device(self) -> torch.device:
        return self._points.rows.device

    def __repr__(self) -> str:
        return (
            f"LatentSpatialMemory({len(self):,} points of {self.channels} channels from {self.frames_written} "
            f"frames, {self.nbytes / 2**20:.1f} MiB on {self.device})"
        )

    # -- how a part goes --------------------------------------------------------------------------------------------

    def _keep_only(self, stays: Tensor) -> int:
        gone = int((~stays).sum())
        if gone:
            with self._history.whole():
                self._points.keep(stays.nonzero()[:, 0])
        return gone

    # -- how a frame enters -----------------------------------------------------------------------------------------

    def _lifted(self, latents: Tensor, z: Tensor, camera: Camera) -> Columns:
        """Every cell of T frames as a point: position, feature, frame and footprint, each [T*h*w, ...]."""
        grid = (z.shape[-2], z.shape[-1])
        position = camera.unproject(cell_centers(grid, device=self.device).expand(*z.shape, 2), z)
        focal = (camera.intrinsics[:, :2] * z.new_tensor([grid[1], grid[0]])).amin(-1)  # cells per unit of slope
        frame = self.frames_written + torch.arange(len(z), dtype=torch.int32, device=self.device)
        return (
            position.flatten(0, 2),
            self._points.rows_of(latents.to(self.device)),
            frame.repeat_interleave(math.prod(grid)),
            (z / focal[:, None, None]).flatten(),
        )

    def _write_frame(self, columns: Columns, cells: Tensor, camera: Camera, band: tuple[Tensor, Tensor]) -> int:
        """One frame, as `columns` [h*w, ...] of which `cells` [k] may enter. `band` (low, high) [1,h,w]: the depths
        that are the same surface."""
        self._log_cameras(camera)
        footprint = columns[-1][cells]
        fresh, replaced = self._unknown(camera, cells, footprint, band)
        while len(self) + len(fresh) > self._room:  # what is evicted may have been known, and is new again
            self._evict(len(self) + len(fresh) - int(self._room))
            fresh, replaced = self._unknown(camera, cells, footprint, band)
        rows, replacing = replaced
        if len(rows):
            self._points.replace(rows, *_rows(columns, cells[replacing]))
        if len(fresh):
            self._points.append(*_rows(columns, cells[fresh]))
        return len(fresh)

    def _unknown(
        self, camera: Camera, cells: Tensor, footprint: Tensor, band: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The write gate. Of `cells` [k], which enter as new points (places in `cells`), and which replace which rows
        (rows, places). A cell is known if any point in it lies at its depth, in front or hidden: so a view that is
        written again adds nothing even where something stands before it."""
        everything, nothing = torch.arange(len(cells), device=cells.device), cells.new_empty(0)
        if self.policy.admit == "all" or not len(self):
            return everything, (nothing, nothing)
        seen = self._see(camera, (band[0].shape[-2], band[0].shape[-1]), front=math.inf, within=band)
        row = seen.index.flatten().index_select(0, cells)
        stored = self._points.rows["footprint"].index_select(0, row.clamp_min(0))
        coarse = ((row >= 0) & (stored > self.policy.resolution_ratio * footprint)).nonzero()[:, 0]
        far = seen.offset.abs().amax(1).flatten().index_select(0, cells) > self.policy.spacing / 2
        fresh = (row < 0) | far
        if not len(coarse):
            return fresh.nonzero()[:, 0], (nothing, nothing)
        rows, group = torch.unique(row[coarse], return_inverse=True)
        # several fine cells may see the same coarse point: the first takes its row, the others are new
        first = torch.full_like(rows, len(cells)).scatter_reduce_(0, group, coarse, "amin")
        fresh[coarse] = True
        fresh[first] = False
        return fresh.nonzero()[:, 0], (rows, first)

    def _see(
        self,
        camera: Camera,
        grid: tuple[int, int],
        *,
        front: float,
        within: tuple[Tensor, Tensor] | None = None,
        backend: Backend | None = None,
    ) -> Hits:
        return see(
            self.cloud,
            self._points.rows["footprint"],
            camera.to(self.device),
            grid,
            front=front,
            fill=self.policy.splat == "footprint",
            within=within,
            backend=backend,
        )

    def _log_cameras(self, camera: Camera) -> None:
        first = self.frames_written
        if self._log.limit is not None and len(self._log) + len(camera) > self._log.limit:
            some = self._spread(self._log.limit // 2)
            kept = {name: self._log[name][some] for name in self._log.names}
            self._log.truncate(0)
            self._log.append(**kept)
        self._log.append(index=torch.arange(first, first + len(camera)), c2w=camera.c2w, intrinsics=camera.intrinsics)

    # -- what goes when the budget is full --------------------------------------------------------------------------

    def _evict(self, rows: int) -> None:
        """Make room for at least `rows` more points, a sixteenth of the memory at a time."""
        count = min(max(-(-rows // PAGE) + 1, self._points.pages.n // 16), self._points.pages.n)
        self._points.remove(worth(self._points, self.policy.evict, self._witnessed).argsort(stable=True)[:count])

    def _witnessed(self) -> Tensor:
        """Which points cameras see that are spread evenly over the walk."""
        return self._see(self.cameras[self._spread(_WITNESSES)], (44, 80), front=self.policy.front).index

    def _spread(self, count: int) -> Tensor:
        """Places in the log of at most `count` cameras, spread evenly over the frames of the walk."""
        if not count:
            return torch.empty(0, dtype=torch.int64, device=self.device)
        index = self._log["index"]
        wanted = torch.linspace(0, int(index[-1]), count, device=self.device).round().int()
        return torch.unique(torch.searchsorted(index, wanted))


def _rows(columns: Columns, rows: Tensor) -> Columns:
    position, feature, frame, footprint = (column.index_select(0, rows) for column in columns)
    return position, feature, frame, footprint
