"""Images from files and to files, through Pillow. `H W`: pixels. An image is a float tensor [3,H,W] in [0, 1], sRGB.

image = load_image("room.jpg")
image, camera = fit_image(image, Camera.looking(aspect=3 / 2), size=(128, 192))   # the camera follows the crop
"""

import os
import re
import struct
import warnings

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.source import ARRAY_LIMIT, reason, regular_file
from mirage.geometry.camera import Camera

ACCEPTS = "an image (PNG, JPEG, WebP, TIFF, ...)"
MAX_PIXELS = 64_000_000
MIN_SIDE = 16

# What Pillow's readers raise for files that are cut or damaged; which one depends on the format.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
)


def load_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Tensor:
    """[3,H,W] in [0, 1]. EXIF orientation is applied, grey becomes RGB, 16 bits keep their precision, transparent
    parts are laid on white. Refuses more than `max_pixels` before decoding, and sides under `min_side`."""
    with open_image(path, max_pixels=max_pixels, accepts=ACCEPTS) as image:
        try:
            width, height = image.size
            if min(width, height) < min_side:
                raise InputError(f"{path} is {width} x {height} pixels; both sides must be at least {min_side}")
            pixels = _pixels(ImageOps.exif_transpose(image))
        except InputError:
            raise
        except DAMAGED as error:
            raise InputError(f"{path} is a damaged or truncated image ({reason(error)}); expected {ACCEPTS}") from error
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise InputError(f"{path} has pixel values {pixels.min():g}..{pixels.max():g}; floating point images are 0..1")
    return rearrange(torch.from_numpy(pixels), "h w c -> c h w").contiguous()


def save_image(path: str | os.PathLike[str], image: Tensor) -> None:
    """Write [3,H,W] in [0, 1] (clamped), in the format of the name's suffix, 8 bits per channel."""
    if os.path.splitext(path)[1].lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"cannot write {path}: images are written as .png, .jpg or .webp")
    with replacing(path) as beside:
        Image.fromarray(to_bytes(image)).save(beside, quality=95)


def fit_image(image: Tensor, camera: Camera, size: tuple[int, int]) -> tuple[Tensor, Camera]:
    """The image [3,H,W] cut to the aspect of `size` (H, W) about its centre and resized to it, antialiased; and its
    camera, which follows the cut (a resize leaves a camera alone)."""
    height, width = image.shape[-2:]
    to_height, to_width = size
    scale = min(height / to_height, width / to_width)
    cut_height, cut_width = max(1, round(to_height * scale)), max(1, round(to_width * scale))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    bottom, right = top + cut_height, left + cut_width
    camera = camera.cropped(left / width, top / height, right / width, bottom / height)
    image = image[:, top:bottom, left:right]
    if (cut_height, cut_width) != size:
        image = interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
    return image, camera


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(H, W) as stored, without decoding."""
    with open_image(path, max_pixels=MAX_PIXELS, accepts=ACCEPTS) as image:
        return image.height, image.width


def to_bytes(image: Tensor) -> np.ndarray:
    """[3,H,W] in [0, 1] -> uint8 [H,W,3], rounded."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    return rearrange(levels, "c h w -> h w c").contiguous().numpy()


def open_image(path: str | os.PathLike[str], *, max_pixels: int, accepts: str) -> Image.Image:
    """A lazily opened image whose size is known to be acceptable."""
    path = regular_file(path, accepts=accepts, limit=ARRAY_LIMIT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit comes next, and says more
            image = Image.open(path)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        count = f"{int(pixels[0]) / 1e6:.1f} million" if pixels else "too many"
        raise InputError(f"{path} has {count} pixels; at most {max_pixels / 1e6:.1f} million are accepted") from error
    except DAMAGED as error:
        raise InputError(f"{path} is not an image that can be read; expected {accepts}") from error
    if image.width * image.height > max_pixels:
        image.close()
        raise InputError(
            f"{path} has {image.width * image.height / 1e6:.1f} million pixels ({image.width} x "
            f"{image.height}); at most {max_pixels / 1e6:.1f} million are accepted"
        )
    return image


def _pixels(image: Image.Image) -> np.ndarray:
    """float32 [H,W,3], nominally in [0, 1]."""
    if image.mode.startswith("I;16") or image.mode == "I":  # Pillow has 16-bit grey as I;16 (PNG, TIFF) or I (PGM)
        grey = np.asarray(image).astype(np.float32) / 65535
    elif image.mode == "F":
        grey = np.asarray(image, dtype=np.float32)
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"), dtype=np.float32) / 255
    else:
        return np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return np.repeat(grey[:, :, None], 3, axis=2)
