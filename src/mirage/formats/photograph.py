"""A picture as a person brings it, and all that it says of itself. `H W`: pixels; degrees; millimetres.

    photograph = open_photograph("IMG_2041.HEIC")           # upright, in sRGB, with the field of view its EXIF tells
    photograph, path = fitted(photograph, path, (704, 1280), fit="crop")
    print(photograph)                                       # what was taken, from where, and how much of it is left
    photograph.receipt()                                    # the same as plain values

Where the field of view comes from, the first that there is: what was asked; EXIF's focal length as of 35 mm film (the
diagonals agree, as CIPA DCG-001 has it: 43.27 mm of film); EXIF's focal length with its focal plane resolution; 65
degrees on the longer side.
"""

import hashlib
import io
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from PIL import ExifTags, Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from mirage.errors import InputError
from mirage.formats.image import ACCEPTS, MAX_PIXELS, MIN_SIDE, Decoded, decode, decoded, fit_image, in_range, to_bytes
from mirage.formats.source import ARRAY_LIMIT, regular_file
from mirage.geometry.camera import FILM_DIAGONAL, Camera, field_of_view
from mirage.geometry.depthmap import DepthMap

Fit = Literal["crop", "pad", "stretch"]
Origin = Literal["asked", "trajectory", "cameras", "EXIF 35 mm", "EXIF focal plane", "default"]
SAID: dict[Origin, str] = {
    "asked": "as asked",
    "trajectory": "as the trajectory has it",
    "cameras": "as its camera file has it",
    "EXIF 35 mm": "EXIF: focal length as of 35 mm film",
    "EXIF focal plane": "EXIF: focal length and focal plane",
    "default": "no EXIF that says it: 65 on the longer side",
}
Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
RESIZED = 0.02  # by so much the aspect may differ from what EXIF says, and the picture is still whole
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF's units of a focal plane resolution


@dataclass(frozen=True, eq=False)
class Photograph:
    """Pixels [3,H,W] in [0, 1], sRGB, upright; `fov`: of what the pixels show, across, in degrees.

    original    (H, W) of the whole picture, upright, before anything was shrunk, cut or added
    kept        left, top, right, bottom of what is left of it, as fractions; beyond 0 and 1 where it was padded
    digest      SHA-256 of the file, or of the pixels where there is none
    notes       what else was done to it or is odd about it, each half a sentence
    """

    pixels: Tensor
    fov: float
    fov_from: Origin
    source: str
    digest: str
    original: tuple[int, int]
    profile: str | None = None
    kept: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    fit: Fit = "crop"
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def camera(self) -> Camera:
        """At the origin, as wide as `fov`; pixels are square unless the picture was stretched."""
        height, width = self.original
        across = math.tan(math.radians(self.fov) / 2) / (self.kept[2] - self.kept[0])
        whole = Camera.looking(horizontal_fov=2 * math.degrees(math.atan(across)), aspect=width / height)
        return _widened(whole, self.kept)

    @property
    def share(self) -> float:
        """How much of the picture's area is left, 0 to 1."""
        left, top, right, bottom = (min(max(side, 0.0), 1.0) for side in self.kept)
        return (right - left) * (bottom - top)

    @property
    def seen(self) -> Tensor:
        """Bool [H,W]: True where the pixels are the picture's own, False in what was added around it."""
        (height, width), (left, top, right, bottom) = self.size, self.kept
        u = left + (torch.arange(width) + 0.5) / width * (right - left)
        v = top + (torch.arange(height) + 0.5) / height * (bottom - top)
        return ((v > 0) & (v < 1))[:, None] & ((u > 0) & (u < 1))[None]

    def receipt(self) -> dict[str, Any]:
        """Plain values for a receipt."""
        return {
            "file": self.source,
            "sha256": self.digest,
            "size": list(self.original),
            "field_of_view": round(self.fov, 3),
            "field_of_view_from": self.fov_from,
            "profile": self.profile,
            "fit": self.fit,
            "kept": [round(side, 6) for side in self.kept],
            "share": round(self.share, 4),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """One line for a person."""
        height, width = self.original
        parts = [f"{width} x {height}", f"field of view {self.fov:.1f} degrees across ({SAID[self.fov_from]})"]
        if self.profile is not None:
            parts.append(f"colours from {self.profile} to sRGB")
        if self.share < 0.995:
            parts.append(f"{self.share:.0%} of the picture is left at {self.size[1]} x {self.size[0]}")
        if self.fit != "crop":
            parts.append({"pad": "padded", "stretch": "stretched"}[self.fit] + f" to {self.size[1]} x {self.size[0]}")
        return f"{Path(self.source).name}: " + "; ".join([*parts, *self.notes])

    def __repr__(self) -> str:
        return f"Photograph({self})"

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(to_bytes(self.pixels)).save(file, "PNG")
        return file.getvalue()


def open_photograph(path: str | os.PathLike[str], fov: float | None = None) -> Photograph:
    """The picture of a file: everything that Pillow reads, and HEIC where pillow-heif is installed.

    `fov`: degrees across the whole picture, in place of what the file says. A JPEG of more than 64 million pixels is
    shrunk while it is decoded.
    """
    regular_file(path, accepts=ACCEPTS, limit=ARRAY_LIMIT)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _photograph(decode(path, max_pixels=MAX_PIXELS, min_side=MIN_SIDE), str(path), digest, fov)


def photograph_of(picture: "Picture | Photograph", fov: float | None = None) -> Photograph:
    """A picture in whatever form it is at hand: a path, a PIL image, a numpy array [H,W,3] or a tensor [3,H,W].

    Arrays and tensors are uint8, or floats in [0, 1]; each also with the channels at the other end, grey [H,W], or
    with a leading axis of 1. Floats of 0..255 and -1..1 are told by their values, and refused.
    """
    if isinstance(picture, Photograph):
        return picture if fov is None else replace(picture, fov=_checked(fov), fov_from="asked")
    if isinstance(picture, str | os.PathLike):
        return open_photograph(picture, fov)
    if isinstance(picture, Image.Image):
        found = decoded(picture, source="the picture", min_side=MIN_SIDE)
    elif isinstance(picture, np.ndarray | Tensor):
        pixels = _channels_first(picture)
        found = Decoded(pixels, (pixels.shape[-2], pixels.shape[-1]), (pixels.shape[-2], pixels.shape[-1]))
    else:
        raise InputError(
            f"got a picture of type {type(picture).__name__}; expected a path, a PIL image, a numpy array [H,W,3] or a "
            "tensor [3,H,W]"
        )
    digest = hashlib.sha256(found.pixels.numpy().tobytes()).hexdigest()
    return _photograph(found, type(picture).__name__, digest, fov)


def fitted(
    photograph: Photograph, path: Camera, size: tuple[int, int], *, fit: Fit = "crop"
) -> tuple[Photograph, Camera]:
    """The photograph at `size` (H, W), and the path, seen through what became of it.

    crop      cut about its centre to the aspect of `size`; resized
    pad       the whole picture, and beside it its outermost pixels repeated; `seen` tells them apart
    stretch   the whole picture, resized to another aspect; its camera's pixels are no longer square
    """
    if fit not in ("crop", "pad", "stretch"):
        raise InputError(f"got the fit {fit!r}; expected crop, pad or stretch")
    height, width = photograph.size
    to_height, to_width = size
    if fit == "crop":
        pixels, path = fit_image(photograph.pixels, path, size)
        kept = _cut(photograph.size, size)
        across = kept[2] - kept[0]
    elif fit == "stretch":
        pixels, kept, across = _resized(photograph.pixels, size), (0.0, 0.0, 1.0, 1.0), 1.0
    else:
        scale = max(height / to_height, width / to_width)
        inside = max(1, round(height / scale)), max(1, round(width / scale))
        top, left = (to_height - inside[0]) // 2, (to_width - inside[1]) // 2
        around = (left, to_width - inside[1] - left, top, to_height - inside[0] - top)
        pixels = pad(_resized(photograph.pixels, inside)[None], around, mode="replicate")[0]
        kept = (-left / inside[1], -top / inside[0], 1 + around[1] / inside[1], 1 + around[3] / inside[0])
        across = kept[2] - kept[0]
        path = _widened(path, kept)
    fov = math.degrees(2 * math.atan(math.tan(math.radians(photograph.fov) / 2) * across))
    return replace(photograph, pixels=pixels, fov=fov, kept=_within(photograph.kept, kept), fit=fit), path


def fitted_depth(depth: DepthMap, size: tuple[int, int], *, fit: Fit = "crop") -> DepthMap:
    """The part of a depth map [h,w] of the whole picture that `fitted` keeps at `size`; unknown where it was padded."""
    height, width = depth.shape
    if fit == "stretch":
        return depth
    if fit == "crop":
        left, top, right, bottom = _cut((height, width), size)
        rows, columns = (slice(round(a * n), round(b * n)) for a, b, n in ((top, bottom, height), (left, right, width)))
        return DepthMap(depth.z[rows, columns], depth.valid[rows, columns])
    scale = max(height / size[0], width / size[1])
    outside = max(height, round(size[0] * scale)), max(width, round(size[1] * scale))
    top, left = (outside[0] - height) // 2, (outside[1] - width) // 2
    around = (left, outside[1] - width - left, top, outside[0] - height - top)
    return DepthMap(pad(depth.z, around, value=1.0), pad(depth.valid, around, value=False))


def frame_size(
    photograph: Photograph, model_size: tuple[int, int], stride: int, asked: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(H, W) of the frames of a walk that begins with this picture.

    `asked`: as it is, if both sides are multiples of `stride` (pixels per latent cell times latent cells per patch).
    Without it the picture's own shape at the model's pixel count: never more, and the model's own size where that has
    the picture's shape.
    """
    if asked is not None:
        if any(side < stride or side % stride for side in asked):
            near = [max(stride, round(side / stride) * stride) for side in asked]
            raise InputError(
                f"got the size {asked[0]} {asked[1]} (height, width); expected multiples of {stride}, such as "
                f"{near[0]} {near[1]}"
            )
        return asked
    (height, width), most = photograph.size, model_size[0] * model_size[1]

    def misfit(size: tuple[int, int]) -> tuple[float, float]:
        cut = abs(math.log(size[1] * height / (size[0] * width)))
        return cut + 1 - size[0] * size[1] / most, cut

    ideal = math.sqrt(most * height / width)
    sides = range(stride, most // stride + 1, stride)
    near = [side for side in sides if side <= 2 * ideal + stride]
    choices = [(side, (most // side) // stride * stride - less) for side in near for less in (0, stride, 2 * stride)]
    return min((size for size in (model_size, *choices) if size[1] >= stride), key=misfit)


# -- what a file says of itself --------------------------------------------------------------------------------------


def _photograph(found: Decoded, source: str, digest: str, fov: float | None) -> Photograph:
    height, width = found.original
    notes = list(found.notes)
    if fov is not None:
        across, origin = _checked(fov), "asked"
    else:
        across, origin, odd = _told(found)
        notes += odd
    if across is None:
        across, origin = field_of_view((height, width)), "default"
    return Photograph(
        found.pixels, across, origin, source, digest, found.original, profile=found.profile, notes=tuple(notes)
    )


def _told(found: Decoded) -> tuple[float | None, Origin, list[str]]:
    """Degrees across the upright picture by its EXIF, and what is odd about it."""
    exif = found.exif
    at_35mm = _number(exif, ExifTags.Base.FocalLengthIn35mmFilm)
    focal, resolution = (_number(exif, tag) for tag in (ExifTags.Base.FocalLength, ExifTags.Base.FocalPlaneXResolution))
    unit = MILLIMETRES.get(int(_number(exif, ExifTags.Base.FocalPlaneResolutionUnit) or 2))
    height, width = found.stored
    taken = tuple(_number(exif, tag) for tag in (ExifTags.Base.ExifImageHeight, ExifTags.Base.ExifImageWidth))
    told = (float(taken[0]), float(taken[1])) if taken[0] and taken[1] else (float(height), float(width))
    if _aspect(told) and abs(_aspect(told) / _aspect((height, width)) - 1) > RESIZED:
        odd = f"cut after it was taken at {told[1]:.0f} x {told[0]:.0f}, so its focal length says nothing"
        return None, "default", [odd] if at_35mm or focal else []
    upright = found.original
    if at_35mm:
        pixels = at_35mm / FILM_DIAGONAL * math.hypot(*upright)
        origin: Origin = "EXIF 35 mm"
    elif focal and resolution and unit:
        # pixels of the stored width as it was taken; the same pixels are as high as wide
        pixels = focal * resolution / unit * max(upright) / max(told)
        pixels *= max(1.0, _number(exif, ExifTags.Base.DigitalZoomRatio) or 1.0)  # the sensor's middle, enlarged
        origin = "EXIF focal plane"
    else:
        return None, "default", []
    degrees = math.degrees(2 * math.atan(upright[1] / (2 * pixels)))
    if not 1 <= degrees <= 170:
        return (
            None,
            "default",
            [f"its EXIF gives {degrees:.2g} degrees across, which cannot be"],
        )
    return degrees, origin, []


def _number(exif: dict[int, Any], tag: int) -> float | None:
    """A finite number above 0, or None: EXIF writes 0 and 0/0 for what a camera does not know."""
    try:
        value = float(exif[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # a file may hold anything there
        return None
    return value if math.isfinite(value) and value > 0 else None


def _aspect(size: tuple[float, float]) -> float:
    """The longer side over the shorter: some programs turn the pixels and leave what EXIF says of them."""
    return max(size) / min(size)


def _checked(fov: float) -> float:
    if isinstance(fov, bool) or not isinstance(fov, int | float | np.number) or not 1 <= fov <= 170:
        raise InputError(f"got a field of view of {fov!r}; expected 1 to 170 degrees across the picture")
    return float(fov)


# -- arrays ----------------------------------------------------------------------------------------------------------


def _channels_first(picture: np.ndarray | Tensor) -> Tensor:
    """float32 [3,H,W] in [0, 1] of an array or tensor of any accepted layout."""
    kind, shape = type(picture).__name__, list(picture.shape)
    if isinstance(picture, Tensor) and picture.is_meta:
        raise InputError("got a picture as Tensor on the meta device; expected one with its pixels")
    tensor = picture.detach().cpu() if isinstance(picture, Tensor) else _tensor(picture)
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim == 2:
        tensor = tensor.expand(3, *tensor.shape)
    ends = (-1, 0) if isinstance(picture, np.ndarray) else (0, -1)
    found = next((end for end in ends if tensor.ndim == 3 and tensor.shape[end] == 3), None)
    if found is None:
        raise InputError(f"got a picture as {kind} of shape {shape}; expected [H,W,3] or [3,H,W]")
    tensor = tensor if found == 0 else rearrange(tensor, "h w c -> c h w")
    if min(tensor.shape[1:]) < MIN_SIDE:
        raise InputError(
            f"got a picture of {tensor.shape[2]} x {tensor.shape[1]} pixels; both sides at least {MIN_SIDE}"
        )
    if tensor.dtype == torch.uint8:
        return (tensor.float() / 255).contiguous()
    if not tensor.is_floating_point():
        raise InputError(f"got a picture as {kind} of {picture.dtype}; expected uint8, or floats in [0, 1]")
    return in_range(tensor.float(), source=f"the picture ({kind})").contiguous()


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fu" or array.dtype.itemsize > 8:
        raise InputError(f"got a picture as numpy array of {array.dtype}; expected uint8, or floats in [0, 1]")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        raise InputError(f"got a picture as numpy array of {array.dtype}; expected uint8, or floats in [0, 1]")
    if np.ma.is_masked(array):
        raise InputError("got a picture as an array of which a part is masked; expected all of it")
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))


# -- cutting ---------------------------------------------------------------------------------------------------------


def _resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return interpolate(pixels[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)


def _cut(size: tuple[int, int], to: tuple[int, int]) -> tuple[float, float, float, float]:
    """left, top, right, bottom of what `fit_image` keeps, as fractions."""
    height, width = size
    scale = min(height / to[0], width / to[1])
    cut_height, cut_width = max(1, round(to[0] * scale)), max(1, round(to[1] * scale))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    return left / width, top / height, (left + cut_width) / width, (top + cut_height) / height


def _widened(camera: Camera, part: tuple[float, float, float, float]) -> Camera:
    """The camera of a rectangle that reaches beyond the picture, as `Camera.cropped` is of one within."""
    left, top, right, bottom = part
    size, corner = camera.intrinsics.new_tensor([right - left, bottom - top]), camera.intrinsics.new_tensor([left, top])
    focal, center = camera.intrinsics[..., :2] / size, (camera.intrinsics[..., 2:] - corner) / size
    return camera.with_intrinsics(torch.cat([focal, center], dim=-1))


def _within(
    outer: tuple[float, float, float, float], inner: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """A part of a part, as fractions of the whole."""
    left, top, right, bottom = outer
    width, height = right - left, bottom - top
    return left + inner[0] * width, top + inner[1] * height, left + inner[2] * width, top + inner[3] * height
