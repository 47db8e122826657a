"""What of the site is made and not written: the command line's reference, from the dataclasses that define it, whenever
the site is built; and the index of the log from its entries, by `python docs/hooks.py`. mkdocs calls `on_files`.
"""

import ast
import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

DOCS = Path(__file__).parent


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    return files


# -- the log -----------------------------------------------------------------------------------------------------------


def log_index() -> str:
    """Every entry by its title, the newest first; an entry is docs/log/YYYY-MM-DD-NAME.md, or without a date."""
    entries = sorted((DOCS / "log").glob("*.md"), key=lambda path: path.name, reverse=True)
    lines = [
        "# Log",
        "",
        "What was tried, measured and decided, with its date; negative results are kept. Figures here are of the "
        "weights and machines that each entry names; those of today's weights are in the [results](../results.md).",
        "",
    ]
    for path in entries:
        if path.name != "index.md":
            title = re.match(r"# (.*)", path.read_text(encoding="utf-8"))
            date = re.match(r"\d{4}-\d\d-\d\d", path.name)
            lines.append(f"- {date[0] + ': ' if date else ''}[{title[1] if title else path.stem}]({path.name})")
    return "\n".join(lines) + "\n"


# -- the command line --------------------------------------------------------------------------------------------------


def command_line() -> str:
    """A section for every subcommand: what it does, then a table of what can be given."""
    from mirage.cli import arguments

    parts = [
        "# Command line",
        "",
        "Made from the dataclasses of `mirage.cli.arguments`, which are also what `mirage SUBCOMMAND --help` shows. "
        "Exit codes: 0 done; 1 the work failed; 2 the request was wrong, in one line; 130 stopped by Ctrl-C.",
        "",
    ]
    for name, asked in subcommands(arguments._Typed):
        about, *rest = inspect.getdoc(asked).split("\n\n")  # pyright: ignore[reportOptionalMemberAccess]
        parts += [f"## mirage {name}", "", " ".join(about.split()), ""]
        parts += [f"{text}\n" for text in rest]
        parts += ["| option | default | meaning |", "|---|---|---|"]
        for option in options(asked):
            parts.append(f"| `{option.typed}` | {option.default} | {option.meaning.replace('|', chr(92) + '|')} |")
        parts.append("")
    return "\n".join(parts)


@dataclasses.dataclass(frozen=True)
class Option:
    """`--frames N`, what leaving it out means, and its help."""

    typed: str
    default: str
    meaning: str


def subcommands(typed: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """("bench memory", its dataclass), ... of a union of subcommands; one that only holds others begins their names."""
    for choice in get_args(typed):
        asked, *notes = get_args(choice)
        name = f"{before}{next(note.name for note in notes if hasattr(note, 'name'))}"
        inner = get_type_hints(asked, include_extras=True).get("what")
        if inner is None:
            yield name, asked
        else:
            yield from subcommands(_bare(inner)[0], f"{name} ")


def options(asked: Any) -> Iterator[Option]:
    """All that can be given, what is the subcommand's own first; fields that are dataclasses are unfolded."""
    hints = get_type_hints(asked, include_extras=True)
    order = {name: place for place, name in enumerate(_own_first(asked))}
    for field in sorted(dataclasses.fields(asked), key=lambda field: order.get(field.name, -1)):
        kind, notes = _bare(hints[field.name])
        if any("Suppress" in repr(note) for note in notes):  # nothing that can be typed
            continue
        if dataclasses.is_dataclass(kind):
            yield from options(kind)
            continue
        value = _note(notes, "metavar", "value") or _value_of(kind)
        unset = _note(notes, "help_behavior_hint", "unset")
        positional = any("ositional" in repr(note) for note in notes)
        name = _note(notes, "name", "name") or field.name.replace("_", "-")
        flag = f"--{'no-' if field.default is True else ''}{name}"
        typed = value if positional else flag if kind is bool else f"{flag} {value}"
        yield Option(typed, _default(field, unset), _meanings(asked)[field.name])


def _own_first(asked: Any) -> list[str]:
    """Field names, those of the class itself before those it inherits."""
    return [name for base in asked.__mro__ for name in getattr(base, "__annotations__", {})]


def _bare(hint: Any) -> tuple[Any, list[Any]]:
    """A hint without its annotations, and those."""
    notes: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        notes += more
    return hint, notes


def _note(notes: list[Any], *names: str) -> str | None:
    """The first text that an annotation has under one of these names."""
    found = (getattr(note, name, None) for note in notes for name in names)
    return next((text for text in found if isinstance(text, str)), None)


def _value_of(kind: Any) -> str:
    """How a value is written where nobody said."""
    choices = [choice for choice in get_args(kind) if choice is not type(None)]
    if get_origin(kind) is typing.Literal:
        return "{" + ",".join(map(str, choices)) + "}"
    if choices and get_origin(kind) is not tuple:
        return _value_of(choices[0])
    return {int: "N", float: "X", str: "TEXT", Path: "PATH"}.get(kind, "VALUE")


def _default(field: Any, unset: str | None) -> str:
    if unset is not None:
        return re.sub(r"^\(default: (.*)\)$", r"\1", unset)
    if field.default is dataclasses.MISSING:
        return "needed"
    value = field.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"`{value}`" if str(value) else "none"


@cache
def _meanings(asked: Any) -> Mapping[str, str]:
    """The docstring under each field, the class's own and those it inherits."""
    found: dict[str, str] = {}
    for base in reversed(asked.__mro__[1:]):
        found.update(_meanings(base))
    if not dataclasses.is_dataclass(asked):
        return found
    (body,) = ast.parse(inspect.getsource(asked)).body
    assert isinstance(body, ast.ClassDef)
    for field, said in zip(body.body, body.body[1:], strict=False):
        words = said.value.value if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(words, str):
            found[field.target.id] = " ".join(words.split())
    return found


if __name__ == "__main__":
    (DOCS / "log" / "index.md").write_text(log_index(), encoding="utf-8")
