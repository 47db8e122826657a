"""Tables of numbers in text: lines of equal length, `#` starts a comment, commas are spaces."""

from collections.abc import Callable, Iterator

from mirage.errors import InputError
from mirage.formats.cameras.content import Content
from mirage.formats.source import numbers


def lines(content: Content) -> Iterator[tuple[int, list[str]]]:
    """Number and words of every line that has any."""
    for number, line in enumerate(content.text.splitlines(), start=1):
        if words := line.partition("#")[0].replace(",", " ").split():
            yield number, words


def table(
    content: Content,
    *,
    columns: tuple[int, ...],
    what: str,
    check: Callable[[list[float], str], None] | None = None,
) -> list[list[float]]:
    """Rows of numbers, as many on every line as on the first, and that one of `columns`; `what` says what is
    expected."""
    rows: list[list[float]] = []
    width = None
    for number, words in lines(content):
        width = width or len(words)
        if width not in columns or len(words) != width:
            raise InputError(f"{content.source}: line {number} has {len(words)} columns; {what} on every line")
        rows.append(numbers(words, where=f"{content.source}: line {number}"))
        if check is not None:
            check(rows[-1], f"{content.source}: line {number}")
    return rows


def numeric(words: list[str]) -> bool:
    """Whether every word is a number, finite or not."""
    try:
        return all(isinstance(float(word), float) for word in words)
    except ValueError:
        return False
