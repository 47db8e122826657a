"""What a tensor in a signature holds: `points: Reals` is a `Tensor`, and `@checked` sees to its numbers.

Strided tensors alone, and arrays and lists that become them; a number of another kind than these is refused by name.
"""

from typing import Annotated

from torch import Tensor

from mirage.kinds import FLAGS, REAL, WHOLE

Reals = Annotated[Tensor, REAL]
"""Floating point; whole numbers become float32."""
Wholes = Annotated[Tensor, WHOLE]
"""Of an integer type."""
Flags = Annotated[Tensor, FLAGS]
"""bool; whole numbers that are all 0 or 1 become it."""
