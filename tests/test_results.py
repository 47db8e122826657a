"""What was measured is data, and what people read of it is rendered from there."""

import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import records
import render
import results
from mirage.evaluation.report import Summary, markdown_table

FOUND = render.all_records()


def test_page_and_readme_are_what_is_rendered():
    again = "run `python benchmarks/render.py`"
    assert render.PAGE.read_text(encoding="utf-8") == render.page(FOUND), again
    before = render.README.read_text(encoding="utf-8")
    assert before == render.readme(FOUND, before), again
    for name in re.findall(r"\((figures/.*?)\)", render.PAGE.read_text(encoding="utf-8")):
        assert (render.PAGE.parent / name).is_file(), again


def test_another_figure_is_another_page(tmp_path):
    worlds = FOUND["worlds"]
    tables = json.loads(json.dumps(worlds.tables))
    (row,) = [row for row in tables[render.MAIN] if row["memory"] == "latent"]
    row["return PSNR"]["mean"] = 12.34
    figure = records.text(row["return PSNR"])
    other = FOUND | {"worlds": records.Record(**{**vars(worlds), "tables": tables})}
    before = render.README.read_text(encoding="utf-8")
    assert figure not in render.page(FOUND) + before
    assert figure in render.page(other)
    assert figure in render.readme(other, before)


def test_the_page_shows_every_record_with_its_command_and_only_the_weights_that_ship():
    page = render.PAGE.read_text(encoding="utf-8")
    for record in FOUND.values():
        assert record.weights in (records.WEIGHTS, "none")
        assert record.command in page, record.name
    assert {path.name for path in records.FOLDER.parent.iterdir() if path.is_dir()} == {
        records.WEIGHTS,
        "memory",
        "gpu",
    }


def test_no_row_of_a_gpu_that_measured_no_walk():
    for card in render.cards(FOUND):
        without = {heading: rows for heading, rows in card.tables.items() if "by stage" not in heading}
        assert render.on_a_gpu(records.Record(**{**vars(card), "tables": without})) == []
        assert len(render.on_a_gpu(card)) == 2
    assert not render.cards({})


def test_every_measurement_can_be_made_again():
    by_hand = {"generate", "budget"} | {card.name for card in render.cards(FOUND)}
    assert set(FOUND) - by_hand <= set(results.SECTIONS | results.LONG | results.ALONE)
    for name, command in (results.SECTIONS | results.LONG | results.ALONE).items():
        assert name not in FOUND or FOUND[name].command == command


def test_no_spread_of_one_thing():
    def cells():
        for record in FOUND.values():
            for rows in record.tables.values():
                for row in rows:
                    yield from ((row, cell) for cell in row.values() if isinstance(cell, dict) and "spread" in cell)

    assert all(cell["spread"] > 0 and row.get("n") != 1 for row, cell in cells())


@given(st.lists(st.floats(0.01, 99, allow_nan=False), min_size=1, max_size=4))
def test_what_is_printed_is_read_back(values):
    printed = "# A title\n\n## Quality\n\n" + markdown_table(
        [{"memory": "a|b", "dB": Summary.of(values), "n": len(values)}]
    )
    tables, notes = records.read_report(printed + "\nA remark.\n\n- one\n- two\n")
    (row,) = tables["Quality"]
    cell = row["dB"]
    mean = cell["mean"] if isinstance(cell, dict) else cell
    assert mean == pytest.approx(sum(values) / len(values), abs=0.01)
    assert isinstance(cell, dict) or len(values) == 1 or max(values) - min(values) < 0.01
    assert (row["memory"], row["n"]) == ("a|b", len(values))
    assert notes == ["A remark.", "one", "two"]


@pytest.mark.parametrize(
    ("printed", "cell"),
    [
        ("-", None),
        ("9 of 24 (0.21 to 0.57)", {"count": 9, "of": 24, "low": 0.21, "high": 0.57}),
        ("1.06 (0.75 to 1.49)", {"value": 1.06, "low": 0.75, "high": 1.49}),
        ("-0.147", -0.147),
        ("a chunk", "a chunk"),
    ],
)
def test_cells(printed, cell):
    assert records.read_cell(printed) == cell
    assert records.text(cell, 3) == printed


def test_json_is_read_too():
    printed = 'reading\n{"read": [{"ms": 1.5, "backend": "torch"}], "holes": {"cell": 0.75}, "seconds": 3}'
    assert records.read_json(printed) == ({"read": [{"ms": 1.5, "backend": "torch"}], "holes": [{"cell": 0.75}]}, [])
    assert records.read_json("| a |\n|---|\n| 1 |") is None


def test_a_command_becomes_a_record_and_the_pages_are_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(
        results, "SECTIONS", {"echo": "python -c 'print(\"| a | n |\\n|---|---|\\n| 1.5 ± 0.1 | 2 |\")'"}
    )
    monkeypatch.setattr(results, "LONG", {})
    monkeypatch.setattr(results, "ALONE", {})
    monkeypatch.setattr(records.Record.save, "__defaults__", (tmp_path,))
    monkeypatch.setattr(render, "main", lambda: (tmp_path / "rendered").touch())
    assert results.main(["nothing"]) == 2
    assert results.main(["echo"]) == 0
    (record,) = records.load(tmp_path).values()
    assert record.tables == {"a": [{"a": {"mean": 1.5, "spread": 0.1}, "n": 2}]}
    assert record.seconds is not None
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", record.commit)
    assert (tmp_path / "rendered").exists()
