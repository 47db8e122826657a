"""A picture of a camera path: from above and from the side, so that a wrong convention is seen before it is walked.
`F`: poses.

    save_image("path.png", path_view(camera, title="clip.txt", note="81 poses; ends 1.6 forward"))

Both views are in the axes of the first camera: right, up, forward from where it stands.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mirage.formats.picture import FAINT, INK, PATH, START
from mirage.geometry.camera import Camera

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRUSTA, LABELS = 14, 6
"""How many cameras are drawn along the path at most, and how many of them with their number."""
REACH = 0.09
"""How far a frustum reaches, as a share of the path's extent."""


def path_view(camera: Camera, *, title: str = "", note: str = "", units: str = "world units") -> Tensor:
    """The path [F] as lines with view frusta, start blue and end red, frame numbers beside -> [3,H,W] in [0, 1]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, needed by few
    from matplotlib.figure import Figure

    relative = camera.to("cpu").to(torch.float64)
    relative = relative.relative_to(relative[0])
    extent = float((relative.center.amax(0) - relative.center.amin(0)).amax())
    reach = REACH * extent if extent > 1e-9 else 1.0
    figure = Figure(figsize=(12.8, 7.2), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, side = figure.subplots(1, 2)
    # columns of world coordinates (right, down, forward) that lie across and up the page, and the latter's sign
    _draw(above, relative, reach, across=0, along=2, sign=1.0)
    _draw(side, relative, reach, across=2, along=1, sign=-1.0)
    above.set(title="from above", xlabel=f"right [{units}]", ylabel=f"forward [{units}]")
    side.set(title="from its right", xlabel=f"forward [{units}]", ylabel=f"up [{units}]")
    still = "" if extent > 1e-9 else "the camera turns on the spot"
    figure.suptitle("\n".join(line for line in (title, note, still) if line), fontsize=12)
    canvas.draw()
    picture = np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


def _draw(axes: "Axes", camera: Camera, reach: float, *, across: int, along: int, sign: float) -> None:
    def page(points: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return points[..., across].numpy(), (sign * points[..., along]).numpy()

    from matplotlib.patheffects import withStroke

    last = len(camera) - 1
    still = float((camera.center - camera.center[0]).abs().amax()) < 1e-9
    shown = _spread(last, FRUSTA)
    axes.plot(*page(camera.center), color=_colour(INK), linewidth=1.2, zorder=2)
    for frame in shown:
        colour = _colour(START if frame == 0 else PATH if frame == last else FAINT)
        # where the path ends as it began both colours are seen
        wide, order = (1.4, 4) if frame == 0 else (2.8, 3) if frame == last else (0.8, 1)
        for line in _frustum(camera[frame], reach):
            axes.plot(*page(line), color=colour, linewidth=wide, zorder=order)
    placed: list[np.ndarray] = []
    names = _names(camera, near=reach / 4)
    for frame in sorted(names, key=lambda frame: (frame not in (0, last), frame)):  # both ends before the rest
        eye, ahead = np.stack(page(camera.center[frame])), np.stack(page(camera.c2w[frame, :3, 2]))
        axes.plot(*eye, marker="o", markersize=4, color=_colour(INK), zorder=5)
        length = float(np.linalg.norm(ahead))
        ahead = ahead / length if length > 0.2 else np.array([-0.7, -0.7])  # it looks out of the page or into it
        at = eye + ahead * reach * 1.1 if still else eye
        if any(np.linalg.norm(at - other) < reach / 2 for other in placed):
            continue
        placed.append(at)
        # behind the eye, where no frustum is; below it when that would run out of the page sideways
        offset = 14 * ahead if still else -15 * ahead if abs(ahead[1]) > 0.5 else np.array([0.0, -15.0])
        text = axes.annotate(
            names[frame],
            (float(at[0]), float(at[1])),
            xytext=(float(offset[0]), float(offset[1])),
            textcoords="offset points",
            ha="center",
            va="center",
            color=_colour(START if frame == 0 else PATH if frame == last else INK),
            fontsize=11,
            zorder=6,
        )
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.14)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _names(camera: Camera, *, near: float) -> dict[int, str]:
    """What stands beside which frames."""
    last = len(camera) - 1
    names = {frame: str(frame) for frame in _spread(last, LABELS)}
    names[last] = f"{last} end"
    names[0] = "0 start"
    if last and float((camera.center[last] - camera.center[0]).norm()) < near:
        turned = float((camera.c2w[last, :3, 2] - camera.c2w[0, :3, 2]).norm()) > 0.05
        names |= {} if turned else {0: f"0 start, {last} end"}
        if not turned:
            del names[last]
    return names


def _frustum(camera: Camera, reach: float) -> list[Tensor]:
    """One camera as lines [n,3]: from the eye to the image's corners at depth `reach`, and the image's outline."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    # a wide lens is drawn as wide, and yet no larger than a narrow one
    depth = reach / float((0.5 / camera.intrinsics[0]).square().add(1).sqrt())
    outline = camera.unproject(corners, torch.full((4,), depth, dtype=torch.float64))
    rays = [torch.stack([camera.center, corner]) for corner in outline]
    return [*rays, torch.cat([outline, outline[:1]])]


def _spread(last: int, count: int) -> list[int]:
    return sorted(set(torch.linspace(0, last, min(count, last + 1)).round().long().tolist()))


def _colour(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in rgb)
    return red, green, blue
