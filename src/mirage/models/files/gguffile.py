"""GGUF, weights quantised for llama.cpp and ComfyUI-GGUF, read as the numbers that they stand for.

    weights = open_gguf(Path("Wan2.2-TI2V-5B-Q4_K_M.gguf"))     # names and shapes; tensors when they are asked for

The package `gguf` knows the formats, Q4_0 to Q8_0, the K and the IQ kinds among them. Shapes are written fastest axis
first, and of at most four axes: `comfy.gguf.orig_shape.NAME` has the true one of a tensor that was flattened for it.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.models.files.checkpoint import DAMAGED, Checkpoint, Shape, one_line
from mirage.optional import optional

TRUE_SHAPE = "comfy.gguf.orig_shape."


def open_gguf(path: Path) -> Checkpoint:
    """Its tensors as float32, those of float16 as they are; `InputError` for what is damaged or no such file."""
    with optional("gguf", wanted=f"{path} is GGUF, and reading it"):
        from gguf import GGUFReader, dequantize
    try:
        reader = GGUFReader(path)
        held: dict[str, Any] = {tensor.name: tensor for tensor in reader.tensors}
        shapes = {name: _shape(reader, tensor) for name, tensor in held.items()}
    except DAMAGED as error:
        raise InputError(f"{path} is no whole GGUF file: {one_line(error)}") from error
    dtypes = {name: torch.float16 if t.data.dtype == "float16" else torch.float32 for name, t in held.items()}

    def read(name: str) -> Tensor:
        try:
            values = dequantize(held[name].data, held[name].tensor_type)
        except DAMAGED as error:  # of a kind that the package does not know yet
            raise InputError(f"{path}: {name} is not read: {one_line(error)}") from error
        return torch.from_numpy(values.reshape(shapes[name]).copy()).to(dtypes[name])

    return Checkpoint(path, shapes, dtypes, {}, read)


def _shape(reader: Any, tensor: Any) -> Shape:
    field = reader.get_field(f"{TRUE_SHAPE}{tensor.name}")
    written = tensor.shape[::-1] if field is None else [field.parts[at][0] for at in field.data]
    return tuple(int(side) for side in written)
