"""World by world, how a memory's walks differ from the others': what docs/results.md says beside its tables.

    python benchmarks/differences.py outputs/results/worlds
    python benchmarks/differences.py outputs/results/worlds outputs/results/steps     # worlds that both runs have

Each folder is what `mirage evaluate synthetic --out` left. Memories of another folder than the first have its name in
brackets.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from mirage.evaluation.report import Summary, markdown_table

CEILING = "autoencoder"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="folders of `mirage evaluate synthetic`")
    parser.add_argument("--memory", default="latent", help="of the first folder, whose difference is told")
    asked = parser.parse_args(argv)
    missing = [run for run in asked.run if not (run / "results.json").is_file()]
    if missing:
        print(f"{missing[0]} has no results.json; expected a folder of `mirage evaluate synthetic`", file=sys.stderr)
        return 2
    found = psnr_by_world(asked.run)
    if asked.memory not in found:
        print(f"no memory {asked.memory!r}; accepted: {'; '.join(found)}", file=sys.stderr)
        return 2
    its = found.pop(asked.memory)
    rows = [
        row(its, asked.memory, other, of_other, what)
        for other, of_other in found.items()
        for what in ("return", "seen")
        if its.keys() & of_other.keys()
    ]
    print(markdown_table(rows))
    return 0


def psnr_by_world(runs: list[Path]) -> dict[str, dict[int, dict[str, float]]]:
    """{MEMORY: {SEED: {"return", "seen"}}}, the ceiling of the first run among them."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        for walk in json.loads((run / "results.json").read_text())["tasks"].values():
            ceiling = {CEILING: walk["others"][CEILING]} if run == runs[0] else {}
            for name, entry in {**walk["memories"], **ceiling}.items():
                label = name if run == runs[0] else f"{name} [{run.name}]"
                told = {"return": entry["return_psnr"], "seen": entry["seen_psnr"]}
                found.setdefault(label, {})[walk["seed"]] = told
    return found


def row(
    its: dict[int, dict[str, float]], name: str, other: str, of_other: dict[int, dict[str, float]], what: str
) -> dict[str, object]:
    """The differences in dB over the scenes that both have."""
    both = sorted(its.keys() & of_other.keys())
    apart = [its[seed][what] - of_other[seed][what] for seed in both]
    return {
        "dB": f"{name} - {other}",
        "what": what,
        name: Summary.of(its[seed][what] for seed in both),
        "other": Summary.of(of_other[seed][what] for seed in both),
        "difference": Summary.of(apart),
        "median": statistics.median(apart),
        "least": min(apart),
        "most": max(apart),
        "above -3": sum(value > -3 for value in apart),
        "worlds": len(apart),
    }


if __name__ == "__main__":
    sys.exit(main())
