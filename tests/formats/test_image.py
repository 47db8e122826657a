"""Images: what a file shows is what the tensor holds; the camera follows a cut; bad files are refused in one line."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from helpers import refusal
from mirage.errors import InputError
from mirage.formats.cameras import load_cameras
from mirage.formats.depth import load_depth
from mirage.formats.image import fit_image, image_size, load_image, save_image
from mirage.formats.prompts import load_prompts
from mirage.formats.video import load_video
from mirage.geometry.camera import Camera
from mirage.geometry.grid import cell_centers


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_png_round_trip(tmp_path: Path) -> None:
    image = rearrange(torch.from_numpy(noise(20, 30)), "h w c -> c h w") / 255
    save_image(tmp_path / "a.png", image)
    assert_close(load_image(tmp_path / "a.png"), image, rtol=0, atol=1e-7)
    assert image_size(tmp_path / "a.png") == (20, 30)


def test_out_of_range_is_clamped_on_saving(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", torch.tensor([-1.0, 0.5, 2.0])[:, None, None].expand(3, 16, 16))
    assert_close(load_image(tmp_path / "a.png")[:, 0, 0], torch.tensor([0.0, 128 / 255, 1.0]))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = noise(20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: turn clockwise to view
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    seen = load_image(tmp_path / "a.png")
    assert_close(seen, torch.from_numpy(np.rot90(pixels, k=-1).copy()).permute(2, 0, 1) / 255)


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    grey = noise(16, 16, 1)[..., 0]
    deep = grey.astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    for name in ("grey.png", "deep.png", "float.tiff", "palette.png"):
        image = load_image(tmp_path / name)
        assert image.shape == (3, 16, 16)
        assert image.dtype == torch.float32
        assert_close(image, torch.from_numpy(grey / 255).float().expand(3, 16, 16), msg=name)


def test_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[:8, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert (image[:, :8] == 0).all()
    assert (image[:, 8:] == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(32, 96), st.integers(32, 96), st.integers(8, 32), st.integers(8, 32))
def test_the_camera_follows_the_cut(height: int, width: int, to_height: int, to_width: int) -> None:
    """The ray through a point of the picture is the same before and after: a picture of its own coordinates says so."""
    uv = rearrange(cell_centers((height, width), dtype=torch.float64), "h w c -> c h w")
    picture = torch.cat([uv, torch.zeros_like(uv[:1])])
    camera = Camera.looking(aspect=width / height, c2w=torch.eye(4, dtype=torch.float64))
    fitted, follows = fit_image(picture, camera, (to_height, to_width))
    assert fitted.shape == (3, to_height, to_width)
    assert abs(follows.intrinsics[0] * to_width / (follows.intrinsics[1] * to_height) - 1) < 0.07  # square, to a pixel
    assert (follows.intrinsics[2:] - 0.5).abs().max() < 0.07  # about the centre, to a pixel
    middle = (slice(to_height // 4, -(to_height // 4)), slice(to_width // 4, -(to_width // 4)))  # edges are filtered
    shown = rearrange(fitted[:2], "c h w -> h w c")[middle]
    ones = torch.ones(shown.shape[:2], dtype=torch.float64)
    before = camera.unproject(shown, ones)
    after = follows.unproject(cell_centers((to_height, to_width), dtype=torch.float64)[middle], ones)
    assert_close(after, before, rtol=0, atol=4e-3)


def test_real_photographs(data_dir: Path) -> None:
    image = load_image(data_dir / "images/vmem_living_room.jpg")
    assert image.shape == (3, 958, 1588)
    fitted, _ = fit_image(image, Camera.looking(aspect=1588 / 958), (128, 224))
    assert fitted.shape == (3, 128, 224)
    assert abs(fitted.mean() - image.mean()) < 0.02


def refused(path: Path, *words: str, **options) -> None:
    refusal(load_image, path, words=words, **options)


@pytest.mark.filterwarnings("error")
def test_wrong_images(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no file")
    refused(tmp_path, "folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.jpg").write_text("not an image")
    refused(tmp_path / "text.jpg", "not an image")
    Image.fromarray(noise(1, 1)).save(tmp_path / "one.png")
    refused(tmp_path / "one.png", "1 x 1", "at least 16")
    Image.fromarray(np.full((16, 16), 7, dtype=np.float32)).save(tmp_path / "bright.tiff")
    refused(tmp_path / "bright.tiff", "7..7", "0..1")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    refused(tmp_path / "huge.png", "100.0 million", "64.0 million")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    refused(tmp_path / "bomb.png", "400.0 million", "64.0 million")
    for suffix in ("png", "jpg", "webp", "tiff"):
        Image.fromarray(noise(64, 64)).save(tmp_path / f"whole.{suffix}")
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
        refused(tmp_path / f"cut.{suffix}", "cut.")
    with pytest.raises(InputError):
        save_image(tmp_path / "a.gif", torch.zeros(3, 16, 16))
    with pytest.raises(InputError):
        save_image(tmp_path / "no/a.png", torch.zeros(3, 16, 16))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), suffix=st.sampled_from(["png", "jpg", "webp", "tiff", "gif", "bmp", "pgm"]))
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_is_read_or_refused(tmp_path: Path, seed: int, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    if not whole.exists():
        exif = Image.Exif()
        exif[0x0112] = 6
        options: dict[str, Any] = {"exif": exif} if suffix in ("png", "jpg", "webp", "tiff") else {}
        Image.fromarray(noise(20, 24)).convert("L" if suffix == "pgm" else "RGB").save(whole, **options)
    data, draw = bytearray(whole.read_bytes()), random.Random(seed)
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(min(len(data), draw.choice([64, 10_000])))] = draw.randrange(256)
    damaged = tmp_path / f"damaged.{suffix}"
    damaged.write_bytes(data)
    message = ""
    try:
        image = load_image(damaged)
        assert image.min() >= 0
        assert image.max() <= 1
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_a_missing_file_is_said_once(tmp_path):
    with pytest.raises(InputError) as found:
        load_image(tmp_path / "nosuch.jpg")
    assert str(found.value).startswith("there is no file")
    assert str(found.value).count("expected") == 1


@pytest.mark.parametrize("read", [load_image, load_video, load_cameras, load_depth, load_prompts])
def test_a_git_lfs_pointer_is_called_that_by_every_reader(tmp_path: Path, read: Callable[[Path], object]) -> None:
    suffix = {load_image: "jpg", load_video: "mp4", load_depth: "png"}.get(read, "txt")
    file = tmp_path / f"file.{suffix}"
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(InputError, match="is a Git LFS pointer"):
        read(file)
