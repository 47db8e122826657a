"""Scores of walks through many scenes: means with their spread, and the tables of the report."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.revisit import LEAST_RANGE

CEILING = "autoencoder"
BASELINE = "none"


def summarise(results: Sequence[Mapping[str, Any]], memories: Sequence[str]) -> dict[str, Any]:
    """Means over scenes with their spread; see `synthetic.evaluate_synthetic`."""
    if not results:
        return {
            "return": {},
            "seen": {},
            "controls": {},
            "ceiling": {},
            "depth_absrel_by_chunk": {},
            "coverage_by_chunk": {},
            "memory_bytes_by_chunk": {},
            "nmr": {},
            "psnr_c": {},
            "gain_over_none": {},
            "visits": {},
        }
    own = {name: [r["memories"][name] for r in results] for name in memories}
    others = {name: [r["others"][name] for r in results] for name in results[0]["others"]}
    shown = {
        name: {**_pair(rows, "return"), "seen": _pair(rows, "seen"), "nmr": _nmr(rows), "psnr_c": _loop(rows)}
        for name, rows in others.items()
    }
    return {
        "return": {name: _pair(rows, "return") for name, rows in own.items()},
        "seen": {
            name: {**_pair(rows, "seen"), "by_chunk": _by_chunk(rows, "seen_psnr_by_chunk")}
            for name, rows in own.items()
        },
        "controls": {name: entry for name, entry in shown.items() if name != CEILING},
        "ceiling": shown.get(CEILING, {}),
        "nmr": {name: _nmr(rows) for name, rows in own.items()},
        "psnr_c": {name: _loop(rows) for name, rows in own.items()},
        "gain_over_none": {
            name: _difference(rows, own[BASELINE]) for name, rows in own.items() if BASELINE in own and name != BASELINE
        },
        "visits": {name: _visits(rows) for name, rows in {**own, **others}.items()},
        **{
            f"{key}_by_chunk": {name: _by_chunk(rows, f"{key}_by_chunk") for name, rows in own.items()}
            for key in ("depth_absrel", "coverage", "memory_bytes", "psnr")
        },
    }


def synthetic_table(summary: Mapping[str, Any]) -> str:
    """One row per memory, control and ceiling."""
    rows = [
        {
            "memory": name,
            **_columns(summary["return"][name], summary["seen"][name]),
            "NMR": summary["nmr"][name],
            "PSNR_C": summary["psnr_c"][name],
            "over none, dB": _as_summary(summary["gain_over_none"].get(name)),
        }
        for name in summary["return"]
    ]
    rest = {f"control: {name}": entry for name, entry in summary["controls"].items()}
    if summary["ceiling"]:
        rest["ceiling: " + CEILING] = summary["ceiling"]
    rows += [
        {"memory": name, **_columns(entry, entry["seen"]), "NMR": entry["nmr"], "PSNR_C": entry["psnr_c"]}
        for name, entry in rest.items()
    ]
    return markdown_table(rows)


def chunk_table(summary: Mapping[str, Any]) -> str:
    rows = []
    for name in summary["return"]:
        for key, label in (
            ("seen", "seen PSNR"),
            ("coverage_by_chunk", "coverage"),
            ("depth_absrel_by_chunk", "depth AbsRel"),
        ):
            values = summary["seen"][name]["by_chunk"] if key == "seen" else summary[key][name]
            rows.append({"memory": name, "what": label, **{f"chunk {i}": v for i, v in enumerate(values, start=1)}})
    return markdown_table(rows, columns=None if rows else ["memory"])


def visit_table(summary: Mapping[str, Any]) -> str:
    """PSNR each time that a walk stands where it began; more than one for kind back_and_forth."""
    rows = [
        {"memory": name, **{f"after chunk {visit['chunk']:g}": _as_summary(visit) for visit in visits}}
        for name, visits in summary["visits"].items()
        if visits
    ]
    return markdown_table(rows, columns=None if rows else ["memory"])


def _pair(rows: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    quality = Summary.of(row[f"{what}_psnr"] for row in rows)
    return {
        "psnr": quality.mean,
        "ssim": Summary.of(row[f"{what}_ssim"] for row in rows).mean,
        "n": quality.n,
        "spread": quality.spread,
    }


def _by_chunk(rows: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    return [Summary.of(values).mean for values in zip(*(row[key] for row in rows), strict=True)]


def _nmr(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over PSNR and SSIM of the ratio of means over scenes."""
    ratios = []
    for metric in rows[0]["gain"]:
        gains = [
            row["gain"][metric]
            for row in rows
            if (row["gain"][metric]["range"] or 0.0) > LEAST_RANGE and row["gain"][metric]["gain"] is not None
        ]
        ratios.append(sum(g["gain"] for g in gains) / sum(g["range"] for g in gains) if gains else None)
    return Summary.of(ratios).mean


def _loop(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return Summary.of(row["psnr_c"] for row in rows).mean


def _visits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return by return, over the scenes whose path has as many."""
    visits = []
    for some in zip_longest(*(row["visits"] for row in rows)):
        there = [visit for visit in some if visit is not None]
        quality = Summary.of(visit["psnr"] for visit in there)
        visits.append(
            {
                "chunk": Summary.of(visit["chunk"] for visit in there).mean,
                "psnr": quality.mean,
                "spread": quality.spread,
                "n": quality.n,
            }
        )
    return visits


def _difference(
    rows: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], *, draws: int = 2000
) -> dict[str, Any]:
    """Scene by scene on return, in dB: mean, spread, n, and the 95 % interval of the mean (bootstrap over scenes)."""
    values = [
        a["return_psnr"] - b["return_psnr"]
        for a, b in zip(rows, baseline, strict=True)
        if a["return_psnr"] is not None and b["return_psnr"] is not None
    ]
    if not values:
        return {**asdict(Summary.of([])), "low": None, "high": None}
    rng = random.Random(0)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(draws))
    return {**asdict(Summary.of(values)), "low": means[draws // 40], "high": means[-draws // 40]}


def _columns(back: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "return PSNR": _as_summary(back),
        "return SSIM": back["ssim"],
        "seen PSNR": _as_summary(seen),
        "seen SSIM": seen["ssim"],
        "n": back["n"],
    }


def _as_summary(entry: Mapping[str, Any] | None) -> Summary | None:
    return None if entry is None else Summary(entry.get("psnr", entry.get("mean")), entry["spread"], entry["n"])
