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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.memory.checked import check_far, check_write
from mirage.memory.gate import Gate, Unknown
from mirage.memory.points import PAGE, Cloud, PointColumns, Points, tile_order
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint import see
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.zbuffer import Backend
from mirage.memory.readout import Readout
from mirage.memory.sharing import Sharing
from mirage.memory.statefile import read_state, write_state
from mirage.memory.table import History, Snapshot, Table

_WITNESSES = 48
"""Past cameras that are asked which tiles they would miss, spread evenly over the walk."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One latent frame to be written: latents [C,h,w], z [h,w], the camera [] as the grid has it, and its number. Only
    the cells that enter are lifted and laid out as points."""

    latents: Tensor
    z: Tensor
    camera: Camera
    number: int

    @cached_property
    def footprint(self) -> Tensor:
        """[h*w], in world units."""
        h, w = self.z.shape
        focal = (self.camera.intrinsics[:2] * self.z.new_tensor([w, h])).amin()  # cells per unit of slope
        return (self.z / focal).flatten()

    def rows(self, cells: Tensor) -> tuple[Tensor, Tensor, int, Tensor]:
        """Of `cells` [k], as `Points.append` takes them: position [k,3], feature [k,C], frame, footprint [k]."""
        h, w = self.z.shape
        uv = cell_centers((h, w), device=cells.device).flatten(0, 1).index_select(0, cells)
        z = self.z.flatten().index_select(0, cells)
        feature = self.latents.flatten(1).T.index_select(0, cells)
        return self.camera.unproject(uv, z), feature, self.number, self.footprint.index_select(0, cells)


class LatentSpatialMemory:
    """A persistent, bounded, deterministic store of latent points. The one mutable noun of this room.

    `dtype` is that of the latents a read returns; how features are kept is `policy.features`.

    Threads may share one: any number of them read at once, a change waits until those that read have ended, and each
    read is of one state, before a change or after it. `state` and `cloud` are views, good until the next change. What
    belongs together over several calls (a plan and its accept, say) is up to whoever makes them.
    """

    def __init__(
        self,
        channels: int,
        *,
        policy: MemoryPolicy = MemoryPolicy(),  # noqa: B008 -- a frozen value
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.channels, self.policy, self.dtype = channels, policy, dtype
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
        self._sharing = Sharing()
        self._history = History(self._log, self._points.rows, self._points.pages)
        self._room = math.inf if pages is None else pages * PAGE

    # -- the two verbs ----------------------------------------------------------------------------------------------

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int:
        """Lift latents [T,C,h,w] at their depth [T,h,w] into the world; returns how many points were added.

        A cell with invalid depth, or where `keep` [T,h,w] is False, never becomes a point. Frames enter one after the
        other, each against what the memory knows by then, the earlier frames of the same write included. A point
        that replaces a coarser one is not counted as added.
        """
        check_write(latents, depth, camera, keep, channels=self.channels, policy=self.policy)
        with self._sharing.writing():
            return self._written(latents, depth, camera, keep)

    def _written(self, latents: Tensor, depth: DepthMap, camera: Camera, keep: Tensor | None) -> int:
        self._check_room(math.prod(depth.shape[-2:]))
        camera, z = camera.to(self.device, torch.float32), depth.z.to(self.device).float()
        admitted = (depth.valid if keep is None else depth.valid & keep.to(depth.valid.device)).to(self.device)
        grid, whole = (z.shape[-2], z.shape[-1]), bool(admitted.all())
        order, first = tile_order(grid).to(self.device), self.frames_written
        check_far(z, camera, admitted, last=first + len(z))
        gridded, latents = self._gridded(camera, grid), latents.to(self.device)
        at_once = self.policy.max_bytes is None  # nobody goes, so the log may run ahead
        if at_once:
            self._log_cameras(camera)
        if self.policy.admit == "all" and at_once:  # nor is anybody asked
            cells = (order + torch.arange(0, z.numel(), len(order), device=self.device)[:, None]).flatten()
            cells = cells if whole else cells[admitted.flatten()[cells]]
            self._points.append(*(column[cells] for column in self._lifted(latents, z, gridded, first)))
            return len(cells)
        gate, added = Gate(self.policy, gridded, z), 0
        for t in range(len(z)):
            if not at_once:
                self._log_cameras(camera[t : t + 1])
            cells = order if whole else order[admitted[t].flatten()[order]]
            frame = Frame(latents[t], z[t], gridded[t], first + t)
            added += self._write_frame(frame, cells, partial(gate.unknown, t))
        return added

    def read(self, camera: Camera, grid: tuple[int, int] = (44, 80), *, backend: Backend | None = None) -> Readout:
        """What the cameras [T] see of the memory, on an h x w grid. An empty memory is all holes.

        `backend`: one twin of the z-buffer by name; all give the same readout.
        """
        if len(camera.shape) != 1:
            raise InputError(f"a read takes cameras [T], got {list(camera.shape)}; index one camera as camera[None]")
        with self._sharing.reading():
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
            offset=seen.offset if self.policy.lift == "center" else _from_the_middle(seen.offset, mask),
        )

    def touch(self, readout: Readout) -> None:
        """Says that a readout of this memory was used: under a budget that evicts what is "least_read", its pages are
        as good as just read. A read by itself changes nothing, so that looking around costs no memory."""
        if self.policy.evict == "least_read" and self.policy.max_bytes is not None:
            pages = torch.unique(readout.index[readout.mask] // PAGE)
            with self._sharing.writing():
                self._points.pages.put(pages, read=torch.full_like(pages, self._points.clock + 1))

    def coverage(self, camera: Camera, grid: tuple[int, int] = (44, 80)) -> Tensor:
        """Share of cells [T] that a read from these cameras would know; paid for before any diffusion is."""
        with self._sharing.reading():
            return (self._see(camera, grid, front=0.0).index >= 0).float().mean((-1, -2))

    # -- keeping ----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a world file: whole or not at all. See statefile.py."""
        self.save_beside(path)

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
    def load(cls, path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> "LatentSpatialMemory":
        """The memory of a world file; `InputError` says what is wrong with one that is damaged."""
        state = read_state(path)
        return cls.from_state(state.tensors, state.meta, device=device, source=str(path))

    def clear(self) -> None:
        """Forget everything. Snapshots stay valid."""
        with self._sharing.writing():
            for table in (self._log, self._points.rows, self._points.pages):
                table.truncate(0)

    def snapshot(self) -> Snapshot:
        """This moment, to come back to: costs nothing now, and what changes from here on as long as it is held."""
        with self._sharing.writing():
            return self._history.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Come back to a moment; costs what changed in between. Later snapshots stay valid, so a walk may branch."""
        with self._sharing.writing():
            self._history.restore(snapshot)

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

    def point_columns(self, rows: Tensor) -> PointColumns:
        """Those of some points [k], by their ids: of a large memory all features as floats are larger than it is."""
        with self._sharing.reading():
            return self._columns(rows)

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

    # -- how a frame enters -----------------------------------------------------------------------------------------

    def _lifted(self, latents: Tensor, z: Tensor, camera: Camera, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Every cell of T frames as a point: position, feature, frame and footprint, each [T*h*w, ...]."""
        h, w = z.shape[-2:]
        position = camera.unproject(cell_centers((h, w), device=self.device).expand(*z.shape, 2), z)
        focal = (camera.intrinsics[:, :2] * z.new_tensor([w, h])).amin(-1)
        frame = first + torch.arange(len(z), dtype=torch.int32, device=self.device)
        footprint = (z / focal[:, None, None]).flatten()
        return position.flatten(0, 2), self._points.rows_of(latents), frame.repeat_interleave(h * w), footprint

    def _write_frame(self, frame: Frame, cells: Tensor, unknown: Callable[..., Unknown]) -> int:
        """One frame, of which `cells` [k] may enter; `unknown` asks the gate."""
        footprint = frame.footprint.index_select(0, cells)
        fresh, replaced = unknown(self._points, cells, footprint)
        while len(self) + len(fresh) > self._room:  # what is evicted may have been known, and is new again
            self._evict(len(self) + len(fresh) - int(self._room))
            fresh, replaced = unknown(self._points, cells, footprint)
        rows, replacing = replaced
        if len(rows):
            self._points.replace(rows, *frame.rows(cells[replacing]))
        if len(fresh):
            self._points.append(*frame.rows(cells[fresh]))
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
            self._gridded(camera.to(self.device), grid),
            grid,
            front=front,
            fill=self.policy.splat == "footprint",
            backend=backend,
        )

    def _cameras(self) -> Camera:
        return Camera(self._log["c2w"].clone(), self._log["intrinsics"].clone())

    def _gridded(self, camera: Camera, grid: tuple[int, int]) -> Camera:
        """The camera as the grid has it: with its principal point half a cell on where a latent lies in the corner."""
        if self.policy.lift == "center":
            return camera
        half = camera.intrinsics.new_tensor([0, 0, 0.5 / grid[1], 0.5 / grid[0]])
        return camera.with_intrinsics(camera.intrinsics + half)

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
        worth = {"oldest": self._age, "least_read": lambda: self._points.pages["read"], "coverage": self._wins}
        order = worth[self.policy.evict]().argsort(stable=True)
        self._points.remove(order[:count])

    def _age(self) -> Tensor:
        """The newest frame of each page [M]."""
        page = torch.arange(len(self), device=self.device) // PAGE
        newest = torch.zeros(self._points.pages.n, dtype=torch.int32, device=self.device)
        return newest.scatter_reduce_(0, page, self._points.rows["frame"], "amax")

    def _wins(self) -> Tensor:
        """How many cells each page [M] shows to cameras spread evenly over the walk: what a return would miss."""
        witnesses = self._cameras()[self._spread(_WITNESSES)]
        seen = self._see(witnesses, (44, 80), front=self.policy.front).index.flatten()
        return torch.bincount(seen[seen >= 0] // PAGE, minlength=self._points.pages.n)

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


def _from_the_middle(offset: Tensor, mask: Tensor) -> Tensor:
    """Offsets [T,2,h,w] from where the corner convention has a cell, as seen from the cell's true middle."""
    return (offset - 0.5).masked_fill(~mask[:, None], 0.0)
