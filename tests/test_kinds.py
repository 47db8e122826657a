"""What a value becomes for the kind that a signature names: numbers, paths, tuples, tensors, and what is neither."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from mirage.errors import InputError
from mirage.geometry.tensors import Flags, Reals, Wholes
from mirage.kinds import checked, fit

PLAIN: list[tuple[Any, Any, Any]] = [
    (int, np.int64(3), 3),
    (int, 3.0, 3),
    (float, np.float32(0.5), 0.5),
    (float, 2, 2.0),
    (bool, np.bool_(True), True),
    (str, Path("a") / "b", "a/b"),
    (Path, "a/b", Path("a/b")),
    (Path | None, "a", Path("a")),
    (tuple[int, int], [3, np.int32(4)], (3, 4)),
    (tuple[int, int], np.array([3, 4]), (3, 4)),
    (tuple[Path, ...], "a", (Path("a"),)),
    (tuple[Path, ...], Path("a"), (Path("a"),)),
    (tuple[Path, ...], ["a", Path("b")], (Path("a"), Path("b"))),
    (tuple[float, ...], 1, (1.0,)),
    (tuple[float, ...], [], ()),
    (list[int], [1, np.int64(2)], [1, 2]),
    (dict[int, str], {np.int64(2): Path("a")}, {2: "a"}),
    (Literal["near", "far"], "far", "far"),
    (int | str, "a", "a"),
    (int | None, np.int8(1), 1),
]
NEVER: list[tuple[Any, Any, str]] = [
    (int, 2.5, "whole number"),
    (int, True, "whole number"),
    (int, "3", "whole number"),
    (float, True, "number"),
    (bool, 1, "True or False"),
    (str, b"a", "text"),
    (Path, 3, "path"),
    (Path, b"a", "path"),
    (tuple[int, int], (3,), "2 values"),
    (tuple[int, int], "34", "2 values"),
    (tuple[int, int], np.eye(2), "2 values"),
    (tuple[Path, ...], 3, "path"),
    (tuple[Path, ...], ["a", 3], "path"),
    (list[int], "12", "several"),
    (list[int], {1, 2}, "several"),
    (dict[int, str], [(1, "a")], "mapping"),
    (Literal["near", "far"], "middle", "near, far"),
    (int | str, 2.5, "whole number, text"),
    (torch.device | str, "nowhere", "no such device"),
]


@pytest.mark.parametrize(("kind", "given", "meant"), PLAIN)
def test_what_is_plainly_meant_is_taken(kind, given, meant):
    made = fit(kind, given, "it")
    assert made == meant
    assert type(made) is type(meant)


@pytest.mark.parametrize(("kind", "given", "accepted"), NEVER)
def test_what_is_not_meant_is_told_in_one_line(kind, given, accepted):
    with pytest.raises(InputError) as told:
        fit(kind, given, "it")
    assert str(told.value).startswith("it is ")
    assert accepted in str(told.value)
    assert "\n" not in str(told.value)


NUMBERS: list[Any] = [
    [[1, 0], [0, 1]],
    ((1, 0), (0, 1)),
    np.eye(2),
    np.eye(2)[::-1, ::-1],
    np.eye(2, dtype=np.longdouble),
    np.eye(2, dtype=">i2"),
    np.broadcast_to(np.eye(2), (2, 2)),
    [np.array([1, 0]), np.array([0, 1])],
    [torch.tensor([1, 0]), torch.tensor([0, 1])],
    np.ma.masked_array(np.eye(2)),
    torch.eye(2, dtype=torch.bfloat16),
    torch.eye(2, dtype=torch.uint8),
    torch.nn.Parameter(torch.eye(2)),
]


@pytest.mark.parametrize("given", NUMBERS)
def test_numbers_become_a_tensor_of_what_is_asked(given):
    reals, flags = fit(Reals, given, "it"), fit(Reals | None, given, "it")
    assert reals.is_floating_point()
    assert torch.equal(reals.float(), torch.eye(2))
    assert torch.equal(reals, flags)
    whole = torch.as_tensor(reals.detach()).to(torch.int16)
    assert fit(Wholes, whole, "it") is whole
    assert torch.equal(fit(Flags, whole, "it"), torch.eye(2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("kind", "given", "accepted"),
    [
        (Reals, torch.ones(2, dtype=torch.bool), "real numbers"),
        (Reals, [True, False], "real numbers"),
        (Reals | float, torch.ones(2, dtype=torch.complex64), "real numbers"),
        (Reals, np.ma.masked_array([1.0, 2.0], [True, False]), "masked"),
        (Reals, [[1.0, 2.0], [3.0]], "real numbers"),
        (Reals, [], "real numbers"),
        (torch.Tensor, torch.eye(2).to_sparse(), "sparse"),
        (torch.Tensor | None, torch.eye(2).to(torch.float8_e5m2), "8 bit"),
        (Wholes, torch.ones(2), "whole numbers"),
        (Flags, torch.tensor([0, 2]), "True or False"),
        (Flags, torch.ones(2), "True or False"),
    ],
)
def test_other_numbers_are_told(kind, given, accepted):
    with pytest.raises(InputError, match=accepted):
        fit(kind, given, "it")


def test_a_checked_function_keeps_its_signature_and_its_own_errors():
    @checked
    def scaled(points: Reals, *, by: float = 2.0) -> torch.Tensor:
        """Twice as far."""
        return points * by

    assert scaled.__doc__ == "Twice as far."
    assert torch.equal(scaled(torch.tensor([1, 2]), by=np.float64(3)), torch.tensor([3.0, 6.0]))
    with pytest.raises(InputError, match=r"scaled: by is 'far'; accepted: a number"):
        scaled([1, 2], by="far")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="unexpected keyword"):
        scaled([1, 2], times=3)  # pyright: ignore[reportCallIssue]
