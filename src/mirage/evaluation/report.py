"""Numbers for people and for programs: means with their spread, Markdown tables, plain JSON. And the published figures,
as published, marked as such and never mixed with ours.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Summary:
    """Of `n` values that are numbers: their mean, and their standard deviation as `spread` (None for one value)."""

    mean: float | None
    spread: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Summary":
        """Values that are None, NaN or infinite are left out; without any left there is no mean."""
        kept = [float(value) for value in values if value is not None and math.isfinite(value)]
        if not kept:
            return cls(None, None, 0)
        return cls(statistics.fmean(kept), statistics.stdev(kept) if len(kept) > 1 else None, len(kept))


def summarised(rows: Sequence[Mapping[str, Any]]) -> dict[str, Summary]:
    """Column by column over the rows that have it as a number."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value)))
    return {name: Summary.of(row[name] for row in rows if _is_number(row.get(name))) for name in names}


def markdown_table(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> str:
    """One line per row. Numbers keep three significant decimals; a `Summary` is "mean ± spread", of one value its mean;
    nothing is "-"."""
    names = list(columns) if columns else list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """As JSON can say it: dataclasses and tensors unfolded, NaN and infinity become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


PUBLISHED: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "RealEstate10K": (
        {"system": "Mirage", "PSNR": 18.38, "SSIM": 0.779, "LPIPS": 0.250},
        {"system": "Spatia", "PSNR": 18.58, "SSIM": 0.646, "LPIPS": 0.254},
        {"system": "VMem", "PSNR": 14.62, "SSIM": 0.522, "LPIPS": 0.426},
        {"system": "Voyager", "PSNR": 17.79, "SSIM": 0.636, "LPIPS": 0.297},
    ),
    "closed loop": (
        {"system": "Mirage", "PSNR_C": 20.05, "SSIM_C": 0.825, "LPIPS_C": 0.228},
        {"system": "Spatia", "PSNR_C": 19.38, "SSIM_C": 0.579, "LPIPS_C": 0.213},
        {"system": "GEN3C", "PSNR_C": 19.55, "SSIM_C": 0.808, "LPIPS_C": 0.230},
        {"system": "Voyager", "PSNR_C": 17.66, "SSIM_C": 0.540, "LPIPS_C": 0.380},
        {"system": "Wan2.2, no memory (Spatia's run, 2 clips)", "PSNR_C": 13.00, "SSIM_C": 0.377},
    ),
    "WorldScore": (
        {"system": "Mirage", "average": 70.36, "static": 73.60, "dynamic": 67.11},
        {"system": "Spatia", "average": 69.73, "static": 72.63, "dynamic": 66.82},
        {"system": "Voyager", "average": 66.08, "static": 77.62, "dynamic": 54.53},
    ),
}
"""arXiv 2606.09828 and its peers, other machines, other clips, SSIM conventions unstated: for orientation only."""


def published_table(name: str) -> str:
    """One of `PUBLISHED`, every row marked."""
    return markdown_table(
        [{"as published": row["system"], **{k: v for k, v in row.items() if k != "system"}} for row in PUBLISHED[name]]
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if isinstance(value, Summary):
        mean = "-" if value.mean is None else _number(value.mean)
        return mean if value.spread is None else f"{mean} ± {_number(value.spread)}"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return _number(value) if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
