"""Pictures for people: contact sheets, maps from above, simple plots. `F`: frames, `H W`: pixels, `N`: points.

sheet = contact_sheet({"with memory": frames, "without": others}, columns=8)     # [3,H,W] in [0, 1]
save_image("sheet.png", sheet)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from mirage.formats.image import to_bytes
from mirage.geometry.camera import Camera

PAPER, INK, FAINT = (255, 255, 255), (28, 30, 36), (128, 132, 142)
PATH, START = (214, 72, 60), (38, 120, 200)
MARGIN, GAP, TEXT, SMALL = 20, 6, 16, 11
LETTERS = 400
"""Of a text that is drawn: each takes room for all of its letters at once."""
DOT = 2, 24
"""Least and largest side of a point on a map, in pixels."""


def contact_sheet(
    rows: Mapping[str, Tensor],
    *,
    columns: int = 8,
    title: str = "",
    width: int = 160,
    captions: Mapping[str, Sequence[str]] | None = None,
) -> Tensor:
    """One labelled row per entry, `columns` frames [F,3,H,W] spread evenly from first to last -> [3,H,W].

    Frame numbers stand under the pictures; `captions[label]`, as many as pictures shown, replace them. Every picture is
    `width` pixels wide. Rows may differ in length and in aspect. Long titles and labels are broken into lines, and end
    after LETTERS: a prompt may be a book.
    """
    if not rows or columns < 1 or any(frames.ndim != 4 or len(frames) == 0 for frames in rows.values()):
        raise ValueError("a contact sheet has at least one row of frames [F,3,H,W] and at least one column")
    chosen = {
        label: torch.linspace(0, len(frames) - 1, min(columns, len(frames))).round().long().tolist()
        for label, frames in rows.items()
    }
    heights = {label: max(1, round(width * frames.shape[2] / frames.shape[3])) for label, frames in rows.items()}
    wide = 2 * MARGIN + columns * (width + GAP) - GAP
    title_lines = _broken(_short(title), _font(TEXT + 2), wide - 2 * MARGIN)
    label_lines = {label: _broken(_short(label), _font(TEXT), wide - 2 * MARGIN) for label in rows}
    line = TEXT + GAP + 2
    head = MARGIN + (len(title_lines) * line + GAP if title else 0)
    tall = (
        head
        + MARGIN // 2
        + sum(len(label_lines[label]) * line + heights[label] + SMALL + 2 * GAP + MARGIN // 2 for label in rows)
    )
    sheet = Image.new("RGB", (wide, tall), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, words in enumerate(title_lines):
        draw.text((MARGIN, MARGIN - 4 + number * line), words, fill=INK, font=_font(TEXT + 2))
    top = head
    for label, frames in rows.items():
        for words in label_lines[label]:
            draw.text((MARGIN, top), words, fill=INK, font=_font(TEXT))
            top += line
        words = (captions or {}).get(label) or [str(index) for index in chosen[label]]
        for column, (index, word) in enumerate(zip(chosen[label], words, strict=True)):
            left = MARGIN + column * (width + GAP)
            picture = _resized(frames[index], (heights[label], width))
            sheet.paste(Image.fromarray(to_bytes(picture)), (left, top))
            draw.text((left, top + heights[label] + 3), _short(word), fill=FAINT, font=_font(SMALL))
        top += heights[label] + SMALL + 2 * GAP + MARGIN // 2
    return _tensor(sheet)


def top_down_map(
    points: Tensor,
    colours: Tensor | None = None,
    camera: Camera | None = None,
    *,
    sizes: Tensor | None = None,
    side: int = 720,
) -> Tensor:
    """World points [N,3] seen from above (x right, z up the page), with colours [N,3] in [0, 1] and `sizes` [N] in
    world units (None: dots), and a camera path [F] over them as a line with view cones -> [3,side,side].

    Higher points (smaller y) lie on top. With cameras it is a plan, cut at the height of the highest: what is above,
    a ceiling, is left out, unless everything is. The bar is a length in world units. The frame holds 98 % of the
    points, and every camera.
    """
    points = points.detach().double().cpu()
    centers = camera.center.double().cpu().reshape(-1, 3) if camera is not None else points[:0]
    shown = torch.isfinite(points).all(-1)
    below = points[:, 1] >= (centers[:, 1].amin() if len(centers) else -math.inf)
    shown &= below if (shown & below).any() else True
    points = points[shown]
    low, extent = _frame(points, centers)
    scale = (side - 2 * MARGIN) / extent

    def page(world: Tensor) -> Tensor:
        x = MARGIN + (world[..., 0] - low[0]) * scale
        return torch.stack([x, side - MARGIN - (world[..., 2] - low[1]) * scale], dim=-1)

    paper = np.full((side, side, 3), 250, dtype=np.uint8)
    if len(points):
        ink = torch.full((len(shown), 3), 0.45) if colours is None else colours.detach().float().cpu().clamp(0, 1)
        wide = torch.zeros(len(shown)) if sizes is None else sizes.detach().float().cpu()
        height = points[:, 1].argsort(descending=True, stable=True)
        at, pixels = page(points[height]), (wide[shown][height] * scale).round().long().clamp(*DOT)
        top = _topmost((at - pixels[:, None] / 2).round().long(), pixels, side).numpy()
        paper[top >= 0] = (ink[shown][height] * 255).round().to(torch.uint8).numpy()[top[top >= 0]]
    image = Image.fromarray(paper)
    draw = ImageDraw.Draw(image)
    if camera is not None:
        _draw_path(draw, camera, centers, page, reach=0.04 * extent)
    _draw_bar(draw, side, scale, extent)
    return _tensor(image)


def plot_lines(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    title: str = "",
    size: tuple[int, int] = (480, 800),
    log: Literal["", "y", "xy"] = "",
) -> Tensor:
    """Curves by name, each (xs, ys), on labelled axes -> [3,H,W]. `log`: which axes are logarithmic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, needed by few
    from matplotlib.figure import Figure

    height, width = size
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, (xs, ys) in lines.items():
        axes.plot(xs, ys, label=label, marker="o", markersize=3, linewidth=1.6)
    axes.set(xlabel=x, ylabel=y, title=title, **{f"{axis}scale": "log" for axis in log})
    if "y" not in log and all(y >= 0 for _, ys in lines.values() for y in ys):
        axes.set_ylim(bottom=0)
    if "x" not in log and all(float(at).is_integer() for xs, _ in lines.values() for at in xs):
        ticks: Any = axes.xaxis.get_major_locator()
        ticks.set_params(integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(frameon=False)
    canvas.draw()
    return _tensor(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 3]}..."


def _broken(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken between words; one word that is wider stays whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _frame(points: Tensor, centers: Tensor) -> tuple[Tensor, float]:
    """Lower left corner (x, z) and side of a square around 98 % of the points and all cameras."""
    flat = centers[:, [0, 2]]
    if len(points):
        sample = points[:: max(1, len(points) // 100_000), [0, 2]]
        flat = torch.cat([flat, torch.quantile(sample, torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)])
    if not len(flat):
        return torch.full((2,), -0.5, dtype=torch.float64), 1.0
    low, high = flat.amin(0), flat.amax(0)
    extent = max(float((high - low).amax()) * 1.08, 1e-3)
    return (low + high) / 2 - extent / 2, extent


def _topmost(corner: Tensor, pixels: Tensor, side: int) -> Tensor:
    """Which of the squares with upper left `corner` [N,2] (x, y) and sides of `pixels` [N] lies on top, the last of
    those that cover it, for each place of a page [side,side]; -1 for none. Squares of one size are drawn together: each
    marks its corner, and a place takes the last of the corners within a size of it."""
    edge = DOT[1]  # squares may begin outside the page
    top = torch.full((side, side), -1, dtype=torch.int32)
    near = ((corner > -edge) & (corner < side)).all(-1)
    for size in torch.unique(pixels[near]).tolist():
        (number,) = (near & (pixels == size)).nonzero(as_tuple=True)
        x, y = (corner[number] + edge).unbind(-1)
        marks = torch.full(((side + edge) ** 2,), -1, dtype=torch.int32)
        marks.scatter_reduce_(0, y * (side + edge) + x, number.int(), "amax")
        top = torch.maximum(top, _reaching(marks.view(side + edge, side + edge), size)[edge:, edge:])
    return top


def _reaching(marks: Tensor, size: int) -> Tensor:
    """Each place has the largest of the `size` x `size` marks that end with it: by doubling, along one axis and then
    the other."""
    for axis in (0, 1):
        width = 1
        while width < size:
            step = min(width, size - width)
            length = marks.shape[axis] - step
            later = torch.maximum(marks.narrow(axis, step, length), marks.narrow(axis, 0, length))
            marks, width = torch.cat([marks.narrow(axis, 0, step), later], dim=axis), width + step
    return marks


def _draw_path(draw: ImageDraw.ImageDraw, camera: Camera, centers: Tensor, page, *, reach: float) -> None:
    """The path, a view cone at up to a dozen cameras, and a dot where it starts."""
    draw.line([tuple(point) for point in page(centers).tolist()], fill=PATH, width=2)
    single = camera.to("cpu").to(torch.float64)
    every = Camera(single.c2w.reshape(-1, 4, 4), single.intrinsics.reshape(-1, 4))
    for frame in range(0, len(every), max(1, len(every) // 12)):
        sides = every[frame].unproject(
            torch.tensor([[0.0, 0.5], [1.0, 0.5]], dtype=torch.float64), torch.full((2,), reach, dtype=torch.float64)
        )
        corners = page(torch.cat([centers[frame][None], sides]))
        draw.polygon([tuple(corner) for corner in corners.tolist()], outline=PATH)
    x, y = page(centers[0]).tolist()
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=START)


def _draw_bar(draw: ImageDraw.ImageDraw, side: int, scale: float, extent: float) -> None:
    """A round length of about a fifth of the map."""
    power = 10 ** np.floor(np.log10(extent / 5))
    length = float(max(step for step in (1, 2, 5) if step * power <= extent / 5) * power)
    right, y = MARGIN + length * scale, side - MARGIN // 2
    draw.line((MARGIN, y, right, y), fill=INK, width=2)
    draw.text((right + GAP, y - SMALL // 2 - 2), f"{length:g}", fill=INK, font=_font(SMALL))


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    image = image.detach().float().cpu()
    if image.shape[-2:] == size:
        return image
    return interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _tensor(image: Image.Image) -> Tensor:
    return rearrange(torch.from_numpy(np.array(image, dtype=np.float32) / 255), "h w c -> c h w").contiguous()
