"""How numbers are read from the command line: what is no number says so, in words, whatever the option's type is.

int, float, tuple[int, ...] and tuple[int, int], each also with `| None`. Imports nothing but tyro.
"""

import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

WORDS: dict[Any, str] = {int: "a whole number", float: "a number"}


def number_registry() -> ConstructorRegistry:
    """For `tyro.cli(registry=...)`."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_number)
    return registry


def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """The rule for every type that is numbers only, and None (tyro's own rules) for all others."""
    asked: Any = info.type
    parts = [part for part in get_args(asked) if part is not types.NoneType]
    if get_origin(asked) in (Union, types.UnionType) and len(parts) == 1:
        asked = parts[0]
    items = get_args(asked) if get_origin(asked) is tuple else (asked,)
    if not items or items[0] not in WORDS or any(item not in (items[0], ...) for item in items):
        return None
    kind: Any = items[0]
    many = get_origin(asked) is tuple
    return PrimitiveConstructorSpec(
        nargs="*" if ... in items else len(items),
        metavar=kind.__name__.upper(),
        instance_from_str=lambda words: _read(words, kind, many),
        is_instance=lambda value: value is None or isinstance(value, tuple if many else (kind, int)),
        str_from_instance=lambda value: [str(one) for one in (value if isinstance(value, tuple) else (value,))],
    )


def _read(words: list[str], kind: Callable[[str], Any], many: bool) -> Any:
    values = []
    for word in words:
        try:
            values.append(kind(word))
        except ValueError:
            raise ValueError(f"expected {WORDS[kind]}, got {_shown(word)}") from None
    return tuple(values) if many else values[0]


def _shown(word: str) -> str:
    """What was typed; of what is long, its beginning, for Python reads no number of thousands of digits either."""
    return repr(word) if len(word) <= 40 else f"{word[:40]!r} and {len(word) - 40} characters more"
