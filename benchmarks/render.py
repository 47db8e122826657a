"""Make what people read of what was measured: docs/results.md, the plots in docs/figures and README's table.

    python benchmarks/render.py

results/page.jinja has the page's words; every figure in it is taken from a record (records.py) when it is rendered.
A test checks that page and README are what this makes.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

import records
from mirage.evaluation.report import PUBLISHED
from mirage.files import replacing
from records import FOLDER, ROOT, Record, markdown, number, text

TEMPLATE = ROOT / "results" / "page.jinja"
PAGE, README, FIGURES = ROOT / "docs" / "results.md", ROOT / "README.md", ROOT / "docs" / "figures"
CARDS = ROOT / "results" / "gpu"
MARKS = re.compile(r"(<!-- results: from here.*?-->\n).*?(<!-- results: to here -->)", re.DOTALL)
MAIN, EACH, PAIRED = "Return and seen regions", "Each return", "World by world"
CEILING = "ceiling: autoencoder"
PANORAMAS = "Turning in panoramas, and back"
SHOWN = {"return PSNR": "revisit PSNR", "return SSIM": "revisit SSIM", "return": "revisit", "worlds": "scenes"}
"""The field's words for what the commands print."""
NAMES = {
    "MAIN": MAIN,
    "EACH": EACH,
    "PAIRED": PAIRED,
    "MEMORIES": ["latent", "rgb", "none"],
    "CONTROLS": ["control: copy first", "control: repeat last", "control: stop half-way"],
    "SHORT": ["memory", "return PSNR", "return SSIM", "seen PSNR", "seen SSIM", "n"],
    "DIFFERENCES": ["dB", "what", "difference", "median", "least", "most", "above -3", "worlds"],
}


def main() -> int:
    found = all_records()
    for path, content in ((PAGE, page(found)), (README, readme(found, README.read_text(encoding="utf-8")))):
        with replacing(path) as beside:
            beside.write_text(content, encoding="utf-8")
    draw(found)
    return 0


def all_records() -> dict[str, Record]:
    """Of the weights that ship, of the memory alone, and of each GPU."""
    return records.load(FOLDER) | records.load(ROOT / "results" / "memory") | records.load(CARDS)


def cards(found: Mapping[str, Record]) -> list[Record]:
    """Of GPUs, by name."""
    return [found[path.stem] for path in sorted(CARDS.glob("*.json")) if path.stem in found]


# -- words -----------------------------------------------------------------------------------------------------------


def page(found: Mapping[str, Record]) -> str:
    """docs/results.md."""

    def table(name: str, heading: str, *, only: Sequence[str] = (), columns: Sequence[str] = ()) -> str:
        rows = found[name].rows(heading)
        if only:
            rows = [row for wanted in only for row in rows if row[next(iter(row))] == wanted]
        return markdown([_worded(row) for row in rows], [SHOWN.get(column, column) for column in columns])

    def cell(name: str, heading: str, column: str, **where: str) -> str:
        return text(found[name].cell(heading, column, **where))

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        {**NAMES, **{name: record for name, record in found.items() if name.isidentifier()}},
        records=found,
        cards=cards(found),
        table=table,
        cell=cell,
        where=lambda name: circumstances(found[name]),
        published=published(),
    )


def circumstances(record: Record) -> str:
    """What a figure stands with: the command, when, where, of which code."""
    took = f", {record.seconds:g} s" if record.seconds else ""
    code = f"{record.date}, commit {record.commit}"
    return f"<small>`{record.command}` · {code} · {record.machine}; {record.how}{took}</small>"


def readme(found: Mapping[str, Record], before: str) -> str:
    """README with its five numbers between the marks."""
    worlds, photos, unseen, prompted, speed = (
        found[name] for name in ("worlds", "photos", "unseen", "prompted", "speed")
    )

    def compared(cells: Mapping[str, Any], ceiling: str) -> str:
        """A column, by memory."""
        return (
            f"**{text(cells['latent'])} dB**; memory of pixels {text(cells['rgb'])}, no memory {text(cells['none'])}; "
            f"autoencoder ceiling {text(cells[ceiling])}"
        )

    def turned(memory: str) -> str:
        return number(unseen.cell("Camera", "rotation error", memory=memory, **{"frames apart": "a chunk"})["value"])

    scenes, turns = worlds.rows(MAIN)[0]["n"], photos.rows(PANORAMAS)
    picked = prompted.rows("Colour of the next room's walls")[0]["picked"]
    reads: list[Any] = speed.rows("read")
    most = max(row["points"] for row in reads)
    (read,) = [r for r in reads if (r["points"], r["settings"], r["backend"]) == (most, "published settings", "numba")]
    rows = [
        {
            "what": f"Revisit PSNR after 97 frames, {scenes} held-out scenes",
            "measured": compared({str(row["memory"]): row["return PSNR"] for row in worlds.rows(MAIN)}, CEILING),
            "by": said(worlds),
        },
        {
            "what": f"Return in {turns[0]['n']} held-out panoramas, 40° to the right and back, 97 frames",
            "measured": compared({str(row["what"]): row["PSNR, return"] for row in turns}, "autoencoder"),
            "by": said(photos),
        },
        {
            "what": "Rotation error of newly generated regions over a chunk, median",
            "measured": f"**{turned('latent')}°**; true frames by the same measure {turned('true frames (floor)')}°, "
            f"frozen picture {turned('frozen picture (control)')}°",
            "by": said(unseen),
        },
        {
            "what": "Prompt adherence: the walk asked for a colour is nearest to it, of four",
            "measured": f"**{text(picked)}**, 95 % interval; chance 0.25",
            "by": said(prompted),
        },
        {
            "what": "Reading 3.2 million points from 9 cameras, one CPU thread",
            "measured": f"**{read['ratio']:.0f} times** ({read['least']:.0f} to {read['most']:.0f}) faster than the "
            "published algorithm restated, with its settings",
            "by": said(speed),
        },
    ]
    rows += [row for card in cards(found) for row in on_a_gpu(card)]
    after, count = MARKS.subn(lambda marks: marks[1] + markdown(rows) + marks[2], before)
    assert count == 1, "README has one place for its table"
    return after


def said(record: Record) -> str:
    """The command that printed it, and when."""
    return f"`{record.command.partition(' --out ')[0]}`, {record.date}"


def on_a_gpu(card: Record) -> list[dict[str, str]]:
    """README's rows of one card: what it measured of a walk."""
    walk = next((rows for heading, rows in card.tables.items() if heading.startswith("Seconds per chunk by stage")), [])
    if not walk:
        return []
    by_stage: dict[str, Any] = {str(row["stage"]): row for row in walk}
    path, decode, whole = (by_stage[stage] for stage in ("conditioning", "decode", "end to end"))
    steps = next(heading for heading in card.tables if heading.startswith("Seconds per chunk by stage")).split(", ")[1]
    device = card.machine.split(",")[0]
    return [
        {
            "what": f"Conditioning a chunk of Wan2.2-TI2V-5B at 704x1280, random weights, {device}",
            "measured": f"**{1e3 * path['latent']['value']:.0f} ms**; memory of pixels {path['rgb']['value']:.2f} s, "
            f"of it {decode['rgb']['value']:.2f} s of decoding, which shows the frames too",
            "by": said(card),
        },
        {
            "what": f"The same chunk of 32 frames end to end, {steps}, decoded",
            "measured": f"**{whole['latent']['value']:.2f} s**; memory of pixels {whole['rgb']['value']:.2f} s",
            "by": said(card),
        },
    ]


def published() -> str:
    """Figures of other people."""
    parts = []
    for name, rows in PUBLISHED.items():
        said = [
            {f"{name} (as published)": row["system"], **{k: v for k, v in row.items() if k != "system"}} for row in rows
        ]
        parts.append(markdown(said))
    return "\n".join(parts)


def _worded(row: Mapping[str, Any]) -> dict[str, Any]:
    """With the columns and entries that people know."""
    return {
        SHOWN.get(key, key): SHOWN.get(value, value) if isinstance(value, str) else value for key, value in row.items()
    }


# -- plots -----------------------------------------------------------------------------------------------------------


def draw(found: Mapping[str, Record]) -> None:
    """All plots, as SVG that is the same for the same figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams |= {
        "svg.hashsalt": "mirage",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    FIGURES.mkdir(exist_ok=True)
    for name, drawn in (("revisit", _revisit), ("chunks3", _chunks3), ("chunks21", _chunks21), ("rotation", _rotation)):
        figure = drawn(found, plt)
        figure.savefig(FIGURES / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def _revisit(found: Mapping[str, Record], plt: Any) -> Any:
    shown = {
        "latent": "latent memory",
        "rgb": "memory of pixels",
        "none": "no memory",
        CEILING: "autoencoder",
    }
    cells = [found["worlds"].cell(MAIN, "return PSNR", memory=name) for name in shown]
    return _dots(
        plt,
        {shown[name]: (c["mean"], c["spread"], c["spread"]) for name, c in zip(shown, cells, strict=True)},
        "revisit PSNR, dB (mean, standard deviation over scenes)",
    )[0]


def _dots(plt: Any, rows: Mapping[str, tuple[float, float, float]], label: str) -> tuple[Any, Any]:
    """A dot for each row, with how far it reaches down and up."""
    figure, axes = plt.subplots(figsize=(6, 1.9))
    middle, down, up = zip(*rows.values(), strict=True)
    axes.errorbar(middle, range(len(rows)), xerr=[down, up], fmt="o", color="#3949ab", capsize=3)
    axes.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), list(rows))
    axes.grid(axis="x", alpha=0.3)
    return figure, axes


def _by_chunk(record: Record, memory: str, what: str) -> tuple[list[int], list[float]]:
    row = next(row for row in record.rows("By chunk") if (row["memory"], row["what"]) == (memory, what))
    values = {int(key.split()[1]): value for key, value in row.items() if key.startswith("chunk ")}
    return list(values), [float(value) for value in values.values()]  # pyright: ignore[reportArgumentType]


def _chunks3(found: Mapping[str, Record], plt: Any) -> Any:
    figure, both = plt.subplots(1, 2, figsize=(6.5, 2.3))
    for axes, what, label in zip(both, ("seen PSNR", "coverage"), ("seen PSNR, dB", "known share"), strict=True):
        for memory, style in (("latent", "o-"), ("rgb", "s--"), ("none", "^:")):
            axes.plot(*_by_chunk(found["worlds"], memory, what), style, label=memory)
        axes.set(xlabel="chunk", ylabel=label, xticks=[1, 2, 3])
    both[1].legend(frameon=False, loc="center right")
    figure.tight_layout()
    return figure


def _chunks21(found: Mapping[str, Record], plt: Any) -> Any:
    record = found["chunks"]
    returns = next(row for row in record.rows(EACH) if row["memory"] == "latent")
    back = {int(key.split()[-1]): value for key, value in returns.items() if key.startswith("after chunk")}
    figure, both = plt.subplots(1, 2, figsize=(6.5, 2.3))
    both[0].plot(*_by_chunk(record, "latent", "seen PSNR"), "-", color="#7986cb", label="seen")
    both[0].plot(list(back), list(back.values()), "o", color="#3949ab", label="revisit")
    both[0].set(xlabel="chunk", ylabel="PSNR, dB", ylim=(15, 30))
    both[0].legend(frameon=False, loc="lower right")
    both[1].plot(*_by_chunk(record, "latent", "depth AbsRel"), "-", color="#3949ab")
    both[1].set(xlabel="chunk", ylabel="depth AbsRel", ylim=(0, 0.15))
    figure.tight_layout()
    return figure


def _rotation(found: Mapping[str, Record], plt: Any) -> Any:
    rows = [row for row in found["unseen"].rows("Camera") if row["frames apart"] == "a chunk"]
    cells: dict[str, Any] = {str(row["memory"]): row["rotation error"] for row in rows}
    figure, axes = _dots(
        plt,
        {name: (c["value"], c["value"] - c["low"], c["high"] - c["value"]) for name, c in cells.items()},
        "rotation error over a chunk, degrees (median, quartiles)",
    )
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 40], ["0.5", "1", "2", "5", "10", "20", "40"])
    return figure


if __name__ == "__main__":
    sys.exit(main())
