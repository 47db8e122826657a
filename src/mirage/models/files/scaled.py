"""fp8 weights with a scale, as ComfyUI and musubi keep them, read as the numbers that they stand for.

weight = fp8 * scale                    scale [] or [1]: of all; [out] or [out,1]: of each row; [out,n,1]: of n
                                        equal pieces of each row

blocks.0.ffn.0.weight                   float8_e4m3fn [out,in]
blocks.0.ffn.0.scale_weight             float32: "fp8_scaled", whose file also has a mark `scaled_fp8`
blocks.0.ffn.0.weight_scale             float32: what ComfyUI writes now, beside `comfy_quant`, JSON as bytes
blocks.0.ffn.0.scale_input, input_scale how activations would be scaled to run in fp8: not needed for the weights
"""

import json
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.models.files.checkpoint import Checkpoint

SCALES = ("scale_weight", "weight_scale")
OF_ACTIVATIONS = ("scale_input", "input_scale")
NOTE, MARK = "comfy_quant", "scaled_fp8"
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def unscaled(weights: Checkpoint) -> Checkpoint:
    """The same tensors without scales and marks: those that had a scale are read as float32, weight times scale.

    `InputError` for quantisations of other kinds, and for a scale whose weight is not there or whose shape is none of
    those above.
    """
    _check_notes(weights)
    ends = {name: name.rpartition(".")[2] for name in weights.shapes}
    scales: dict[str, str] = {}
    for name, end in ends.items():
        if end in SCALES:
            weight = f"{name.removesuffix(end)}weight"
            if weight not in weights.shapes or weight in scales:
                raise InputError(f"{weights.source} holds the scale {name} for {weight}, which is there "
                                 f"{'with another scale' if weight in scales else 'not'}")  # fmt: skip
            if weights.dtypes[weight] not in FP8:
                raise InputError(f"{weights.source} holds a scale for {weight}, which is "
                                 f"{str(weights.dtypes[weight]).removeprefix('torch.')}; accepted: fp8")  # fmt: skip
            _check_shape(weights, weight, name)
            scales[weight] = name
    left_out = {name for name, end in ends.items() if end in (*SCALES, *OF_ACTIVATIONS, NOTE, MARK)}

    def read(name: str) -> Tensor:
        if name not in scales:
            return weights.read(name)
        return _times(weights.read(name).float(), weights.read(scales[name]).float())

    return replace(
        weights.only(name for name in weights.shapes if name not in left_out),
        dtypes={**weights.dtypes, **dict.fromkeys(scales, torch.float32)},
        read=read,
    )


def _check_notes(weights: Checkpoint) -> None:
    """What ComfyUI says of its quantised layers: beside each as bytes, or of all in the header."""
    notes: dict[str, object] = {}
    try:
        said = json.loads(weights.metadata.get("_quantization_metadata", "{}"))
        notes |= {str(layer): note["format"] for layer, note in said.get("layers", {}).items()}
        for name in weights.shapes:
            if name.endswith(f".{NOTE}"):
                notes[name] = json.loads(bytes(weights.read(name).to(torch.uint8).flatten().tolist()))["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{weights.source} has a damaged note of how it is quantised") from error
    for layer, kind in notes.items():
        if kind not in ("float8_e4m3fn", "float8_e5m2"):
            raise InputError(
                f"{weights.source} holds {layer} quantised as {str(kind)[:40]}; accepted: fp8 with a scale"
            )


def _check_shape(weights: Checkpoint, weight: str, name: str) -> None:
    of, scale = weights.shapes[weight], weights.shapes[name]
    rows = scale in ((of[0],), (of[0], 1)) if of else False
    pieces = (
        len(of) == 2 and len(scale) == 3 and (scale[0], scale[2]) == (of[0], 1) and scale[1] and not of[1] % scale[1]
    )
    if scale not in ((), (1,)) and not rows and not pieces:
        raise InputError(f"{weights.source} holds the scale {name} {list(scale)} for {weight} {list(of)}; "
                         f"accepted: one number, one for each row, or [rows,pieces,1]")  # fmt: skip


def _times(weight: Tensor, scale: Tensor) -> Tensor:
    if scale.ndim == 3:
        pieces = rearrange(weight, "out (n piece) -> out n piece", n=scale.shape[1])
        return rearrange(pieces * scale, "out n piece -> out (n piece)")
    return weight * (scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, *[1] * (weight.ndim - 1)))
