"""What was measured, as data: results/WEIGHTS/NAME.json, one file per command. `results.py` writes them, `render.py`
makes pages and plots of them, and nobody types a figure twice.

    name, command      which measurement, and what was typed to make it
    weights            of the bundled model
    machine, how       where, and how many processes and threads
    date, commit       of the code that was measured; of older figures: of the commit that wrote them down
    seconds            how long the command took, None where it is not known
    tables             {heading: rows}, a row {column: cell}
    notes              what it said beside its tables, a line each

A cell is text, a number, nothing (None), or one of these, by its keys:

    {mean, spread}          over the row's n things; where n is 1 there is no spread, and the cell is the number
    {value, low, high}      a median with its quartiles, or with the least and the most of the repeats
    {count, of, low, high}  so many of so many, with a 95 % interval
"""

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mirage.files import replacing

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "ninth"
"""The version of the weights that ship; older versions' figures are in docs/log."""
FOLDER = ROOT / "results" / WEIGHTS

Cell = str | float | int | None | dict[str, float]
Row = dict[str, Cell]
Tables = dict[str, list[Row]]

_NUMBER = r"-?\d+(?:\.\d+)?"
_FORMS = (
    (re.compile(rf"({_NUMBER}) ± ({_NUMBER})"), ("mean", "spread")),
    (re.compile(rf"({_NUMBER}) \(({_NUMBER}) to ({_NUMBER})\)"), ("value", "low", "high")),
    (re.compile(rf"(\d+) of (\d+) \(({_NUMBER}) to ({_NUMBER})\)"), ("count", "of", "low", "high")),
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement."""

    name: str
    command: str
    weights: str
    machine: str
    how: str
    date: str
    commit: str
    seconds: float | None
    tables: Tables
    notes: list[str]

    def rows(self, heading: str) -> list[Row]:
        """A table; KeyError with the headings that there are."""
        if heading not in self.tables:
            raise KeyError(f"{self.name} has no table {heading!r}; there are {', '.join(self.tables)}")
        return self.tables[heading]

    def cell(self, heading: str, column: str, **where: str) -> Any:
        """The cell of the one row whose columns say `where`, such as memory="latent"."""
        found = [row for row in self.rows(heading) if all(row.get(key) == value for key, value in where.items())]
        if len(found) != 1:
            raise KeyError(f"{self.name}, {heading}: {len(found)} rows have {where}")
        return found[0][column]

    def save(self, folder: Path = FOLDER) -> Path:
        """To `folder`/NAME.json, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        with replacing(path) as beside:
            beside.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def load(folder: Path = FOLDER) -> dict[str, Record]:
    """All measurements of a folder, by name."""
    return {path.stem: Record(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))}


def measured(name: str, command: str, printed: str, *, how: str, seconds: float | None) -> Record:
    """What a command printed, with the circumstances of this checkout and this machine."""
    tables, notes = read_json(printed) or read_report(printed)
    return Record(
        name=name,
        command=command,
        weights=WEIGHTS,
        machine=this_machine(),
        how=how,
        date=datetime.now(UTC).date().isoformat(),
        commit=this_commit(),
        seconds=seconds,
        tables=tables,
        notes=notes,
    )


def read_report(printed: str) -> tuple[Tables, list[str]]:
    """The tables of a printed report and the lines beside them. A table has the name of the heading right above it, or
    of the line that ends with a colon; else that of its first column."""
    tables: Tables = {}
    notes: list[str] = []
    name = ""
    for block in re.split(r"\n\s*\n", printed.strip()):
        lines = block.strip().splitlines()
        if lines[0].startswith("|"):
            columns, _, *rows = [_cells(line) for line in lines]
            name = name or columns[0]
            assert name not in tables, f"two tables are called {name!r}"
            tables[name] = [_alone(dict(zip(columns, map(read_cell, row), strict=True))) for row in rows]
            name = ""
        elif lines[0].startswith("#") or lines[-1].endswith(":"):
            name = lines[-1].strip("# :")
        else:
            notes += [line.removeprefix("- ") for line in (lines if lines[0].startswith("- ") else [" ".join(lines)])]
    return tables, notes


def read_json(printed: str) -> tuple[Tables, list[str]] | None:
    """The same of a command that prints JSON, alone or as its last line: lists of rows are tables, mappings too."""
    found = None
    for part in (printed, printed.strip().rpartition("\n")[2]):
        try:
            found = json.loads(part)
            break
        except ValueError:
            continue
    if not isinstance(found, dict):
        return None
    tables: Tables = {}
    for name, value in found.items():
        rows = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
        if rows and all(isinstance(row, dict) for row in rows):
            tables[name] = [
                {key: cell if isinstance(cell, str | int | float) else None for key, cell in r.items()} for r in rows
            ]
    return tables, []


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def read_cell(text: str) -> Cell:
    """A printed cell as data."""
    if text in ("-", ""):
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(_NUMBER, text):
        return float(text)
    for form, names in _FORMS:
        if found := form.fullmatch(text):
            return dict(zip(names, map(float, found.groups()), strict=True))
    return text


def this_machine() -> str:
    """Processor and cores, and the GPU where there is one."""
    import torch

    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    words = f"{os.cpu_count()} cores, {model[1] if model else platform.processor() or platform.machine()}"
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{words}{gpu}; torch {torch.__version__}"


def _alone(row: Mapping[str, Cell]) -> Row:
    """A row without spreads where there is one thing, or nothing that differs."""

    def single(cell: Cell) -> bool:
        return isinstance(cell, dict) and "spread" in cell and (row.get("n") == 1 or cell["spread"] == 0)

    return {name: cell["mean"] if single(cell) else cell for name, cell in row.items()}  # pyright: ignore[reportArgumentType, reportIndexIssue, reportOptionalSubscript, reportCallIssue]


def this_commit() -> str:
    """Of this checkout, and whether anything was changed since."""
    return _git("describe", "--always", "--dirty", "--abbrev=7")


def _git(*words: str) -> str:
    said = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def text(cell: Any, decimals: int = 2) -> str:
    """A cell as a page shows it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return number(cell, decimals)
    if not isinstance(cell, Mapping):
        return str(cell)
    decimals = _decimals(cell)
    if "mean" in cell:
        places = min(decimals, _places(cell["mean"]))
        return f"{cell['mean']:.{places}f} ± {cell['spread']:.{places}f}"
    if "count" in cell:
        return f"{cell['count']:g} of {cell['of']:g} ({cell['low']:.2f} to {cell['high']:.2f})"
    return f"{number(cell['value'], decimals)} ({number(cell['low'], decimals)} to {number(cell['high'], decimals)})"


def number(value: float, decimals: int = 2) -> str:
    """With so many decimals, and fewer where the number is large."""
    return f"{value:.{min(decimals, _places(value))}f}"


def markdown(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> str:
    """Rows as a Markdown table: all columns that any row has, or some of them ("old => new" renames)."""
    asked = list(columns or ()) or list(dict.fromkeys(name for row in rows for name in row))
    names = [(name.split(" => ")[0], name.split(" => ")[-1]) for name in asked]
    decimals = {name: max((_decimals(row.get(name)) for row in rows), default=0) for name, _ in names}  # of a column
    lines = ["| " + " | ".join(shown for _, shown in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [text(row.get(name), decimals[name]).replace("|", "\\|") for name, _ in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _places(value: float) -> int:
    """Decimals that still say something: 0.862, 27.85, 424.1, 3990."""
    return 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0


def _decimals(cell: Any) -> int:
    """How many the stored number has; what a column shows is the most of any."""
    values = cell.values() if isinstance(cell, Mapping) else [cell]
    return max((len(repr(v).partition(".")[2]) for v in values if isinstance(v, float) and v != int(v)), default=0)
