"""Quaternions from strangers: of unit length, and in one of the orders in circulation."""

import math

from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.record import Confidence, Quaternion

ORDERS: tuple[Quaternion, ...] = ("xyzw", "wxyz", "yzwx")
EXACT, NEAR = 0.1, 15.0  # degrees from the identity


def unit_quaternion(quaternion: list[float], *, where: str) -> None:
    """Refuse four numbers whose length is not 1 within 1 %."""
    length = math.hypot(*quaternion)
    if abs(length - 1) > 0.01:
        raise InputError(f"{where} has a quaternion of length {length:g}; a rotation has length 1")


def reordered(values: Tensor, order: Quaternion) -> Tensor:
    """[*,4] in an order -> xyzw."""
    return values[..., [order.index(component) for component in "xyzw"]]


def quaternion_order(
    first: Tensor, *, usual: Quaternion, told: Quaternion | None, source: str
) -> tuple[Quaternion, Confidence, tuple[str, ...]]:
    """The order that a person has `told`, else that of a file by its first quaternion [4]; its confidence, and what
    there is to say of it.

    A path that starts at the identity shows its order: the 1 stands where w does. Read in another order it would be a
    half turn, which an `EXACT` first row makes far less likely than the identity; a `NEAR` one is as likely either way.
    """
    if told is not None:
        return told, "stated", ()
    angle = {order: _degrees(first[order.index("w")]) for order in ORDERS}
    if angle[usual] < NEAR:
        return usual, "usual", ()
    for order in ORDERS:
        if order != usual and angle[order] < EXACT:
            words = (
                f"its first rotation is the identity in the order {order} and a half turn in {usual}: read as {order}"
            )
            return order, "ambiguous", (f"{words}; say quaternion {usual} if it is that",)
        if order != usual and angle[order] < NEAR and angle[usual] > 180 - NEAR:
            raise InputError(
                f"{source}: its first quaternion is nearly the identity in the order {order} and nearly a half turn in "
                f"{usual}, the usual one; expected the option quaternion to say {order} or {usual}"
            )
    return usual, "usual", ()


def _degrees(w: Tensor) -> float:
    return math.degrees(2 * math.acos(min(1.0, float(w.abs()))))
