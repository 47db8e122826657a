"""Images from files and to files, through Pillow. `H W`: pixels. An image is a float tensor [3,H,W] in [0, 1], sRGB.

What else a picture says of itself, its field of view above all, is in photograph.py.

image = load_image("room.jpg")
image, camera = fit_image(image, Camera.for_image(image), size=(128, 192))     # the camera follows the crop
"""

import importlib.util
import io
import math
import os
import re
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from einops import rearrange
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.nn.functional import interpolate

from mirage.errors import InputError, short
from mirage.files import replacing
from mirage.formats.hdr import is_srgb, name_of, said_of, to_srgb
from mirage.formats.source import ARRAY_LIMIT, reason, regular_file
from mirage.geometry.camera import Camera
from mirage.kinds import checked, fit
from mirage.optional import install

ACCEPTS = "an image (PNG, JPEG, WebP, TIFF, HEIC, ...)"
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
SHRINKABLE = 256_000_000  # pixels of a JPEG: the largest of phones have 200 million
FULL_SIZE = "full size"  # in `Image.info`: (W, H) before it was asked to shrink
CICP = "(curve, primaries)"  # in `Image.info`: by their numbers in H.273 (hdr.py)
HEAD = 65536  # bytes that a file says it in
SLACK = 1e-3  # of floats beside [0, 1]
ADOBE_TO_SRGB = np.array([[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]], dtype=np.float32)
JPEG = b"\xff\xd8\xff"
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

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


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels [3,H,W] in [0, 1], upright, sRGB, and what came with them.

    original    (H, W) upright, before a large one was shrunk
    stored      (H, W) as it lies in the file, before it was turned
    profile     the name of the ICC profile that the colours were converted from, or of the curve or primaries that the
                file names without one (HLG, PQ, Display P3); None: they were sRGB
    """

    pixels: Tensor
    original: tuple[int, int]
    stored: tuple[int, int]
    exif: dict[int, Any] = field(default_factory=dict)
    profile: str | None = None
    notes: tuple[str, ...] = ()


@checked
def load_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Tensor:
    """[3,H,W] in [0, 1], sRGB: EXIF orientation and ICC profile are applied, grey becomes RGB, 16 bits keep their
    precision, transparent parts are laid on white; of an animation the first frame.

    Refuses sides under `min_side`, and more than `max_pixels` before decoding; a JPEG of up to 256 million is shrunk to
    that while it is decoded."""
    return decode(path, max_pixels=max_pixels, min_side=min_side).pixels


def decode(path: str | os.PathLike[str], *, max_pixels: int, min_side: int) -> Decoded:
    """`load_image`, with all that came with it."""
    with open_image(path, max_pixels=max_pixels, accepts=ACCEPTS, shrink=True) as image:
        return decoded(image, source=str(path), min_side=min_side)


def decoded(image: Image.Image, *, source: str, min_side: int) -> Decoded:
    """Of an opened image; one that is too large has been asked to shrink itself."""
    shrunk = image.size
    full = image.info.get(FULL_SIZE, shrunk)
    try:
        if min(image.size) < min_side:
            raise InputError(
                f"{source} is {image.width} x {image.height} pixels; both sides must be at least {min_side}"
            )
        exif = _exif(image)
        upright = ImageOps.exif_transpose(image)
        turned = upright.size != image.size or exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        said = image.info.get(CICP)
        if said is not None and (image.format == "PNG" or "icc_profile" not in image.info) and not is_srgb(*said):
            light = (_pixels(upright) * 65535).round().astype(np.uint16)
            pixels = to_srgb(light, curve=said[0], primaries=said[1]).astype(np.float32) / 255
            profile, notes = name_of(*said), []
        else:
            converted, profile, notes = _managed(upright)
            pixels = _pixels(converted)
        if "icc_profile" not in image.info and str(exif.get(ExifTags.Base.InteropIndex, "")).startswith("R03"):
            pixels, profile = _from_adobe_rgb(pixels), "Adobe RGB (EXIF)"
        if image.format in ("GIF", "WEBP", "PNG") and getattr(image, "is_animated", False):
            notes.append("the first frame of an animation")
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{source} is a damaged or truncated image ({reason(error)}); expected {ACCEPTS}") from error
    pixels = in_range(rearrange(torch.from_numpy(pixels), "h w c -> c h w"), source=source).contiguous()
    if full != shrunk:
        notes.append(f"shrunk to {shrunk[0]} x {shrunk[1]} while decoding")
    stored = (full[1], full[0])
    return Decoded(pixels, stored[::-1] if turned else stored, stored, exif, profile, tuple(notes))


def in_range(pixels: Tensor, *, source: str) -> Tensor:
    """The same floats, known to be finite and in [0, 1]; what an interpolation left beside the range is clamped. Those
    without storage, which `mirage plan` counts with, have no values."""
    if pixels.is_meta:
        return pixels.clamp(0, 1)
    low, high = pixels.min().item(), pixels.max().item()
    if math.isfinite(low) and math.isfinite(high) and low >= -SLACK and high <= 1 + SLACK:
        return pixels.clamp(0, 1)
    advice = ""
    if -1 - SLACK <= low < 0 and high <= 1 + SLACK:
        advice = "; -1..1 becomes that by (x + 1) / 2"
    elif low >= 0 and 1 < high <= 255:
        advice = "; 0..255 becomes that by x / 255, or as uint8"
    raise InputError(f"{source} has pixel values {low:g}..{high:g}; floating point images are 0..1{advice}")


@checked
def save_image(path: str | os.PathLike[str], image: Tensor | np.ndarray) -> None:
    """Write [3,H,W] or [H,W,3], uint8 or floats in [0, 1] (clamped), in the format of the name's suffix, 8 bits per
    channel."""
    if os.path.splitext(path)[1].lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"cannot write {path}: images are written as .png, .jpg or .webp")
    if image.ndim != 3:
        raise InputError(f"an image is [3,H,W] or [H,W,3], got {short(image)}")
    (picture,) = frames_of(image)
    with replacing(path) as beside:
        Image.fromarray(to_bytes(picture)).save(beside, quality=95)


def frames_of(frames: Tensor | np.ndarray) -> Tensor:
    """Float frames [F,3,H,W] of [F,3,H,W], [F,H,W,3] or one frame, uint8 or floats in [0, 1]; on the CPU."""
    video: Tensor = fit(Tensor, frames, "frames")
    video = video.detach().cpu()
    video = video[None] if video.ndim == 3 else video
    if video.ndim != 4 or 3 not in (video.shape[1], video.shape[-1]) or not video.numel():
        raise InputError(f"frames are [F,3,H,W] or [F,H,W,3], got {short(video)}")
    if video.dtype != torch.uint8 and not video.is_floating_point():
        raise InputError(f"frames are uint8, or floats in [0, 1]; got {video.dtype}")
    if not bool(video.isfinite().all()):
        raise InputError("the frames hold NaN or infinite values; accepted: floats in [0, 1]")
    video = video if video.shape[1] == 3 else video.permute(0, 3, 1, 2)
    return video.float() / 255 if video.dtype == torch.uint8 else video


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
    with open_image(path, max_pixels=MAX_PIXELS, accepts=ACCEPTS, shrink=True) as image:
        width, height = image.info.get(FULL_SIZE, image.size)
        return height, width


def to_bytes(image: Tensor) -> np.ndarray:
    """[3,H,W] in [0, 1] -> uint8 [H,W,3], rounded."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    return rearrange(levels, "c h w -> h w c").contiguous().numpy()


def encoded(image: Tensor, kind: Literal["PNG", "JPEG"]) -> bytes:
    """[3,H,W] in [0, 1] as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(file, kind, **_ENCODING[kind])
    return file.getvalue()


_ENCODING: dict[str, dict[str, Any]] = {"PNG": {"optimize": True}, "JPEG": {"quality": 90}}


def open_image(path: str | os.PathLike[str], *, max_pixels: int, accepts: str, shrink: bool = False) -> Image.Image:
    """A lazily opened image whose size is known to be acceptable; with `shrink`, of a JPEG that is larger the half,
    quarter or eighth."""
    path = regular_file(path, accepts=accepts, limit=ARRAY_LIMIT)
    with path.open("rb") as file:
        start = file.read(HEAD)
    if start[4:8] == b"ftyp" and start[8:12] in HEIF:
        _read_heif(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit comes next, and says more
            if shrink and start.startswith(JPEG):  # Image.open refuses above 179 million pixels, which phones have
                return _shrunk(JpegImageFile(path), max_pixels)
            image = Image.open(path)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        count = f"{int(pixels[0]) / 1e6:.1f} million" if pixels else "too many"
        raise InputError(f"{path} has {count} pixels; at most {max_pixels / 1e6:.1f} million are accepted") from error
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{path} is not an image that can be read; expected {accepts}") from error
    if image.width * image.height > max_pixels:
        _refuse_large(image, path, max_pixels)
    if (said := said_of(start)) is not None:
        image.info[CICP] = said
    return image


def _shrunk(image: JpegImageFile, max_pixels: int) -> Image.Image:
    """The JPEG, asked to decode itself at the largest of 1, 1/2, 1/4, 1/8 of its sides that has few enough pixels."""
    width, height = image.size
    if width * height > SHRINKABLE:
        _refuse_large(image, image.filename, SHRINKABLE)
    if width * height > max_pixels:
        wanted = next((s for s in (2, 4, 8) if math.ceil(width / s) * math.ceil(height / s) <= max_pixels), None)
        if wanted is None:
            _refuse_large(image, image.filename, 64 * max_pixels)
        image.draft(image.mode, (width // wanted, height // wanted))
        image.info[FULL_SIZE] = (width, height)
    return image


def _refuse_large(image: Image.Image, path: object, most: int) -> NoReturn:
    image.close()
    raise InputError(
        f"{path} has {image.width * image.height / 1e6:.1f} million pixels ({image.width} x "
        f"{image.height}); at most {most / 1e6:.1f} million are accepted"
    )


def _read_heif(path: Path) -> None:
    """HEIC is read from here on, where pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        raise InputError(f"{path} is HEIC, which needs pillow-heif: {install('pillow_heif')}, or convert it to JPEG")
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)


def _exif(image: Image.Image) -> dict[int, Any]:
    """EXIF's directories in one: where cameras write what they know of a picture."""
    exif = image.getexif()
    own = exif.get_ifd(ExifTags.IFD.Exif)
    other = exif.get_ifd(ExifTags.IFD.Interop) if ExifTags.IFD.Interop in own else {}  # Pillow before 13: a KeyError
    return dict(exif) | dict(own) | dict(other)


def _managed(image: Image.Image) -> tuple[Image.Image, str | None, list[str]]:
    """The image in sRGB by its ICC profile, the name of that, and what went wrong. sRGB's own profiles, of which there
    are many, change no pixel: a profile counts where it moves a colour by more than 2 of 255."""
    content = image.info.get("icc_profile")
    deep = image.mode.startswith("I") or image.mode == "F"  # LittleCMS through Pillow has 8 bits a channel
    if not content or deep:
        return image, None, []
    clear = image.has_transparency_data
    image = image.convert("RGBA") if clear or image.mode == "P" else image
    alpha = image.getchannel("A") if clear else None
    colours = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        transform = ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), colours.mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        same = colours.mode == "RGB" and _changes(transform) <= 2
        converted = None if same else ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return image, None, [f"its ICC profile does not apply and was left out ({reason(error)})"]
    if converted is None:
        return image, None, []
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, " ".join(ImageCms.getProfileDescription(profile).split())[:60] or "an ICC profile", []


def _from_adobe_rgb(pixels: np.ndarray) -> np.ndarray:
    """Adobe RGB [H,W,3] in sRGB, clipped: cameras that write it name it in EXIF (DCF's R03), without a profile."""
    linear = np.einsum("ij,hwj->hwi", ADOBE_TO_SRGB, np.clip(pixels, 0, 1) ** np.float32(563 / 256)).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def _changes(transform: ImageCms.ImageCmsTransform) -> int:
    """By how much a transform of RGB moves the colour that it moves most, of 9 x 9 x 9."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(27, 27, 3)
    moved = ImageCms.applyTransform(Image.fromarray(cube), transform)
    return int(np.abs(np.asarray(moved).astype(int) - cube).max())


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
