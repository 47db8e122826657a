"""The points of a memory: where they lie, what they carry, and in which tiles they are kept.

`N` points, `C` channels, `M` pages. A page is a run of PAGE rows: a written frame lays its cells down tile by tile, so
a page is a small patch of one surface and its bounding box is tight; a read skips whole pages by their boxes.

    rows      x y z [N] f32   feature [N,C]   (scale [N])   frame [N] i32   footprint [N] f32
    pages     |--- PAGE ---|--- PAGE ---|--- PAGE ---|--..     low, high [M,3]   read [M] i64

Rows are always dense: what is removed is overwritten by the last rows, so a point's id is good until the next write.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from mirage.kinds import Brief
from mirage.memory.table import Table

TILE = (11, 8)
"""Cells of a written frame that lie together; 40 such tiles make 44x80. Twice as many a tile: of the points that a
read looks at, a seventh more lie outside the view; fewer: the boxes cost as much as they save."""
PAGE = TILE[0] * TILE[1]
_AT_ONCE = 8192  # pages of a loaded store that are measured together


@dataclass(frozen=True, eq=False, repr=False)
class Cloud(Brief):
    """What a read looks at: positions in pages, and the pages' boxes.

    `x y z` [M*PAGE] f32; rows past the last point have z = NaN, which no comparison admits. `low`, `high` [M,3].
    """

    x: Tensor
    y: Tensor
    z: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, position: Tensor) -> "Cloud":
        """From positions [N,3]; a point's id is its row. A position that is not finite is no point."""
        pages = -(-len(position) // PAGE)
        padded = position.new_full((pages * PAGE, 3), torch.nan, dtype=torch.float32)
        finite = torch.isfinite(position).all(-1)
        padded[: len(position)] = torch.where(finite[:, None], position.float(), torch.nan)
        x, y, z = (column.contiguous() for column in padded.unbind(-1))
        blocks = rearrange(padded, "(m p) c -> m p c", p=PAGE)
        return cls(x, y, z, blocks.nan_to_num(torch.inf).amin(1), blocks.nan_to_num(-torch.inf).amax(1))

    @property
    def device(self) -> torch.device:
        return self.x.device


@dataclass(frozen=True, eq=False)
class PointColumns:
    """The points of a memory as columns: position [N,3] f32, feature [N,C] float, frame [N] i32 (the written latent
    frame that it came from), footprint [N] f32 (the longer side of the cell it came from, in world units there)."""

    position: Tensor
    feature: Tensor
    frame: Tensor
    footprint: Tensor

    def __len__(self) -> int:
        return len(self.position)

    def __repr__(self) -> str:
        return f"PointColumns({len(self):,} points of {self.feature.shape[-1]} channels)"


class Points:
    """The store: rows and pages. It knows nothing of cameras; `LatentSpatialMemory` decides what comes and goes."""

    def __init__(self, channels: int, *, features: str, device: torch.device | str | None, pages: int | None) -> None:
        """`pages`: room for that many pages, allocated at once; None: buffers that double."""

        def column(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.empty(0, *shape, dtype=dtype, device=device)

        kinds = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8, "uint8": torch.uint8}
        rows = {axis: column(dtype=torch.float32) for axis in "xyz"}
        rows |= {
            "feature": column(channels, dtype=kinds[features]),
            "frame": column(dtype=torch.int32),
            "footprint": column(dtype=torch.float32),
        }
        self._quantised = features == "int8"
        if self._quantised:
            rows["scale"] = column(dtype=torch.float16)
        boxes = {
            "low": column(3, dtype=torch.float32),
            "high": column(3, dtype=torch.float32),
            "read": column(dtype=torch.int64),
        }
        self.rows = Table(rows, limit=None if pages is None else pages * PAGE, round_to=PAGE)
        self.pages = Table(boxes, limit=pages)

    def __len__(self) -> int:
        return self.rows.n

    @property
    def page_bytes(self) -> int:
        """Bytes that one page takes, its box included."""
        return PAGE * self.rows.row_bytes + self.pages.row_bytes

    @property
    def position(self) -> Tensor:
        """[N,3]."""
        return torch.stack([self.rows[axis] for axis in "xyz"], dim=-1)

    @property
    def cloud(self) -> Cloud:
        n, full = self.rows.n, self.pages.n * PAGE
        self.rows.buffer("z", full)[n:] = torch.nan
        x, y, z = (self.rows.buffer(axis, full) for axis in "xyz")
        return Cloud(x, y, z, self.pages["low"], self.pages["high"])

    @property
    def clock(self) -> int:
        """When a page was last read, in reads."""
        return int(self.pages["read"].amax()) if self.pages.n else 0

    def features(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Features [k,C] of `rows` [k], as floats."""
        found = self.rows["feature"].index_select(0, rows).to(dtype)
        return found.mul_(self.rows["scale"].index_select(0, rows).to(dtype)[:, None]) if self._quantised else found

    def show(self, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Features [k,C] and frames [k] of `rows` [k]; zeros from an empty store."""
        if not len(self):
            return rows.new_zeros(len(rows), self.rows["feature"].shape[1], dtype=dtype), rows.int()
        return self.features(rows, dtype), self.rows["frame"].index_select(0, rows)

    def rows_of(self, latents: Tensor) -> Tensor:
        """Latents [T,C,h,w] as rows [T*h*w,C], in the kind that is kept where that needs no scale."""
        kept = latents if self._quantised else latents.to(self.rows["feature"].dtype)
        return rearrange(kept, "t c h w -> (t h w) c")

    def append(self, position: Tensor, feature: Tensor, frame: int | Tensor, footprint: Tensor) -> None:
        """Add points: position [k,3], feature [k,C], frame [k] or one for all, footprint [k]."""
        first = self.rows.n // PAGE
        self.rows.append(**self._columns(position, feature, frame, footprint))
        pages = -(-self.rows.n // PAGE)
        empty = torch.zeros(pages - self.pages.n, 3, device=self.rows.device)
        self.pages.append(low=empty, high=empty, read=empty[:, 0].long() + self.clock)  # as good as just read
        self._measure(torch.arange(first, pages, device=self.rows.device))

    def replace(self, rows: Tensor, position: Tensor, feature: Tensor, frame: int | Tensor, footprint: Tensor) -> None:
        """Overwrite the points at `rows` [k]."""
        self.rows.put(rows, **self._columns(position, feature, frame, footprint))
        self._measure(torch.unique(rows // PAGE))

    def remove(self, pages: Tensor) -> None:
        """Remove whole pages [k]; the last rows move into the gaps."""
        n = self.rows.n
        gone = (pages.sort().values[:, None] * PAGE + torch.arange(PAGE, device=pages.device)).flatten()
        gone = gone[gone < n]
        kept = n - len(gone)
        gaps = gone[gone < kept]
        stays = torch.ones(n - kept, dtype=torch.bool, device=pages.device)
        stays[gone[gone >= kept] - kept] = False
        movers = stays.nonzero()[:, 0] + kept
        if len(gaps):
            self.rows.put(gaps, **{name: self.rows[name][movers] for name in self.rows.names})
            first = torch.arange(len(gaps), device=pages.device) % PAGE == 0
            self.pages.put(gaps[first] // PAGE, read=self.pages["read"][movers[first] // PAGE])
        self.rows.truncate(kept)
        self.pages.truncate(-(-kept // PAGE))
        touched = torch.unique(torch.cat([gaps, gaps.new_tensor([kept - 1] if kept else [])]) // PAGE)
        self._measure(touched)

    def keep(self, rows: Tensor) -> None:
        """Forget all points but `rows` [k], ascending, which move together."""
        columns = {name: self.rows[name][rows] for name in self.rows.names}
        read = self.pages["read"][rows[::PAGE] // PAGE]
        for table in (self.rows, self.pages):
            table.truncate(0)
        self.rows.append(**columns)
        empty = torch.zeros(len(read), 3, device=self.rows.device)
        self.pages.append(low=empty, high=empty, read=read)
        self._measure(torch.arange(self.pages.n, device=self.rows.device))

    def move(self, position: Tensor) -> None:
        """Every point to another place [N,3]."""
        x, y, z = position.unbind(-1)
        self.rows.put(torch.arange(len(self), device=self.rows.device), x=x, y=y, z=z)
        self._measure(torch.arange(self.pages.n, device=self.rows.device))

    def load(self, columns: dict[str, Tensor]) -> None:
        """Fill an empty store with columns as `LatentSpatialMemory.state` names them, bit for bit."""
        x, y, z = columns["position"].unbind(-1)
        self.rows.append(x=x, y=y, z=z, **{name: columns[name] for name in self.rows.names if name not in "xyz"})
        empty = torch.zeros(len(columns["read"]), 3, device=self.rows.device)
        self.pages.append(low=empty, high=empty, read=columns["read"])
        for pages in torch.arange(self.pages.n, device=self.rows.device).split(_AT_ONCE):
            self._measure(pages)

    def _columns(self, position: Tensor, feature: Tensor, frame: int | Tensor, footprint: Tensor) -> dict[str, Tensor]:
        x, y, z = position.float().unbind(-1)
        frames = torch.as_tensor(frame, dtype=torch.int32, device=x.device).expand(len(x))
        columns = {"x": x, "y": y, "z": z, "frame": frames, "footprint": footprint}
        if self._quantised:
            scale = (feature.float().abs().amax(-1) / 127).half()
            steps = feature.float() / scale.float().clamp_min(2.0**-24)[:, None]
            return columns | {"scale": scale, "feature": steps.round().clamp(-127, 127).to(torch.int8)}
        return columns | {"feature": feature}

    def _measure(self, pages: Tensor) -> None:
        """Box `pages` [k] anew."""
        if not len(pages):
            return
        n, full, boxes = self.rows.n, self.pages.n * PAGE, []
        for axis in "xyz":
            column = self.rows.buffer(axis, full)
            column[n:] = column[n - 1]  # the last page is measured whole
            boxes.append(column.view(-1, PAGE).index_select(0, pages).aminmax(dim=1))
        low, high = (torch.stack(bounds, dim=-1) for bounds in zip(*boxes, strict=True))
        self.pages.put(pages, low=low, high=high)


def worth(points: Points, evict: str, witnessed: Callable[[], Tensor]) -> Tensor:
    """What each page [M] is worth under a budget, as `MemoryPolicy.evict` says: the least goes first. witnessed: which
    points the walk's cameras see, -1 for none: what of them a return would miss."""
    if evict == "least_read":
        return points.pages["read"]
    if evict == "oldest":  # the newest frame of each page
        page = torch.arange(len(points), device=points.rows.device) // PAGE
        newest = torch.zeros(points.pages.n, dtype=torch.int32, device=points.rows.device)
        return newest.scatter_reduce_(0, page, points.rows["frame"], "amax")
    seen = witnessed().flatten()
    return torch.bincount(seen[seen >= 0] // PAGE, minlength=points.pages.n)


@lru_cache(maxsize=16)
def tile_order(grid: tuple[int, int]) -> Tensor:
    """Flat cells of an h x w grid, tile by tile [h*w]: cells that lie together in the image lie together in memory."""
    h, w = grid
    row, column = torch.arange(h)[:, None].expand(h, w), torch.arange(w).expand(h, w)
    tile = (row // TILE[0]) * -(-w // TILE[1]) + column // TILE[1]
    return tile.flatten().argsort(stable=True)
