"""Pictures that matplotlib draws: grids of values with their scale, and points in space. `N` points, `h w` any grid.

save_image("depth.png", heat_maps({"depth": z}, known={"depth": valid}))
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mirage.geometry.camera import Camera

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNKNOWN = "#d9dbe0"
INCH = 100  # pixels
MOST_POINTS = 40_000
"""So many points are drawn at most, spread evenly over them all: more cover each other."""


def heat_maps(grids: Mapping[str, Tensor], *, known: Mapping[str, Tensor], units: str = "", columns: int = 4) -> Tensor:
    """Values [h,w] by title, in one scale of colours with a bar -> [3,H,W] in [0, 1]. `known` [h,w] of each: what is
    not is grey."""
    figure = _figure(columns, len(grids), aspect=_aspect(next(iter(grids.values()))))
    values = {title: np.ma.masked_array(grid.detach().float().cpu().numpy(), ~known[title].cpu().numpy())
              for title, grid in grids.items()}  # fmt: skip
    everything = np.concatenate([one.compressed() for one in values.values()])
    low, high = (float(np.min(everything)), float(np.max(everything))) if len(everything) else (0.0, 1.0)
    panels = _panels(figure, columns, len(grids))
    drawn: Any = None
    for axes, (title, value) in zip(panels, values.items(), strict=True):
        axes.set_facecolor(UNKNOWN)
        drawn = axes.imshow(value, cmap="viridis_r", vmin=low, vmax=high, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=10)
    figure.colorbar(drawn, ax=panels, label=units, shrink=0.8)
    return _pixels(figure)


def grid_pictures(rows: Mapping[str, Sequence[Tensor]], *, titles: Sequence[str]) -> Tensor:
    """Rows of small pictures [3,h,w], by name, every cell to be seen -> [3,H,W] in [0, 1]. `titles`: of the columns."""
    first = next(iter(rows.values()))[0]
    figure = _figure(len(titles), len(titles) * len(rows), aspect=_aspect(first))
    panels = _panels(figure, len(titles), len(titles) * len(rows))
    cells = [(name, column, picture) for name, pictures in rows.items() for column, picture in enumerate(pictures)]
    for axes, (name, column, picture) in zip(panels, cells, strict=True):
        axes.imshow(picture.permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        if column == 0:
            axes.set_ylabel(name, fontsize=10)
        if name == next(iter(rows)):
            axes.set_title(titles[column], fontsize=10)
    return _pixels(figure)


def cloud_picture(points: Tensor, colours: Tensor, camera: Camera | None = None, *, side: int = 720) -> Tensor:
    """Points [N,3] with colours [N,3] in [0, 1] in perspective, from behind and above the first camera; the path [F] as
    a line -> [3,side,side]."""
    figure = _figure(1, 1, aspect=1.0, side=side)
    axes: Any = figure.add_subplot(projection="3d")
    few = torch.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).long()
    # the page's axes: right, forward, up
    at = points.detach().cpu()[few][:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])
    size = float(min(30.0, max(0.5, 60_000 / max(len(few), 1))))
    axes.scatter(
        *at.numpy().T, c=colours.detach().cpu()[few].clamp(0, 1).numpy(), s=size, linewidths=0, depthshade=False
    )
    if camera is not None and len(camera):
        walked = camera.center.detach().cpu()[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])
        axes.plot(*walked.numpy().T, color="#d6483c", linewidth=2)
        at = torch.cat([at, walked])
    if len(at):
        low, high = (torch.quantile(at[:: max(1, len(at) // 100_000)], share, dim=0) for share in (0.01, 0.99))
        middle, reach = (low + high) / 2, float((high - low).amax()) / 2 + 1e-6
        axes.set(**{f"{axis}lim": (float(m) - reach, float(m) + reach) for axis, m in zip("xyz", middle, strict=True)})
    axes.set(xlabel="right", ylabel="forward", zlabel="up")
    axes.view_init(elev=28, azim=-75)
    axes.set_box_aspect((1, 1, 1))
    return _pixels(figure)


def _figure(columns: int, panels: int, *, aspect: float, side: int | None = None) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, needed by few
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    width = 2.6 * columns + 1.0
    size = (width, rows * (2.6 * aspect + 0.4) + 0.2) if side is None else (side / INCH, side / INCH)
    figure = Figure(figsize=size, dpi=INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(figure: "Figure", columns: int, count: int) -> list[Any]:
    columns = min(columns, count)
    panels = figure.subplots(-(-count // columns), columns, squeeze=False).flatten().tolist()
    for empty in panels[count:]:
        empty.set_visible(False)
    return panels[:count]


def _aspect(grid: Tensor) -> float:
    return grid.shape[-2] / grid.shape[-1]


def _pixels(figure: "Figure") -> Tensor:
    canvas: Any = figure.canvas
    canvas.draw()
    picture = np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
