"""The documentation holds together: files that are named exist, links lead somewhere, words are the field's."""

import ast
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
MADE = {"reference/command-line.md", "log/index.md"}  # when the site is built
TRACKED = [
    Path(name)
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
]


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


def test_files_that_prose_names_exist():
    """docs/idea.md, tests/models/test_flow.py: in pages and docstrings, but for the log, which is of its day."""
    endings = {"/".join(path.parts[start:]) for path in TRACKED for start in range(len(path.parts))}
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES if "log" not in page.parts}
    for path in TRACKED:
        if path.suffix == ".py" and (ROOT / path).is_file():
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
            said = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
            texts[ROOT / path] = "\n".join(said)
    rooms = "src|docs|tests|benchmarks|examples|results|findings|recipes"
    named = re.compile(rf"(?<![\w./{{-])((?:{rooms})/[\w./-]+\.(?:py|md|json|sh)\b(?!\.))")
    lost = [
        f"{page.relative_to(ROOT)}: {name}"
        for page, text in texts.items()
        for name in named.findall(text)
        if name not in endings and name.removeprefix("docs/") not in MADE and not re.search(r"NAME|WEIGHTS", name)
    ]
    assert not lost


def test_the_reference_of_the_command_line_has_all_that_help_has(capsys):
    page = hooks.command_line()
    for name, asked in hooks.subcommands(arguments._Typed):
        with pytest.raises(SystemExit):
            arguments.parse([*name.split(), "--help"])
        helped = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", capsys.readouterr().out)) - {"--help"}
        section = re.split(rf"^## mirage {name}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]
        listed = {f"--{option.typed.removeprefix('--').split(' ')[0]}" for option in hooks.options(asked)}
        assert all(f"`{option.typed}`" in section for option in hooks.options(asked))
        shown = {flag for flag in listed if flag in helped}
        assert shown == {flag for flag in listed if re.fullmatch(r"--[a-z0-9-]+", flag)}, name
        assert all(option.meaning and option.default for option in hooks.options(asked)), name


def test_the_log_lists_every_entry_newest_first():
    index = hooks.log_index()
    entries = [path.name for path in (ROOT / "docs" / "log").glob("*.md") if path.name != "index.md"]
    assert all(f"]({name})" in index for name in entries)
    dates = re.findall(r"^- (\d{4}-\d\d-\d\d):", index, flags=re.MULTILINE)
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_words_are_the_fields(page):
    if page.name in ("training.md", "CHANGELOG.md"):
        return
    text = page.read_text(encoding="utf-8")
    for word in (r"\bmud\b", r"\bmade up\b", r"\bmakes up\b", r"\btold to\b", r"as told", r"pip install mirage\b"):
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
