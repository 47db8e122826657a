"""What a person asked for and cannot have.

`InputError` is for people: one line that says what was got and what is accepted. The command line prints that line and
exits with 2. Anything else that goes wrong is our fault and keeps its traceback.
"""

import math
import numbers
from typing import Any

LONGEST = 1500  # letters of a message


class InputError(ValueError):
    """The request was wrong: a file that is not what it should be, a number out of range, an unknown name.

    Its message is one line of bounded length, whatever was put into it: what was got may be a stranger's.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(part.strip() for part in message.splitlines())
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 300]} ... {line[-280:]}")


class Terminated(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, from somebody who is no person. The exit code is a shell's for it."""


def check_number(
    what: str,
    value: object,
    *,
    kind: type[int] | type[float] = float,
    low: float = -math.inf,
    high: float = math.inf,
    accepted: str | None = None,
) -> Any:
    """The value as a plain `kind`, if it is a finite number from `low` to `high`, whole for int; else `InputError`.

    Numbers of numpy count, as they do for `numbers`, and 1e6 is a whole number; a bool is none.
    """
    fits: Any = isinstance(value, numbers.Real) and not isinstance(value, bool)
    plain: Any = value
    if fits and _finite(plain) and low <= plain <= high and (kind is float or plain == int(plain)):
        return kind(plain)
    sort = "a whole number" if kind is int else "a number"
    span = {
        (False, False): f"{sort}, finite" if kind is float else sort,
        (True, False): f"{sort}, {low:g} or more",
        (False, True): f"{sort}, at most {high:g}",
        (True, True): f"{sort}, {low:g} to {high:g}",
    }[math.isfinite(low), math.isfinite(high)]
    raise InputError(f"{what} is {short(value)}; accepted: {accepted or span}")


def _finite(number: Any) -> bool:
    """Also of whole numbers beyond every float, which count as infinite: nothing takes so many."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def short(value: object) -> str:
    """A value as one line of an error has it: what is short as it is, of all else the kind and the shape."""
    shape = getattr(value, "shape", None)
    if not isinstance(value, type) and isinstance(shape, tuple):
        dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
        return f"a {type(value).__name__} {list(shape)} {dtype}".rstrip()
    few = not isinstance(value, list | tuple) or len(value) <= 8
    if value is None or (few and isinstance(value, str | int | float | complex | bytes | list | tuple)):
        said = repr(value) if not isinstance(value, str) or len(value) <= 80 else repr(value[:80]) + "..."
        if len(said) <= 100 and "\n" not in said:
            return said
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"
