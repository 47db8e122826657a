"""What people look at: frames, masks, depth, readouts, coverage, a memory from above and in space.

    mirage.show.frames(chunk.frames)                       a row of them
    mirage.show.readout(session.look(path))                what is remembered, view by view
    mirage.show.cloud(session.memory, model).save("memory.png")

Each gives a picture that a notebook draws and that `save` writes (`Shown`). `F` video frames, `T` views, `C` channels,
`h w` latent grid, `H W` pixels, `N` points.
"""

import importlib.util

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mirage.errors import InputError, check_number, short
from mirage.formats.image import frames_of
from mirage.formats.picture import contact_sheet, plot_lines, top_down_map
from mirage.formats.plots import MOST_POINTS, cloud_picture, grid_pictures, heat_maps
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthLike, DepthMap
from mirage.geometry.tensors import Flags, Reals
from mirage.kinds import checked
from mirage.memory import LatentSpatialMemory, Readout
from mirage.models.world import WorldModel
from mirage.show.colours import false_colours, true_colours
from mirage.show.shown import Animation, Shown

VIEWS = 4
"""So many views of a readout or a depth map are shown at most, spread evenly from the first to the last."""
TINT = torch.tensor([0.86, 0.25, 0.2])


@checked
def frames(frames: Tensor | np.ndarray, *, columns: int = 8, width: int = 160, title: str = "") -> Shown:
    """A row of `columns` frames, spread evenly, each `width` pixels wide. [F,3,H,W] or [F,H,W,3], uint8 or floats in
    [0, 1]."""
    video = frames_of(frames).float().clamp(0, 1)
    check_number("columns", columns, kind=int, low=1, high=100)
    check_number("width", width, kind=int, low=8, high=4096)
    return Shown(contact_sheet({"": video}, columns=min(columns, len(video)), width=width, title=title))


@checked
def animation(frames: Tensor | np.ndarray, *, fps: float = 16, width: int | None = None) -> Animation:
    """The same frames, moving; `width`: of each, in pixels."""
    check_number("frames per second", fps, low=0.1, high=100)
    video = frames_of(frames).float().clamp(0, 1)
    if width is not None:
        check_number("width", width, kind=int, low=8, high=4096)
        height = max(1, round(video.shape[2] * width / video.shape[3]))
        video = interpolate(video, (height, width), mode="bilinear", antialias=True)
    return Animation(video, fps)


@checked
def mask(mask: Flags, picture: Reals) -> Shown:
    """Where a mask [h,w], bool, is True over a picture [3,H,W] in [0, 1]: there it is red, elsewhere it is faint."""
    if mask.ndim != 2 or picture.ndim != 3 or picture.shape[0] != 3 or 0 in (*mask.shape, *picture.shape):
        raise InputError(f"a mask is bool [h,w], over a picture [3,H,W]; got {short(mask)} and {short(picture)}")
    size = (picture.shape[1], picture.shape[2])
    over = interpolate(mask[None, None].float().cpu(), size, mode="nearest")[0]
    picture = picture.detach().float().cpu().clamp(0, 1)
    tinted = 0.45 * picture + 0.55 * TINT[:, None, None]
    return Shown(torch.where(over > 0.5, tinted, 0.6 * picture + 0.4))


@checked
def depth(depth: DepthLike) -> Shown:
    """Depth [H,W] or [T,H,W] with its scale, near bright, unknown grey."""
    known = DepthMap.of(depth)
    maps = known[None] if known.z.ndim == 2 else known
    if maps.z.ndim != 3 or not maps.z.numel():
        raise InputError(f"depth is shown as [H,W] or [T,H,W], got {list(known.shape)}")
    some = _spread(len(maps))
    grids, valid = ({f"view {t}": part[t] for t in some} for part in (maps.z, maps.valid))
    return Shown(heat_maps(grids, known=valid, units="z-depth, world units"))


@checked
def readout(readout: Readout) -> Shown:
    """What a memory shows to some of the cameras: latents in false colours, which cells are known, and from which of
    the written frames each of them came, early dark and late bright. Holes are grey."""
    if not len(readout) or not readout.mask.numel():
        raise InputError("the readout is of no camera; accepted: one of 1 or more")
    some = _spread(len(readout))
    known = readout.mask.cpu()
    colours = torch.full((len(readout), *known.shape[1:], 3), 0.85)
    colours[known] = false_colours(readout.latents.detach().cpu().movedim(1, -1)[known])
    newest = max(int(readout.frame.max()), 1)
    age = (0.15 + 0.85 * readout.frame.cpu().float() / newest).clamp(0, 1)
    age = torch.where(known, age, 0.0)[..., None].expand(*known.shape, 3) * torch.tensor([1.0, 0.75, 0.3])
    age = torch.where(known[..., None], age, 0.85)
    rows = {
        "latents": [colours[t].permute(2, 0, 1) for t in some],
        "known": [torch.where(known[t], 0.1, 0.85).expand(3, *known.shape[1:]) for t in some],
        "from frame": [age[t].permute(2, 0, 1) for t in some],
    }
    titles = [f"view {t}: {known[t].float().mean():.0%}" for t in some]
    return Shown(grid_pictures(rows, titles=titles))


@checked
def coverage(coverage: Reals | Readout) -> Shown:
    """The share that is known, frame by frame: of a readout, or what `memory.coverage` says [T]."""
    share = coverage.coverage if isinstance(coverage, Readout) else coverage
    if share.ndim != 1 or not len(share):
        raise InputError(f"coverage is a share for each of T views [T], got {short(share)}")
    values = share.tolist()
    return Shown(plot_lines({"": (list(range(len(values))), values)}, x="view", y="share of cells that are known"))


@checked
def map(
    memory: LatentSpatialMemory, model: WorldModel | None = None, *, path: CameraLike | None = None, side: int = 720
) -> Shown:
    """The memory from above, x right, z up the page, with a path over it (None: the cameras that were written). With
    the model in the colours that its decoder gives, else in false ones. `side`: of the picture, in pixels."""
    check_number("side", side, kind=int, low=64, high=4096)
    points, cameras = memory.points, _path(memory, path)
    if not len(points):
        raise InputError("the memory is empty: there is nothing to show")
    return Shown(top_down_map(points.position, _colours(memory, model), cameras, sizes=points.footprint, side=side))


@checked
def cloud(
    memory: LatentSpatialMemory, model: WorldModel | None = None, *, path: CameraLike | None = None, side: int = 720
) -> Shown:
    """The memory in space, coloured as `map` is; where plotly is installed, to be turned with the mouse."""
    check_number("side", side, kind=int, low=64, high=4096)
    points, cameras = memory.points.position, _path(memory, path)
    if not len(points):
        raise InputError("the memory is empty: there is nothing to show")
    colours = _colours(memory, model)
    turns = _turning(points, colours, cameras) if importlib.util.find_spec("plotly") else None
    return Shown(cloud_picture(points, colours, cameras, side=side), turns)


def _turning(points: Tensor, colours: Tensor, cameras: Camera | None) -> str:
    """A page with the points, by plotly; its script comes from a server once."""
    from plotly import graph_objects  # pyright: ignore[reportMissingImports] -- where it is installed

    few = torch.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).long()
    (x, y, z), inks = points[few].cpu().T.numpy(), (colours[few] * 255).round().int().tolist()
    marks = {"size": 2, "color": [f"rgb({r},{g},{b})" for r, g, b in inks]}
    drawn = [graph_objects.Scatter3d(x=x, y=z, z=-y, mode="markers", marker=marks, name="points")]
    if cameras is not None:
        x, y, z = cameras.center.cpu().T.numpy()
        drawn.append(graph_objects.Scatter3d(x=x, y=z, z=-y, mode="lines", name="path"))
    axes = {f"{axis}axis_title": title for axis, title in zip("xyz", ("right", "forward", "up"), strict=True)}
    figure = graph_objects.Figure(drawn, {"scene": axes | {"aspectmode": "data"}, "showlegend": False, "height": 640})
    return figure.to_html(include_plotlyjs="cdn", full_html=False)


def _colours(memory: LatentSpatialMemory, model: WorldModel | None) -> Tensor:
    return false_colours(memory.points.feature) if model is None else true_colours(memory, model)


def _path(memory: LatentSpatialMemory, path: CameraLike | None) -> Camera | None:
    cameras = memory.cameras if path is None else Camera.of(path)
    cameras = cameras if cameras.shape else cameras[None]
    return cameras if len(cameras) else None


def _spread(count: int) -> list[int]:
    return sorted(set(torch.linspace(0, count - 1, min(count, VIEWS)).round().long().tolist()))
