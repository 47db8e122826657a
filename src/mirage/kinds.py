"""What a public function takes is what its signature says: `@checked` looks before the function does.

    @checked
    def pan(start: Camera, frames: int, *, degrees: float = 40.0) -> Camera: ...

    pan(camera, "nine")        InputError: pan: frames is 'nine'; accepted: a whole number

Kinds only: ranges and shapes are the function's own business. Numbers of numpy become plain ones, arrays and lists of
numbers tensors. A missing or unknown argument is Python's own TypeError. On the ground floor, standard library only.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mirage.errors import InputError, check_number, short

F = TypeVar("F", bound=Callable[..., Any])
REAL, WHOLE, FLAGS = "real numbers", "whole numbers", "True or False"
"""What the tensor of an `Annotated[Tensor, ...]` holds: `mirage.geometry.tensors`."""


def checked(function: F) -> F:
    """The function, with every argument of the kind that its annotation names, or `InputError`."""
    signature = inspect.signature(function)
    hints: dict[str, Any] = {}
    many = {name for name, its in signature.parameters.items() if its.kind is its.VAR_POSITIONAL}
    loose = {name for name, its in signature.parameters.items() if its.kind is its.VAR_KEYWORD}

    @functools.wraps(function)
    def call(*arguments: Any, **choices: Any) -> Any:
        given = signature.bind(*arguments, **choices)
        if not hints:  # now, when all names of the module are known
            hints.update(get_type_hints(function, include_extras=True))
        for name, value in given.arguments.items():
            if name in hints and name not in loose:
                what = f"{_name(function)}: {name}"
                several = name in many
                fitted = (
                    tuple(fit(hints[name], one, what) for one in value) if several else fit(hints[name], value, what)
                )
                given.arguments[name] = fitted
        return function(*given.args, **given.kwargs)

    return typing.cast("F", call)


def check_fields(value: Any, named: Callable[[str], str] | None = None) -> None:
    """The same of a frozen dataclass, in its `__post_init__`. named: what an error calls a field."""
    hints = _hints_of(type(value))
    for field in fields(value):
        given = getattr(value, field.name)
        kept = fit(hints[field.name], given, named(field.name) if named else f"{type(value).__name__}: {field.name}")
        if kept is not given:
            object.__setattr__(value, field.name, kept)


def fit(kind: Any, value: Any, what: str) -> Any:
    """The value as that kind: itself, or what it plainly means; else `InputError`, which calls it `what`."""
    try:
        return _fit(kind, value, what)
    except _Misfit as misfit:
        said = "; ".join(part for part in (f"{what} is {short(value)}", misfit.why) if part)
        raise InputError(f"{said}; accepted: {_words(kind)}") from None


class _Misfit(Exception):
    """Not of the kind; `why`, where the kind alone does not say it."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


def _fit(kind: Any, value: Any, what: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or kind is object or isinstance(kind, TypeVar):
        return value
    if origin in (Union, types.UnionType):
        return _one_of(parts, value, what)
    if kind in (None, type(None)):
        return _if(value is None, value)
    if origin is typing.Annotated:
        return _holding(parts[1], _fit(parts[0], value, what))
    if origin is Literal:
        return _if(isinstance(value, tuple({type(word) for word in parts})) and value in parts, value)
    if kind is bool:
        return bool(_if(type(value).__name__ in ("bool", "bool_"), value))
    if kind in (int, float):
        return check_number(what, value, kind=kind)
    if kind is str and isinstance(value, Path):
        return str(value)
    if kind is Path:
        return Path(_if(isinstance(value, str | Path), value))
    if kind is os.PathLike or origin is os.PathLike:
        return _if(isinstance(value, os.PathLike), value)
    if origin is tuple and Ellipsis not in parts:
        return tuple(_each(parts, value, what))
    if origin in (list, tuple, Sequence):
        alone = origin is tuple and not isinstance(value, list | tuple)  # one is a tuple of one
        return _sequence(origin, parts, (value,) if alone else value, what)
    if origin in (dict, Mapping):
        _if(isinstance(value, Mapping), value)
        return {_fit(parts[0], key, what): _fit(parts[1], one, what) for key, one in value.items()}
    if origin is Callable or kind is Callable:
        return _if(callable(value) and not isinstance(value, type), value)
    if origin is type:
        return _if(isinstance(value, type) and issubclass(value, parts[0]), value)
    if kind.__module__.startswith("torch"):
        return _of_torch(kind, value)
    if getattr(kind, "_is_protocol", False):
        return _of_protocol(kind, value)
    return _if(isinstance(value, origin or kind), value)


def _if(fits: bool, value: Any) -> Any:
    if not fits:
        raise _Misfit
    return value


def _one_of(kinds: Sequence[Any], value: Any, what: str) -> Any:
    """Of whichever kind it is as it stands; else the first of what it plainly means."""
    if any(getattr(kind, "__name__", "") == "device" for kind in kinds):
        kinds = [kind for kind in kinds if kind is not str]  # which is only how a device is written
    plain = tuple(kind for kind in kinds if isinstance(kind, type) and not getattr(kind, "_is_protocol", False))
    if isinstance(value, plain) and (not isinstance(value, bool) or bool in kinds):
        its = next(kind for kind in plain if isinstance(value, kind))
        return _of_torch(its, value) if its.__module__.startswith("torch") else value
    why = ""
    for kind in kinds:
        try:
            return _fit(kind, value, what)
        except _Misfit as misfit:
            why = why or misfit.why
        except InputError:  # a number out of its kind; another kind may take it
            continue
    raise _Misfit(why)


def _each(kinds: Sequence[Any], value: Any, what: str) -> list[Any]:
    few = isinstance(value, list | tuple) or (type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 1)
    if not few or len(value) != len(kinds):
        raise _Misfit
    return [_fit(kind, one, what) for kind, one in zip(kinds, value, strict=True)]


def _sequence(origin: Any, kinds: Sequence[Any], value: Any, what: str) -> Any:
    if not isinstance(value, list | tuple) and not (origin is Sequence and isinstance(value, Sequence)):
        raise _Misfit
    if isinstance(value, str | bytes):
        raise _Misfit
    items = [_fit(kinds[0], one, what) for one in value]
    return tuple(items) if origin is tuple or isinstance(value, tuple) else items


def _of_torch(kind: Any, value: Any) -> Any:
    import torch

    if isinstance(value, kind):
        looked = {torch.device: _there, torch.Tensor: _dense}.get(kind)
        return value if looked is None else looked(value)
    if kind is torch.Tensor:
        return _tensor(value)
    if kind is torch.device and isinstance(value, str):
        try:
            return _there(torch.device(value))
        except RuntimeError as error:
            raise _Misfit("torch knows no such device") from error
    raise _Misfit


def _there(device: Any) -> Any:
    """A device, if this machine has it."""
    import torch

    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise _Misfit(f"this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def _dense(tensor: Any) -> Any:
    """A tensor that arithmetic is defined for."""
    import torch

    if tensor.layout is not torch.strided or (tensor.is_floating_point() and tensor.dtype.itemsize == 1):
        raise _Misfit("tensors that are sparse, or of 8 bit floats, are to be made plain ones first")
    return tensor


def _tensor(value: Any) -> Any:
    """An array, or numbers in lists, as a tensor."""
    import numpy as np
    import torch

    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        if np.ma.is_masked(value):
            raise _Misfit("a part of it is masked")
        wide = value.dtype.kind == "f" and value.dtype.itemsize > 8  # torch has none
        plain = np.dtype(float) if wide else value.dtype.newbyteorder("=")
        shared = value.flags.writeable and value.flags.c_contiguous and min(value.strides, default=0) >= 0
        return torch.from_numpy(np.array(value, dtype=plain, order="C", copy=None if shared else True))
    if isinstance(value, list | tuple) and value:
        try:
            if isinstance(value[0], torch.Tensor):
                return _dense(torch.stack(list(value)))
            if isinstance(value[0], np.ndarray):
                return _tensor(np.stack(value))
            return torch.tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _Misfit from error
    raise _Misfit


def _holding(numbers: Any, value: Any) -> Any:
    """A tensor of those numbers; what is annotated with other words stays."""
    import torch

    if numbers not in (REAL, WHOLE, FLAGS) or not isinstance(value, torch.Tensor):
        return value
    whole = not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool
    if numbers == WHOLE:
        return _if(whole, value)
    if numbers == REAL:
        return value.float() if whole else _if(value.is_floating_point(), value)
    if whole and not value.is_meta and bool(((value == 0) | (value == 1)).all()):
        return value.bool()
    return _if(value.dtype == torch.bool, value)


def _of_protocol(kind: Any, value: Any) -> Any:
    own = {name for name in vars(kind) if not name.startswith("_") or name in ("__call__", "__len__")}
    if own == {"__call__"}:
        return _if(callable(value) and not isinstance(value, type), value)
    lacking = sorted(name for name in own if not hasattr(type(value), name) and not hasattr(value, name))
    if isinstance(value, type) or lacking:
        raise _Misfit(f"it has no {', '.join(lacking)}" if lacking else "a class, not one of it")
    return value


@functools.cache
def _hints_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _name(function: Callable[..., Any]) -> str:
    """As people call it: "Session", "memory.read" has its class's name."""
    return function.__qualname__.removesuffix(".__init__").removesuffix(".__call__")


def _words(kind: Any) -> str:
    """A kind for people."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return ", ".join(dict.fromkeys(_words(part) for part in parts))
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin is typing.Annotated:
        return f"{_words(parts[0])} of {parts[1]}" if parts[1] in (REAL, WHOLE, FLAGS) else _words(parts[0])
    if origin is tuple and Ellipsis not in parts:
        return f"{len(parts)} values ({', '.join(_words(part) for part in parts)})"
    if origin in (list, tuple, Sequence):
        return f"several of: {_words(parts[0])}"
    if origin in (dict, Mapping):
        return f"a mapping of {_words(parts[0])} to {_words(parts[1])}"
    if origin is Callable or kind is Callable:
        return "something to call"
    named = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "True or False",
        type(None): "None",
        Any: "all",
    }
    if origin is os.PathLike or kind in (Path, os.PathLike):
        return "a path"
    return named.get(kind) or getattr(origin or kind, "__name__", str(kind))


class Brief:
    """For dataclasses of tensors (with `repr=False`): a repr of shapes, in one line."""

    def __repr__(self) -> str:
        its: Any = self
        parts = [f"{field.name}: {short(getattr(self, field.name))}" for field in fields(its)]
        return f"{type(self).__name__}({', '.join(parts)})"
