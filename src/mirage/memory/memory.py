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
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError, check_number
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthLike, DepthMap
from mirage.geometry.tensors import Flags, Reals
from mirage.kinds import checked
from mirage.memory.accepted import Frames, frames_to_write, ids, rigid, views_to_read
from mirage.memory.checked import check_far
from mirage.memory.gate import Gate, Unknown
from mirage.memory.gradient import Source, connected
from mirage.memory.lifting import Cells, from_the_middle, gridded, lifted
from mirage.memory.points import PAGE, Cloud, PointColumns, tile_order, worth
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint import see
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.zbuffer import Backend
from mirage.memory.readout import Readout
from mirage.memory.regions import Region, inside, of_positions
from mirage.memory.sharing import Sharing
from mirage.memory.statefile import read_state, write_state
from mirage.memory.table import History, Snapshot
from mirage.memory.tables import tables

_WITNESSES = 48
"""Past cameras that are asked which tiles they would miss, spread evenly over the walk."""


class LatentSpatialMemory:
    """A persistent, bounded, deterministic store of latent points. The one mutable noun of this room.

    `dtype` is that of the latents a read returns; how features are kept is `policy.features`.

    Threads may share one: any number of them read at once, a change waits until those that read have ended, and each
    read is of one state, before a change or after it. `state` and `cloud` are views, good until the next change. What
    belongs together over several calls (a plan and its accept, say) is up to whoever makes them.
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
        self._log, self._points, pages = tables(channels, policy, device)
        self._sharing = Sharing()
        self._history = History(self._log, self._points.rows, self._points.pages)
        self._room = math.inf if pages is None else pages * PAGE

    # -- the two verbs ----------------------------------------------------------------------------------------------

    @checked
    def write(self, latents: Reals, depth: DepthLike, camera: CameraLike, *, keep: Flags | None = None) -> int:
        """Lift latents [T,C,h,w] at their depth [T,h,w] into the world; returns how many points were added.

        A cell with invalid depth, or where `keep` [T,h,w] is False, never becomes a point. Frames enter one after the
        other, each against what the memory knows by then, the earlier frames of the same write included. A point
        that replaces a coarser one is not counted as added.
        """
        given = frames_to_write(latents, depth, camera, keep, channels=self.channels, policy=self.policy)
        with self._sharing.writing():
            return self._written(given)

    def _written(self, given: Frames) -> int:
        self._check_room(math.prod(given.depth.shape[-2:]))
        camera, z = given.camera.to(self.device, torch.float32), given.depth.z.to(self.device).float()
        admitted = given.admitted.to(self.device)
        grid, whole = (z.shape[-2], z.shape[-1]), bool(admitted.all())
        order, first = tile_order(grid).to(self.device), self.frames_written
        check_far(z, camera, admitted, last=first + len(z))
        at_grid, latents = gridded(camera, grid, self.policy.lift), given.latents.to(self.device)
        if given.source is not None:
            self._sources = [one for one in self._sources if one.end <= first]
            self._sources.append(Source(first, given.source, at_grid))
        at_once = self.policy.max_bytes is None  # nobody goes, so the log may run ahead
        if at_once:
            self._log_cameras(camera)
        if self.policy.admit == "all" and at_once:  # nor is anybody asked
            cells = (order + torch.arange(0, z.numel(), len(order), device=self.device)[:, None]).flatten()
            cells = cells if whole else cells[admitted.flatten()[cells]]
            self._points.append(*(column[cells] for column in lifted(self._points.rows_of(latents), z, at_grid, first)))
            return len(cells)
        frames = Cells(latents, z, at_grid, first)
        cells = [order if whole else order[admitted[t].flatten()[order]] for t in range(len(z))]
        gate, added, t = Gate(self.policy, at_grid, z, cells, frames.footprint), 0, 0
        while t < len(z):
            stop = len(z) if at_once else t + 1
            if not at_once:
                self._log_cameras(camera[t:stop])
            t, unknown = gate.first(t, stop, self._points)
            if t < stop:
                added += self._write_frame(frames, t, gate, unknown)
                t += 1
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
        views = views_to_read(camera, grid)
        with self._sharing.reading():
            readout = self._read(views, grid, backend)
            if not differentiable:
                return readout
            return replace(readout, latents=connected(readout.latents, readout, self._points.position, self._sources))

    def _read(self, camera: Camera, grid: tuple[int, int], backend: Backend | None = None) -> Readout:
        seen = self._see(camera, grid, front=self.policy.front, backend=backend)
        rows = seen.index.flatten().clamp_min(0)
        latents, frame = self._points.show(rows, self.dtype)
        mask = seen.index >= 0
        holes = (~mask).flatten().nonzero()[:, 0]
        latents[holes], frame[holes] = 0, -1
        h, w = grid
        return Readout(
            latents=rearrange(latents, "(t h w) c -> t c h w", h=h, w=w),
            mask=mask,
            depth=DepthMap(seen.depth, mask),
            index=seen.index,
            frame=frame.view_as(seen.index),
            offset=seen.offset if self.policy.lift == "center" else from_the_middle(seen.offset, mask),
        )

    @checked
    def touch(self, readout: Readout) -> None:
        """Says that a readout of this memory was used: under a budget that evicts what is "least_read", its pages are
        as good as just read. A read by itself changes nothing, so that looking around costs no memory."""
        if self.policy.evict == "least_read" and self.policy.max_bytes is not None:
            pages = torch.unique(readout.index[readout.mask] // PAGE)
            with self._sharing.writing():
                self._points.pages.put(pages, read=torch.full_like(pages, self._points.clock + 1))

    @checked
    def coverage(self, camera: CameraLike, grid: tuple[int, int] = (44, 80)) -> Tensor:
        """Share of cells [T] that a read from these cameras would know; paid for before any diffusion is."""
        views = views_to_read(camera, grid)
        with self._sharing.reading():
            return (self._see(views, grid, front=0.0).index >= 0).float().mean((-1, -2))

    # -- changing what is remembered --------------------------------------------------------------------------------

    @checked
    def remove(self, region: Region, *, camera: CameraLike | None = None, thickness: float | None = None) -> int:
        """Forget a part, and return how many points that were. `region` as `mirage.memory.regions` has it: a box,
        points, a function of positions; or with `camera` a mask [h,w], bool, of the thing as that camera sees it, or
        one for each of several [T,h,w]; `thickness`: of the thing, as a share of its distance, None: its front alone.
        What stood behind it stays; `restore` brings all of it back."""
        return self._forget(region, camera, thickness, outside=False)

    @checked
    def crop(self, region: Region, *, camera: CameraLike | None = None, thickness: float | None = None) -> int:
        """Forget all but a part, named as for `remove`; returns how many points went."""
        return self._forget(region, camera, thickness, outside=True)

    @checked
    def transform(self, pose: Reals) -> None:
        """Move the world by a rigid pose [4,4], points and the cameras that they were seen from; a read from
        `camera.moved(pose)` is then what a read from `camera` was."""
        pose = rigid(pose).detach().to(self.device, torch.float32)
        with self._sharing.writing(), self._history.whole():
            self._points.move(self._points.position @ pose[:3, :3].T + pose[:3, 3])
            self._log.put(torch.arange(len(self._log), device=self.device), c2w=pose @ self._log["c2w"])
            self._sources = []

    @checked
    def to(self, device: torch.device | str) -> Self:
        """The same memory on another device: itself where it is there, else a new one, without snapshots."""
        if torch.empty(0, device=device).device == self.device:
            return self
        with self._sharing.reading():
            return type(self).from_state(*self.state(), device=device)

    # -- keeping ----------------------------------------------------------------------------------------------------

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a world file: whole or not at all. See statefile.py."""
        self.save_beside(path)

    @checked
    def save_beside(
        self,
        path: str | os.PathLike[str],
        *,
        extra_tensors: Mapping[str, Tensor] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """`save`, with what the caller wants to find again."""
        with self._sharing.reading():
            write_state(path, *self.state(), extra_tensors=extra_tensors, extra=extra)

    @classmethod
    @checked
    def load(cls, path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> "LatentSpatialMemory":
        """The memory of a world file; `InputError` says what is wrong with one that is damaged."""
        state = read_state(path)
        return cls.from_state(state.tensors, state.meta, device=device, source=str(path))

    def clear(self) -> None:
        """Forget everything. Snapshots stay valid."""
        with self._sharing.writing():
            for table in (self._log, self._points.rows, self._points.pages):
                table.truncate(0)
            self._sources = []

    def snapshot(self) -> Snapshot:
        """This moment, to come back to: costs nothing now, and what changes from here on as long as it is held."""
        with self._sharing.writing():
            return self._history.snapshot()

    @checked
    def restore(self, snapshot: Snapshot) -> None:
        """Come back to a moment; costs what changed in between. Later snapshots stay valid, so a walk may branch."""
        with self._sharing.writing():
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
        with self._sharing.reading():
            return self._columns(torch.arange(len(self), device=self.device))

    @checked
    def point_columns(self, rows: Tensor) -> PointColumns:
        """Those of some points [k], by their ids: of a large memory all features as floats are larger than it is."""
        with self._sharing.reading():
            return self._columns(ids(rows, len(self)).to(self.device))

    def _columns(self, rows: Tensor) -> PointColumns:
        its = self._points.rows
        return PointColumns(
            torch.stack([its[axis].index_select(0, rows) for axis in "xyz"], dim=-1),
            self._points.features(rows, self.dtype),
            its["frame"].index_select(0, rows),
            its["footprint"].index_select(0, rows),
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
        with self._sharing.reading():
            return self._cameras()

    @property
    def camera_frames(self) -> Tensor:
        """The written frame that each of `cameras` belongs to: [K] i32, rising."""
        with self._sharing.reading():
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

    def _forget(self, region: Region, camera: CameraLike | None, thickness: float | None, *, outside: bool) -> int:
        if callable(region) and camera is None:  # asked before the lock is taken: it may look at the memory itself
            region = of_positions(region, self.points.position)
        with self._sharing.writing():
            points = self._columns(torch.arange(len(self), device=self.device))
            tolerance = self.policy.tolerance
            found = inside(region, points, self._read, camera=camera, thickness=thickness, tolerance=tolerance)
            gone = int((found != outside).sum())
            if gone:
                with self._history.whole():
                    self._points.keep((found == outside).nonzero()[:, 0])
            return gone

    # -- how a frame enters -----------------------------------------------------------------------------------------

    def _write_frame(self, frames: Cells, t: int, gate: Gate, unknown: Unknown) -> int:
        """Frame t, of which the gate says what is unknown."""
        cells, (fresh, (rows, replacing)) = gate.cells[t], unknown
        while len(self) + len(fresh) > self._room:  # what is evicted may have been known, and is new again
            self._evict(len(self) + len(fresh) - int(self._room))
            _, (fresh, (rows, replacing)) = gate.first(t, t + 1, self._points)
        if len(rows):
            self._points.replace(rows, *frames.rows(t, cells[replacing]))
        if len(fresh):
            self._points.append(*frames.rows(t, cells[fresh]))
        return len(fresh)

    def _see(
        self,
        camera: Camera,
        grid: tuple[int, int],
        *,
        front: float,
        backend: Backend | None = None,
    ) -> Hits:
        return see(
            self.cloud,
            self._points.rows["footprint"],
            gridded(camera.to(self.device), grid, self.policy.lift),
            grid,
            front=front,
            fill=self.policy.splat == "footprint",
            backend=backend,
        )

    def _cameras(self) -> Camera:
        return Camera(self._log["c2w"].clone(), self._log["intrinsics"].clone())

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
        return self._see(self._cameras()[self._spread(_WITNESSES)], (44, 80), front=self.policy.front).index

    def _spread(self, count: int) -> Tensor:
        """Places in the log of at most `count` cameras, spread evenly over the frames of the walk."""
        if not count:
            return torch.empty(0, dtype=torch.int64, device=self.device)
        index = self._log["index"]
        wanted = torch.linspace(0, int(index[-1]), count, device=self.device).round().int()
        return torch.unique(torch.searchsorted(index, wanted))

    # -- what is accepted -------------------------------------------------------------------------------------------

    def _check_room(self, cells: int) -> None:
        if cells > self._room:
            raise InputError(
                f"one frame has {cells} cells and a memory of {self.policy.max_bytes} bytes holds {self._room} points; "
                "give it a larger budget"
            )
