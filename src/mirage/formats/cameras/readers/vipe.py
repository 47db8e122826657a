"""ViPE's pair: pose/NAME.npz (`data` [F,4,4] camera-to-world, `inds` [F] frame numbers) and intrinsics/NAME.npz (`data`
[F,4] = fx fy cx cy in pixels, `inds`), or the folder that holds both; or pose.npz with intrinsics.npz beside it, as the
published code's data have them. OpenCV axes. https://github.com/nv-tlabs/vipe

Frames that `inds` leaves out were lost. The size of the images stands nowhere but in the video: twice the principal
point.
"""

from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.formats.cameras.arrays import floats, pose_array
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.pixels import unit_square
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.readers.npztools import twice
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import Npz
from mirage.natural import natural


def sniff(content: Content) -> bool:
    """data and inds."""
    return {"data", "inds"} <= content.keys


def sniff_folder(content: Content) -> bool:
    """pose/*.npz and intrinsics/*.npz."""
    return any(content.path.glob("pose/*.npz")) and any(content.path.glob("intrinsics/*.npz"))


def read_folder(content: Content, options: CameraOptions) -> Poses:
    """The one film of a folder, or that which the option camera names."""
    files = {path.stem: path for path in sorted(content.path.glob("pose/*.npz"), key=natural)}
    chosen = options.camera or (next(iter(files)) if len(files) == 1 else None)
    if chosen is None or chosen not in files:
        got = "several films" if chosen is None else f"no film {chosen!r}"
        listed = ", ".join(list(files)[:8])
        raise InputError(f"{content.source} has {got}: {listed}; expected the option camera to say one")
    return read(_npz(files[chosen]), options)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of their frame numbers."""
    if len(content.shape("data")) == 2:
        folder, name = content.path.parent, content.path.name
        pair = folder / "pose.npz" if name == "intrinsics.npz" else folder.parent / "pose" / name
        if not pair.is_file():
            raise InputError(f"{content.source} has intrinsics alone; expected {pair} beside it")
        content = _npz(pair)
    poses, lost = pose_array(content, "data")
    inds = _inds(content, len(poses))
    order = torch.argsort(inds)
    poses, inds = poses[order], inds[order]
    gone = torch.zeros(len(poses), dtype=torch.bool) if lost is None else lost[order]
    values, size, said = _intrinsics(content, inds, options)
    first, frames = int(inds[0]), int(inds[-1] - inds[0]) + 1
    check_count(frames, source=content.source)
    whole = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    absent = torch.ones(frames, dtype=torch.bool)
    whole[inds - first], absent[inds - first] = poses, gone
    if values is not None and values.ndim == 2:
        spread = values[:1].repeat(frames, 1)
        spread[inds - first] = values
        values = spread
    return Poses(
        whole,
        "c2w",
        values,
        units="pixels",
        pixel_centers=options.pixel_centers or "half",
        confidence="stated",
        names=tuple(str(first + i) for i in range(frames)),
        size=size,
        lost=absent if absent.any() else None,
        warnings=tuple(said),
    )


def _intrinsics(
    content: Content, inds: torch.Tensor, options: CameraOptions
) -> tuple[torch.Tensor | None, tuple[int, int] | None, list[str]]:
    file = content.path.parent.parent / "intrinsics" / content.path.name
    if content.path.name == "pose.npz" and not file.is_file():
        file = content.path.with_name("intrinsics.npz")
    if not file.is_file():
        return None, options.size, [f"its intrinsics are not at {file}"]
    pair = _npz(file)
    if not {"data", "inds"} <= pair.keys:
        raise InputError(f"{file} has the arrays {sorted(pair.arrays)[:8]}; expected data and inds")
    rows = floats(pair.arrays["data"], where=f"{file}: 'data'")
    if rows.ndim != 2 or rows.shape[1] < 4 or len(rows) == 0:
        raise InputError(f"{file}: 'data' is {list(rows.shape)}; expected [F,4] = fx fy cx cy")
    known = {int(frame): row for frame, row in zip(_inds(pair, len(rows)), rows[:, :4], strict=True)}
    pixels = torch.stack([known.get(int(frame), rows[0, :4]) for frame in inds])
    size, said = (options.size, []) if options.size else twice(pixels[0, 2:], source=str(file))
    unit, odd = unit_square(pixels, size, pixel_centers=options.pixel_centers or "half", source=str(file))
    return unit, size, said + odd


def _inds(content: Content, frames: int) -> torch.Tensor:
    inds = floats(content.arrays["inds"], where=f"{content.source}: 'inds'")
    if inds.shape != (frames,) or not bool(((inds >= 0) & (inds < 1e9) & (inds == inds.round())).all()):
        raise InputError(f"{content.source}: 'inds' is no list of {frames} frame numbers")
    if len(inds.unique()) != frames:
        raise InputError(f"{content.source}: 'inds' has a frame number twice")
    return inds.long()


def _npz(path: Path) -> Content:
    return Content(path, "arrays", arrays=Npz(path, accepts="an .npz of ViPE"))


FORMAT = CameraFormat("vipe", "ViPE npz", "arrays", sniff, read)
FOLDER = CameraFormat("vipe-folder", "ViPE folder", "folder", sniff_folder, read_folder)
