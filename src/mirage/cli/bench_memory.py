"""`mirage bench memory`: how fast the memory reads and writes, as a table, a plot or JSON."""

from typing import Any

from mirage.cli.arguments import BenchMemory
from mirage.cli.terminal import Result, Wrote
from mirage.evaluation.speed import memory_speed
from mirage.files import Output, check_outputs
from mirage.formats.image import save_image
from mirage.formats.picture import plot_lines


def run(asked: BenchMemory) -> Result:
    """Measure, print a table, draw the plot that was asked for."""
    if asked.plot is not None:
        check_outputs(Output("plot", asked.plot, (".png",)), overwrite=asked.overwrite)
    measured = memory_speed.run(asked.points, repeats=asked.repeats)
    print(memory_speed.table(measured))
    if asked.plot is not None:
        wrote = Wrote(asked.plot)
        save_image(asked.plot, _plot(measured["read"]))
        wrote(str(asked.plot))
    return Result(measured)


def _plot(rows: list[dict[str, Any]]):
    """Milliseconds over points, one line per backend and one for the published algorithm."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        points, ms = lines.setdefault(f"{row['settings']}, {row['backend']}", ([], []))
        points.append(row["points"])
        ms.append(row["ms"])
    published = {row["points"]: row["published_ms"] for row in rows}
    lines["published algorithm"] = (list(published), list(published.values()))
    return plot_lines(lines, x="points in the memory", y="ms per read of 9 cameras", log="xy")
