"""The documentation holds together: links lead somewhere, what is made is up to date, words are the field's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mirage.cli import arguments

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import hooks
from docstrings import laid_out

ROOT = Path(__file__).resolve().parents[1]

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
MADE = {"reference/command-line.md"}  # when the site is built


def anchors(page: Path) -> set[str]:
    """What a heading can be linked by, as Python-Markdown's toc makes it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if there.is_relative_to(ROOT / "docs") and str(there.relative_to(ROOT / "docs")) in MADE:
            continue
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


def test_the_reference_of_the_command_line_has_all_that_help_has(capsys):
    page = hooks.command_line()
    for name, asked in hooks.subcommands(arguments._Typed):
        with pytest.raises(SystemExit):
            arguments.parse([*name.split(), "--help"])
        helped = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", capsys.readouterr().out)) - {"--help"}
        section = re.split(rf"^## mirage {name}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]
        options = hooks.options(asked)
        listed = {f"--{option.typed.removeprefix('--').split(' ')[0]}" for option in options}
        assert all(f"`{option.typed}`" in section for option in options)
        shown = {flag for flag in listed if flag in helped}
        assert shown == {flag for flag in listed if re.fullmatch(r"--[a-z0-9-]+", flag)}, name
        assert all(option.meaning and option.default for option in options), name


def test_the_log_lists_every_entry_newest_first():
    index = hooks.log_index()
    written = (ROOT / "docs" / "log" / "index.md").read_text(encoding="utf-8")
    assert written == index, "run `python docs/hooks.py`"
    entries = [path.name for path in (ROOT / "docs" / "log").glob("*.md") if path.name != "index.md"]
    assert all(f"]({name})" in index for name in entries)
    dates = re.findall(r"^- (\d{4}-\d\d-\d\d):", index, flags=re.MULTILINE)
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_words_are_the_fields(page):
    if page.name in ("training.md", "CHANGELOG.md") or "log" in page.parts:
        return  # history keeps its words
    text = page.read_text(encoding="utf-8")
    for word in (r"\bmud\b", r"\bmade up\b", r"\bmakes up\b", r"\btold to\b", r"as told"):
        assert not re.search(word, text), f"{page.name}: {word}"


def test_the_site_builds_strictly(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    assert "there_and_back" in (tmp_path / "reference" / "command-line" / "index.html").read_text()
    assert "LatentSpatialMemory" in (tmp_path / "reference" / "memory" / "index.html").read_text()
    assert "NearestFrame" in (tmp_path / "tutorials" / "06-your-memory" / "index.html").read_text()


def test_docstrings_keep_their_layout():
    text = "Prose that\ngoes on.\n\na   one\nb   two\n\n>>> a  # doctest: +SKIP\n1"
    assert laid_out(text) == "Prose that\ngoes on.\n\n```text\na   one\nb   two\n```\n\n```python\n>>> a\n1\n```"
