"""What a memory takes for granted, looked at before it is believed: what is written to it, and a state from a file.

`T` latent frames, `C` latent channels, `h w` latent grid, `N` points, `K` written frames whose camera is kept.
Both know the same bounds, so that what may be written can be saved, and what was saved can be read.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError, short
from mirage.geometry.camera import FARTHEST, Camera, require_cameras
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.memory.points import PAGE
from mirage.memory.policy import MemoryPolicy

MOST_CHANNELS = 4096
MOST_FRAMES = 2**30
"""Latent frames and reads that are counted: a numbering in 32 bits goes on for as many again."""
WIDEST = FARTHEST * 1e3
"""World units that the footprint of a point may have."""
_AT_ONCE = 65536  # cameras that are checked together
_DTYPES = {"float32", "float16", "bfloat16", "float64"}
_FEATURES = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8}
_LARGEST = {"float16": 65504.0, "int8": 127 * 65504.0, "float32": math.inf}
"""Of a latent by how it is kept; int8 has a scale in float16."""


def check_write(
    latents: Tensor, depth: DepthMap, camera: Camera, keep: Tensor | None, *, channels: int, policy: MemoryPolicy
) -> None:
    """Of `LatentSpatialMemory.write`: shapes that fit, and latents that can be kept."""
    expected = (*latents.shape[:1], channels, *depth.shape[-2:])
    if latents.shape != expected or depth.shape[:-2] != latents.shape[:1] or 0 in latents.shape[1:]:
        raise InputError(
            f"a write takes latents [T,{channels},h,w] and depth [T,h,w] on the same grid, "
            f"got {list(latents.shape)} and {list(depth.shape)}; see DepthMap.resized"
        )
    if camera.shape != latents.shape[:1]:
        raise InputError(f"a write takes one camera per latent frame, got {list(camera.shape)} for {len(latents)}")
    if keep is not None and keep.shape != depth.shape:
        raise InputError(f"keep is of the shape of the depth {list(depth.shape)}; got {short(keep)}")
    largest = max(abs(bound.item()) for bound in latents.aminmax()) if latents.numel() else 0.0
    if not math.isfinite(largest):
        raise InputError("the latents have NaN or infinite numbers; they would stay in the memory for good")
    if largest > (most := _LARGEST[policy.features]):
        raise InputError(
            f'the latents reach {largest:g} and {policy.features} ends at {most:g}; use features="float32"'
        )


def check_far(z: Tensor, camera: Camera, admitted: Tensor, *, last: int) -> None:
    """Of depths z [T,h,w] before they enter, where `admitted` [T,h,w]; `last`: the number of the last frame of T."""
    grid = (z.shape[-2], z.shape[-1])
    far = z.abs().where(admitted, z.new_zeros(()))
    corners = camera.rays((2, 2))[1].abs().amax((1, 2)) * 2 + camera.center.abs()  # more than any ray of the grid
    if not bool((camera.center.abs() + far.amax((1, 2))[:, None] * corners <= FARTHEST).all()):  # by the triangle
        farthest = float(camera.unproject(cell_centers(grid, device=z.device).expand(*z.shape, 2), far).abs().amax())
        if not farthest <= FARTHEST:
            raise InputError(
                f"the depth puts points {farthest:g} units from the origin; accepted: at most {FARTHEST:g} "
                "(mask what has no depth)"
            )
    focal = (camera.intrinsics[:, :2] * z.new_tensor([grid[1], grid[0]])).amin(-1)
    near = z.where(admitted, torch.inf).amin((1, 2))
    if not bool(((near / focal > 0) & (far.amax((1, 2)) / focal <= WIDEST)).all()):
        raise InputError(
            f"the depth, from {float(near.amin()):g} on, makes points as wide as 0 or wider than {WIDEST:g} units; "
            "expected depths that the lens can have (mask what has no depth)"
        )
    if last > MOST_FRAMES:
        raise InputError(f"{last} latent frames were written; a memory takes at most {MOST_FRAMES}")


def check_state(tensors: Mapping[str, Tensor], meta: Any, source: str) -> None:
    """Of `LatentSpatialMemory.state`: names, shapes, dtypes, ranges, indices that point somewhere."""
    complete = isinstance(meta, dict) and meta.keys() == {"channels", "policy", "dtype"}
    require(complete and isinstance(meta["dtype"], str), source, "does not say its channels, policy and dtype")
    require(meta["dtype"] in _DTYPES, source, f"has latents of {meta['dtype'][:40]!r}; expected {', '.join(_DTYPES)}")
    channels = meta["channels"]
    require(type(channels) is int and 0 < channels <= MOST_CHANNELS, source, f"claims {str(channels)[:40]} channels")
    policy = _policy(meta["policy"], source)
    n, k = (
        len(tensors[name]) if name in tensors and tensors[name].ndim else 0 for name in ("position", "camera_index")
    )
    f32, f16, i32, i64 = torch.float32, torch.float16, torch.int32, torch.int64
    expected = {
        "position": (f32, (n, 3)),
        "feature": (_FEATURES[policy.features], (n, channels)),
        "frame": (i32, (n,)),
        "footprint": (f32, (n,)),
        "read": (i64, (-(-n // PAGE),)),
        "camera_index": (i32, (k,)),
        "c2w": (f32, (k, 4, 4)),
        "intrinsics": (f32, (k, 4)),
    }
    if policy.features == "int8":
        expected["scale"] = (f16, (n,))
    require(
        tensors.keys() == expected.keys(),
        source,
        f"holds {', '.join(sorted(tensors))[:200]!r}; expected {', '.join(sorted(expected))}",
    )
    for name, (dtype, shape) in expected.items():
        found = tensors[name]
        require(
            found.dtype == dtype and found.shape == shape,
            source,
            f"holds {name} as {found.dtype} {list(found.shape)}; expected {dtype} {list(shape)}",
        )
        require_finite(found, source, name)
    for first in range(0, k, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        said = f"{source}, cameras from {first}" if first else source
        require_cameras(Camera(tensors["c2w"][some], tensors["intrinsics"][some]), source=said)
    _check_numbers(tensors, source)


def _check_numbers(tensors: Mapping[str, Tensor], source: str) -> None:
    """Ranges of what has the right shape."""
    ranges = {
        "position": (-FARTHEST, FARTHEST),
        "scale": (0.0, math.inf),
        "footprint": (math.nextafter(0.0, 1.0), WIDEST),
        "read": (0, MOST_FRAMES),
        "camera_index": (0, MOST_FRAMES),
    }
    for name, (low, high) in ranges.items():
        if name in tensors and tensors[name].numel():
            least, most = _bounds(tensors[name])
            accepted = f"{low:g} to {high:g}" if name != "footprint" else f"above 0, at most {high:g}"
            require(
                low <= least and most <= high, source, f"holds {name} of {least:g} to {most:g}; expected {accepted}"
            )
    frames = tensors["camera_index"]
    require(bool((frames.diff() > 0).all()), source, "numbers its frames out of order")
    last = int(frames[-1]) if len(frames) else -1
    least, most = _bounds(tensors["frame"]) if len(tensors["frame"]) else (0, -1)
    require(least >= 0 and most <= last, source, f"holds points of frames that it does not have (frames 0 to {last})")


def _policy(said: Any, source: str) -> MemoryPolicy:
    """A field that is not said has its default; one that this program does not know is refused by its name."""
    require(isinstance(said, dict), source, f"has a policy that is a {type(said).__name__}; expected a table")
    try:
        return MemoryPolicy(**said)
    except (TypeError, InputError) as error:
        raise InputError(f"{source} has a policy that this program does not know: {str(error)[:200]}") from error


def _bounds(tensor: Tensor) -> tuple[float, float]:
    """Least and largest, NaN where there is one; takes no memory of the tensor's size."""
    low, high = tensor.aminmax()
    return low.item(), high.item()


def require_finite(tensor: Tensor, source: object, name: str) -> None:
    """`InputError` of a file's tensor that has NaN or infinite numbers."""
    finite = not tensor.numel() or not tensor.is_floating_point() or all(map(math.isfinite, _bounds(tensor)))
    require(finite, source, f"holds NaN or infinite numbers in {name}")


def require(true: bool, source: object, message: str) -> None:
    """`InputError` of a file, where it is not as it has to be."""
    if not true:
        raise InputError(f"{source} {message}")
