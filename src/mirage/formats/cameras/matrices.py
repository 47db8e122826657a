"""Pose matrices as files hold them: one per text file, nested lists of JSON, arrays."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.poses import check_bottom_row
from mirage.formats.source import numbers, read_text


def matrix(file: Path, side: int, *, finite: bool = True) -> Tensor:
    """The matrix [side,side] of a text file; a larger one (4x4 intrinsics) is cut. `finite` False: NaN and infinite
    numbers are read too, as those of a pose that was lost."""
    accepts = f"a {side}x{side} matrix as text"
    lines = read_text(file, accepts=accepts).splitlines()[:1000]
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    if side == 3 and len(rows) == 4 and all(len(row) == 4 for row in rows):
        rows = [row[:3] for row in rows[:3]]
    if len(rows) != side or any(len(row) != side for row in rows):
        raise InputError(
            f"{file} has {len(rows)} lines of {sorted({len(row) for row in rows})[:4]} numbers; expected {accepts}"
        )
    where = f"{file}: line "
    values = [
        numbers(row, where=f"{where}{number}") if finite else _any_numbers(row, where=f"{where}{number}")
        for number, row in enumerate(rows, start=1)
    ]
    return torch.tensor(values, dtype=torch.float64)


def flat(value: Any, *, where: str, rows: tuple[int, ...] = (3, 4), columns: int = 4) -> list[float]:
    """A matrix of nested lists, or of one flat list, row by row -> its numbers."""
    if isinstance(value, list) and all(isinstance(row, list) for row in value):
        if len(value) not in rows or any(len(row) != columns for row in value):
            raise InputError(f"{where} has a matrix of {len(value)} rows; expected {_shapes(rows, columns)}")
        value = [number for row in value for number in row]
    if not isinstance(value, list) or len(value) not in {row * columns for row in rows}:
        got = f"{len(value)} numbers" if isinstance(value, list) else type(value).__name__
        raise InputError(f"{where} has {got}; expected a matrix {_shapes(rows, columns)}")
    return numbers(value, where=where)


def check_poses(poses: Tensor, *, source: str) -> Tensor | None:
    """Which of poses [F,4,4] are lost (not finite, or all zeros); the others have to end in 0 0 0 1."""
    lost = ~torch.isfinite(poses).all((-1, -2)) | (poses == 0).all(-1).all(-1)
    if (~lost).any():
        there = poses.clone()
        there[lost] = torch.eye(4, dtype=poses.dtype)
        check_bottom_row(there, source=source)
    return lost if lost.any() else None


def _any_numbers(words: list[str], *, where: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"{where}: {' '.join(words)[:40]!r} are not numbers") from error


def _shapes(rows: tuple[int, ...], columns: int) -> str:
    return " or ".join(f"{row}x{columns}" for row in rows)


def by_rows(values: Tensor, *, source: str, usual: str) -> Tensor:
    """16 numbers each [F,16] -> [F,4,4], by rows or by columns as the place of their 0 0 0 1 says.

    A path that never leaves the origin fits both; it is then read as is `usual`.
    """
    rows = values.unflatten(1, (4, 4))
    end = values.new_tensor([0, 0, 0, 1])
    fits = {"rows": bool(((rows[:, 3] - end).abs() < 1e-6).all())}
    fits["columns"] = bool(((rows[:, :, 3] - end).abs() < 1e-6).all())
    if fits["rows"] == fits["columns"] or not fits[usual]:
        chosen = usual if fits["rows"] == fits["columns"] else ("rows" if fits["rows"] else "columns")
    else:
        chosen = usual
    if not any(fits.values()):
        check_bottom_row(rows if usual == "rows" else rows.mT, source=source)
    return rows if chosen == "rows" else rows.mT.contiguous()
