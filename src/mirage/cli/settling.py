"""`mirage camera --images`: the pictures of a path say which of its readings is right. `F`: poses."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from mirage.errors import InputError
from mirage.evaluation.epipolar import Fit, agreement, decided, pairs
from mirage.formats.cameras import CameraOptions, CameraRecord, read_cameras
from mirage.formats.cameras.record import Axes, Pose, Quaternion
from mirage.formats.footage import PICTURES, Footage
from mirage.formats.image import load_image
from mirage.natural import natural


def settled(
    record: CameraRecord, path: Path, options: CameraOptions, pictures: Path
) -> tuple[CameraRecord, list[str], dict[str, Any]]:
    """The record that the pictures agree with, what there is to say of it, and the same for a machine.

    A person's options are never overruled, nor is a file that states its convention: there a disagreement is told.
    """
    records = _readings(record, path, options)
    seen = _pictures(pictures, record)
    fits = agreement({name: reading.camera for name, reading in records.items()}, lambda frame: seen[frame])
    best, own = decided(fits), _name(record)
    (first, fit), *rest = fits.items()
    told = f"{fit.share:.0%} of {fit.matches:,} matches agree with {first}"
    told += f", {rest[0][1].share:.0%} with {rest[0][0]}" if rest else ""
    summary = {"images": {"decided": best, "fits": {name: _numbers(fit) for name, fit in fits.items()}}}
    if best is None:
        words = f"its pictures do not settle it: {told}; read as {own}"
        return record, [words], summary
    if best == own:
        return record, [f"its pictures agree: {told}"], summary
    if record.confidence == "stated":
        words = f"its pictures speak against it: {told}; the file says {own}, and so it is read"
        return record, [words], summary
    return records[best], [f"its pictures settle it: {told}; {own} would be usual"], summary


def _readings(record: CameraRecord, path: Path, options: CameraOptions) -> dict[str, CameraRecord]:
    """By name, every way to read the file that a person's options leave open; the own one first."""
    found = {_name(record): record}
    orders = get_args(Quaternion) if record.quaternion and options.quaternion is None else (options.quaternion,)
    for pose in get_args(Pose) if options.pose is None else (options.pose,):
        for axes in get_args(Axes) if options.axes is None else (options.axes,):
            for order in orders:
                try:
                    reading = read_cameras(path, replace(options, pose=pose, axes=axes, quaternion=order))
                except InputError:  # what cannot be read so is no reading
                    continue
                found.setdefault(_name(reading), reading)
    return found


def _name(record: CameraRecord) -> str:
    return ", ".join([record.pose, f"{record.axes} axes", *([record.quaternion] if record.quaternion else [])])


def _numbers(fit: Fit) -> dict[str, float]:
    return {"share": fit.share, "error": fit.error, "matches": fit.matches}


def _pictures(where: Path, record: CameraRecord) -> dict[int, Tensor]:
    """Those frames [3,H,W] that will be looked at, by their pose."""
    frames = len(record.camera)
    wanted = sorted({frame for pair in pairs(frames) for frame in pair})
    if not where.is_dir():
        footage = Footage(where, None, None, "")
        if (count := footage.count()) != frames:
            raise InputError(f"{where} has {count} frames and the path {frames} poses; expected one each")
        return dict(zip(wanted, footage.frames(wanted).float() / 255, strict=True))
    files = [file for file in where.iterdir() if file.suffix.lower() in PICTURES and "depth" not in file.name.lower()]
    files.sort(key=natural)
    by_name = {file.name: file for file in files}
    names = [Path(name).name for name in record.names or ()]
    if names and by_name.keys() >= set(names):
        files = [by_name[name] for name in names]
    if len(files) != frames:
        raise InputError(
            f"{where} has {len(files)} pictures and the path {frames} poses; expected one each, or the file's own names"
        )
    return {frame: load_image(files[frame]) for frame in wanted}
