"""A picture as people bring it: its field of view and why, its colours, what is left of it; in any form."""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational
from torch.testing import assert_close

from mirage.errors import InputError
from mirage.formats.depth import cut_depth
from mirage.formats.image import fit_image, load_image
from mirage.formats.photograph import (
    Photograph,
    fitted,
    fitted_depth,
    frame_size,
    open_photograph,
    photograph_of,
)
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers


def smooth(height: int, width: int) -> np.ndarray:
    """uint8 [H,W,3], four corners of different colours; no two of the eight orientations look alike."""
    corners = np.array([[[200, 60, 50], [40, 180, 60]], [[60, 70, 210], [230, 220, 90]]], dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def camera_file(
    path: Path, size: tuple[int, int] = (60, 90), orientation: int = 1, **tags: float | tuple[int, int]
) -> Path:
    """A JPEG of (H, W) as stored, with these EXIF tags."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    ifd = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        ifd[ExifTags.Base[name]] = IFDRational(*value) if isinstance(value, tuple) else value
    Image.fromarray(smooth(*size)).save(path, exif=exif)
    return path


PLANE_28 = {"FocalLength": (28, 1), "FocalPlaneXResolution": (635, 10)}  # 90 pixels on 36 mm, in pixels an inch

# -- field of view ---------------------------------------------------------------------------------------------------


def test_the_handed_pictures(data_dir: Path) -> None:
    inputs = data_dir / "inputs"
    for name, across in (("exif26mm", 69.4), ("exif77mm", 26.3)):
        found = open_photograph(inputs / f"exif_focal/{name}.jpg")
        assert found.fov == pytest.approx(across, abs=0.05)
        assert found.fov_from == "EXIF 35 mm"
    portrait = open_photograph(inputs / "portrait/port.jpg")
    assert portrait.fov == pytest.approx(46.0, abs=0.05)
    assert portrait.fov_from == "default"
    assert "65 on the longer side" in str(portrait)
    assert open_photograph(inputs / "exif_focal/exif26mm.jpg", fov=50).fov_from == "asked"
    assert open_photograph(inputs / "exif_focal/exif26mm.jpg", fov=50).fov == 50


@pytest.mark.parametrize("size", [(60, 90), (60, 80), (90, 60), (80, 80), (45, 80)])
def test_the_diagonals_agree(tmp_path: Path, size: tuple[int, int]) -> None:
    """A focal length as of 35 mm film is one of the diagonal, whatever the aspect."""
    found = open_photograph(camera_file(tmp_path / "a.jpg", size, FocalLengthIn35mmFilm=26, FocalLength=4.2))
    diagonal = 2 * math.atan(math.tan(math.radians(found.fov) / 2) * math.hypot(*size) / size[1])
    assert math.degrees(diagonal) == pytest.approx(math.degrees(2 * math.atan(43.2666 / 2 / 26)), abs=1e-3)


@pytest.mark.parametrize("unit", [2, 3, 4, 5])
@pytest.mark.parametrize("shrunk", [1, 3])
def test_a_focal_plane_resolution(tmp_path: Path, unit: int, shrunk: int) -> None:
    """24 mm before a sensor 36 mm wide: 73.7 degrees, in all units, also when the picture was made smaller later."""
    millimetres = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}[unit]
    per_unit = 90 * shrunk / 36 * millimetres
    found = open_photograph(
        camera_file(
            tmp_path / "a.jpg",
            FocalLength=(24, 1),
            FocalPlaneXResolution=(round(per_unit * 1e6), 10**6),
            FocalPlaneYResolution=(round(per_unit * 1e6), 10**6),
            FocalPlaneResolutionUnit=unit,
            ExifImageWidth=90 * shrunk,
            ExifImageHeight=60 * shrunk,
        )
    )
    assert found.fov == pytest.approx(73.74, abs=0.05)
    assert found.fov_from == "EXIF focal plane"


@pytest.mark.parametrize("zoom", [(0, 1), (1, 1), (2, 1)])
def test_a_digital_zoom_narrows_what_the_focal_plane_says(tmp_path: Path, zoom: tuple[int, int]) -> None:
    """0: not used. The focal length as of 35 mm film counts it already."""
    found = open_photograph(camera_file(tmp_path / "a.jpg", (60, 90), 1, **PLANE_28, DigitalZoomRatio=zoom))
    half = math.tan(math.radians(found.fov) / 2)
    assert half * max(1, zoom[0]) == pytest.approx(18 / 28, rel=1e-3)
    film = open_photograph(camera_file(tmp_path / "b.jpg", FocalLengthIn35mmFilm=28))
    both = open_photograph(camera_file(tmp_path / "c.jpg", FocalLengthIn35mmFilm=28, DigitalZoomRatio=zoom))
    assert both.fov == film.fov


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "tags", [{"FocalLengthIn35mmFilm": 28}, {"FocalLength": (28, 1), "FocalPlaneXResolution": (635, 10)}]
)
def test_a_turned_picture_has_the_other_side_across(tmp_path: Path, orientation: int, tags: dict) -> None:
    """28 mm before 36 x 24 mm; a camera on its side sees 46.4 degrees across."""
    found = open_photograph(camera_file(tmp_path / "a.jpg", orientation=orientation, **tags))
    upright = orientation > 4
    assert found.size == found.original == ((90, 60) if upright else (60, 90))
    assert found.fov == pytest.approx(46.4 if upright else 65.5, abs=0.1)
    assert found.camera.intrinsics[0] * found.size[1] == pytest.approx(found.camera.intrinsics[1] * found.size[0])


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"FocalLength": (42, 10)},
        {"FocalLengthIn35mmFilm": 0},
        {"FocalLength": (0, 0), "FocalPlaneXResolution": (0, 0)},
        {"FocalLength": (24, 1), "FocalPlaneXResolution": (1, 0)},
        {"FocalLength": (24, 1), "FocalPlaneXResolution": (90, 36), "FocalPlaneResolutionUnit": 1},
        {"FocalLengthIn35mmFilm": 60_000},
    ],
)
def test_exif_that_says_nothing_is_not_believed(tmp_path: Path, tags: dict) -> None:
    found = open_photograph(camera_file(tmp_path / "a.jpg", **tags))
    assert (found.fov_from, found.fov) == ("default", pytest.approx(65))


def test_a_picture_that_was_cut_later_is_not_believed(tmp_path: Path) -> None:
    found = open_photograph(
        camera_file(tmp_path / "a.jpg", (60, 60), FocalLengthIn35mmFilm=26, ExifImageWidth=90, ExifImageHeight=60)
    )
    assert found.fov_from == "default"
    assert "cut after it was taken at 90 x 60" in str(found)
    turned = camera_file(
        tmp_path / "b.jpg", (90, 60), FocalLengthIn35mmFilm=26, ExifImageWidth=900, ExifImageHeight=600
    )
    assert open_photograph(turned).fov_from == "EXIF 35 mm"  # turned by a program, and made smaller


def test_fields_of_view_that_are_none(tmp_path: Path) -> None:
    path = camera_file(tmp_path / "a.jpg")
    for fov in (0, -5, 171, math.nan, math.inf, True, "65"):
        with pytest.raises(InputError, match="field of view"):
            open_photograph(path, fov=fov)  # pyright: ignore[reportArgumentType]


# -- colours and formats ---------------------------------------------------------------------------------------------


def test_profiles_are_applied(data_dir: Path) -> None:
    """The same picture in sRGB, Display P3 and Adobe RGB."""
    inputs = data_dir / "inputs"
    plain = load_image(inputs / "ctrlc_world_lost/land.jpg")  # land.tiff, which is not there, as a JPEG
    for name in ("p3", "adobe"):
        found = open_photograph(inputs / f"icc_profile/{name}.png")
        assert found.profile == name
        assert ((found.pixels - plain).mean((1, 2)).abs() * 255 < 1).all()
        assert_close(found.pixels[:, 300, 450] * 255, torch.tensor([200.0, 60.0, 50.0]), rtol=0, atol=1.01)


def profiled(data_dir: Path, name: str = "adobe") -> tuple[bytes, Image.Image]:
    """(profile, a small picture in its colours) and the picture's own colours are `smooth`."""
    profile = Image.open(data_dir / f"inputs/icc_profile/{name}.png").info["icc_profile"]
    plain = Image.fromarray(smooth(40, 60))
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile)), "RGB", "RGB"
    )
    return profile, ImageCms.applyTransform(plain, transform) or plain


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_a_profile_with_transparency_and_in_every_format(data_dir: Path, tmp_path: Path, suffix: str) -> None:
    profile, picture = profiled(data_dir)
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    picture.save(tmp_path / f"a.{suffix}", icc_profile=profile, **options)
    truth = rearrange(torch.from_numpy(smooth(40, 60).copy()), "h w c -> c h w").float()
    assert (load_image(tmp_path / f"a.{suffix}") * 255 - truth).abs().max() <= 3
    picture.putalpha(Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 30, axis=1).repeat(40, axis=0)))
    picture.save(tmp_path / f"b.{suffix}", icc_profile=profile, **options)
    half = load_image(tmp_path / f"b.{suffix}") * 255
    assert (half[..., :30] == 255).all()
    assert (half[..., 30:] - truth[..., 30:]).abs().max() <= 3


def test_adobe_rgb_that_only_exif_tells_of(data_dir: Path, tmp_path: Path) -> None:
    """Cameras set to Adobe RGB write DCF's R03, and no profile."""
    with Image.open(data_dir / "inputs/icc_profile/adobe.png") as picture:
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {ExifTags.Base.InteropIndex: "R03"}
        Image.fromarray(np.asarray(picture.convert("RGB"))).save(
            tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0
        )
    with_profile = load_image(data_dir / "inputs/icc_profile/adobe.png")
    found = open_photograph(tmp_path / "a.jpg")
    assert found.profile == "Adobe RGB (EXIF)"
    assert ((found.pixels - with_profile).abs() * 255).mean() < 1
    assert_close(found.pixels[:, 300, 450] * 255, torch.tensor([200.0, 60.0, 50.0]), rtol=0, atol=2)


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(smooth(40, 60)).save(tmp_path / "a.png", icc_profile=profile)
    Image.fromarray(smooth(40, 60)).save(tmp_path / "b.png")
    found = open_photograph(tmp_path / "a.png")
    assert found.profile is None
    assert torch.equal(found.pixels, load_image(tmp_path / "b.png"))


def test_a_profile_that_is_none_is_said_and_left_out(data_dir: Path, tmp_path: Path) -> None:
    for number, (profile, picture) in enumerate(
        [
            (b"no profile", Image.fromarray(smooth(40, 60))),
            (profiled(data_dir)[0], Image.fromarray(smooth(40, 60)).convert("L")),
        ]
    ):
        picture.save(tmp_path / f"{number}.png", icc_profile=profile)
        found = open_photograph(tmp_path / f"{number}.png")
        assert found.profile is None
        assert "ICC profile does not apply" in str(found)
        assert torch.equal(found.pixels, photograph_of(np.asarray(picture)).pixels)


def test_heic_is_read(data_dir: Path) -> None:
    for name in ("photo.heic", "heic_named.jpg"):
        found = open_photograph(data_dir / f"inputs/heic/{name}")
        assert found.size == (600, 900)
        assert_close(found.pixels[:, 300, 450] * 255, torch.tensor([200.0, 60.0, 50.0]), rtol=0, atol=4)


def test_heic_without_its_package_says_what_to_do(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"HEIC.*pillow-heif.*JPEG"):
        load_image(data_dir / "inputs/heic/heic_named.jpg")


def test_heic_that_is_turned_and_has_a_focal_length(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.fromarray(smooth(60, 80)).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    found = open_photograph(tmp_path / "a.heic")
    assert found.size == (80, 60)
    assert found.fov_from == "EXIF 35 mm"
    truth = torch.from_numpy(np.rot90(smooth(60, 80), k=-1).copy()).permute(2, 0, 1) / 255
    assert (found.pixels - truth).abs().mean() < 0.02
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:700])
    with pytest.raises(InputError, match=r"cut\.heic"):
        open_photograph(tmp_path / "cut.heic")


def test_a_large_jpeg_is_shrunk_while_it_is_decoded(tmp_path: Path) -> None:
    wide = Image.fromarray(smooth(6, 9)).resize((9000, 7500), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    wide.save(tmp_path / "a.jpg", exif=exif, quality=50)  # 67.5 million pixels
    found = open_photograph(tmp_path / "a.jpg")
    assert (found.size, found.original) == ((4500, 3750), (9000, 7500))
    assert "shrunk to 4500 x 3750" in str(found) or "shrunk to 3750 x 4500" in str(found)
    assert found.fov == pytest.approx(
        math.degrees(2 * math.atan(43.2666 * 7500 / math.hypot(7500, 9000) / 52)), abs=0.01
    )
    small = torch.nn.functional.interpolate(found.pixels[None], (9, 6), mode="area")[0]
    truth = torch.from_numpy(np.rot90(smooth(6, 9), k=-1).copy()).permute(2, 0, 1) / 255
    assert (small - truth).abs().max() < 0.06
    large = Image.new("L", (8, 8))
    large.save(tmp_path / "bomb.jpg")
    content = bytearray((tmp_path / "bomb.jpg").read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    (tmp_path / "bomb.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"400.0 million pixels.*at most 256.0 million"):
        open_photograph(tmp_path / "bomb.jpg")


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth(40, 60)), Image.new("RGB", (60, 40), "black")]
    options: dict[str, dict[str, Any]] = {"webp": {"lossless": True}, "png": {}, "gif": {}}
    for suffix, how in options.items():
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **how)
        found = open_photograph(tmp_path / f"a.{suffix}")
        assert "the first frame of an animation" in str(found)
        assert (found.pixels * 255 - torch.from_numpy(smooth(40, 60).copy()).permute(2, 0, 1)).abs().mean() < 6


# -- any form --------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "tensor": lambda x: x,
    "tensor, bytes": lambda x: (x * 255).round().byte(),
    "tensor, half": lambda x: x.double(),
    "tensor, channels last": lambda x: x.permute(1, 2, 0),
    "tensor, one of a batch": lambda x: x[None],
    "array": lambda x: x.permute(1, 2, 0).numpy(),
    "array, bytes": lambda x: (x * 255).round().byte().permute(1, 2, 0).numpy(),
    "array, channels first": lambda x: x.numpy(),
    "array, of another machine": lambda x: x.permute(1, 2, 0).numpy().astype(">f8"),
    "pillow": lambda x: Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_picture_in_any_form_is_the_same(layout: str, tmp_path: Path) -> None:
    pixels = torch.from_numpy(smooth(40, 60).copy()).permute(2, 0, 1) / 255
    found = photograph_of(LAYOUTS[layout](pixels))
    assert_close(found.pixels, pixels, rtol=0, atol=1e-6)
    assert (found.size, found.fov) == ((40, 60), pytest.approx(65))
    assert len(found.digest) == 64
    Image.fromarray(smooth(40, 60)).save(tmp_path / "a.png")
    assert_close(photograph_of(str(tmp_path / "a.png")).pixels, pixels, rtol=0, atol=1e-6)
    assert photograph_of(found) is found
    assert photograph_of(found, fov=40).fov == 40


def test_a_pillow_image_keeps_what_it_says_of_itself(data_dir: Path, tmp_path: Path) -> None:
    path = camera_file(tmp_path / "a.jpg", orientation=6, FocalLengthIn35mmFilm=26)
    opened, read = photograph_of(Image.open(path)), open_photograph(path)
    assert torch.equal(opened.pixels, read.pixels)
    assert (opened.fov, opened.fov_from) == (read.fov, read.fov_from)
    found = photograph_of(Image.open(data_dir / "inputs/icc_profile/p3.png"))
    assert found.profile == "p3"


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (torch.rand(3, 20, 20) * 255, "x / 255"),
        (torch.rand(3, 20, 20) * 2 - 1, r"\(x \+ 1\) / 2"),
        (np.random.default_rng(0).random((20, 20, 3)) * 255, "x / 255"),
        (torch.full((3, 20, 20), math.nan), "nan"),
        (torch.rand(3, 20, 20) * 900, "floating point images are 0..1$"),
        (torch.zeros(3, 20, 20, dtype=torch.int64), "expected uint8"),
        (np.zeros((20, 20, 3), dtype=np.uint16), "expected uint8"),
        (np.zeros((20, 20, 3), dtype=complex), "expected uint8"),
        (np.array(["a"]), "expected uint8"),
        (torch.rand(4, 20, 20), r"\[4, 20, 20\]"),
        (torch.rand(2, 3, 20, 20), r"\[2, 3, 20, 20\]"),
        (torch.rand(3), r"\[3\]"),
        (torch.rand(3, 20, 20, device="meta"), "meta device"),
        (torch.rand(3, 4, 20), "at least 16"),
        (np.zeros((0, 0, 3), dtype=np.uint8), "at least 16"),
        (Image.new("RGB", (5, 50)), "at least 16"),
        (None, "NoneType"),
        (3.5, "float"),
        ([1, 2], "list"),
        (b"bytes", "bytes"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_values(picture, words: str) -> None:
    with pytest.raises(InputError, match=words) as found:
        photograph_of(picture)
    assert "\n" not in str(found.value)


# -- fitting ---------------------------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(24, 90), st.integers(24, 90))


def coordinates(height: int, width: int) -> Photograph:
    """A picture that shows where each of its points was."""
    uv = rearrange(cell_centers((height, width)), "h w c -> c h w")
    return photograph_of(torch.cat([uv, torch.zeros_like(uv[:1])]))


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.sampled_from(["crop", "pad", "stretch"]))
def test_the_camera_sees_the_same_whatever_the_fit(source, size, fit) -> None:
    """The ray through a point of the picture is the same before and after, and so are the depths around it."""
    photograph = coordinates(*source)
    path = Camera.looking(aspect=source[1] / source[0], c2w=torch.eye(4).expand(2, 4, 4))
    after, camera = fitted(photograph, path, size, fit=fit)
    assert after.size == size
    assert len(camera) == 2
    inner = after.seen.clone()
    edge = max(2, *(math.ceil(2.5 * to / of) for to, of in zip(size, source, strict=True)))  # there it is filtered
    for axis in (0, 1):
        for step in range(1, edge + 1):
            inner &= after.seen.roll(step, axis) & after.seen.roll(-step, axis)
    inner[:edge], inner[-edge:], inner[:, :edge], inner[:, -edge:] = False, False, False, False
    shown = after.pixels[:2].permute(1, 2, 0)[inner]
    ones = torch.ones(len(shown))
    assert_close(
        camera[0].unproject(cell_centers(size)[inner], ones), path[0].unproject(shown, ones), rtol=0, atol=0.03
    )
    assert after.share == pytest.approx(1) if fit != "crop" else 0 < after.share <= 1
    assert bool(after.seen.all()) == (fit != "pad" or after.kept == (0, 0, 1, 1))
    known, seen = fitted(photograph, photograph.camera, size, fit=fit)
    assert_close(known.camera.intrinsics, seen.intrinsics, rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES)
def test_a_crop_is_what_it_always_was(source: tuple[int, int], size: tuple[int, int]) -> None:
    photograph = photograph_of(torch.rand(3, *source, generator=torch.Generator().manual_seed(0)))
    after, camera = fitted(photograph, photograph.camera, size)
    pixels, expected = fit_image(photograph.pixels, photograph.camera, size)
    assert torch.equal(after.pixels, pixels)
    assert torch.equal(camera.intrinsics, expected.intrinsics)
    depth = DepthMap(torch.rand(source) + 1)
    assert torch.equal(fitted_depth(depth, size).z, cut_depth(depth, size).z)
    assert fitted_depth(depth, size, fit="stretch") is depth


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES)
def test_depth_around_a_padded_picture_is_unknown(source: tuple[int, int], size: tuple[int, int]) -> None:
    padded = fitted_depth(DepthMap(torch.rand(source) + 1), size, fit="pad")
    assert int(padded.valid.sum()) == source[0] * source[1]
    assert abs(math.log(padded.shape[1] * size[0] / (padded.shape[0] * size[1]))) < 0.05
    seen = fitted(coordinates(*source), Camera.looking(), size, fit="pad")[0].seen
    assert abs(seen.float().mean() - padded.valid.float().mean()) < 0.06


def test_what_is_left_is_said(data_dir: Path) -> None:
    portrait = open_photograph(data_dir / "inputs/portrait/port.jpg")
    cut, _ = fitted(portrait, portrait.camera, (192, 256))
    assert "50% of the picture is left at 256 x 192" in str(cut)
    receipt = cut.receipt()
    assert receipt["share"] == 0.5
    assert receipt["size"] == [900, 600]
    assert receipt["sha256"] == portrait.digest
    assert json.loads(json.dumps(receipt)) == receipt
    assert "\n" not in str(cut)
    whole, _ = fitted(portrait, portrait.camera, (256, 192), fit="pad")
    assert "left" not in str(whole)
    assert "padded to 192 x 256" in str(whole)
    with pytest.raises(InputError, match="crop, pad or stretch"):
        fitted(portrait, portrait.camera, (192, 256), fit="squeeze")  # pyright: ignore[reportArgumentType]


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    st.sampled_from([((704, 1280), 32), ((192, 256), 16), ((128, 192), 32), ((480, 832), 16)]),
)
def test_a_size_of_the_pictures_own_shape(picture: tuple[int, int], model: tuple[tuple[int, int], int]) -> None:
    size, stride = model
    photograph = photograph_of(torch.zeros(3, 16, 16))
    photograph = Photograph(torch.zeros(3, 1, 1).expand(3, *picture), 65, "default", "a", "", picture)
    height, width = frame_size(photograph, size, stride)
    assert height % stride == width % stride == 0
    assert height * width <= size[0] * size[1]
    aspect = picture[1] / picture[0]
    if 0.3 < aspect < 3.4 and size[0] > 400:
        assert height * width > 0.8 * size[0] * size[1]
        assert abs(math.log(width / height / aspect)) < 0.12
    cut = min(width / height / aspect, height / width * aspect)
    before = min(size[1] / size[0] / aspect, size[0] / size[1] * aspect)
    assert cut >= before - 1e-6 or height * width > 0.9 * size[0] * size[1]


def test_the_models_own_shape_keeps_its_size_and_asked_sizes_are_checked() -> None:
    def of(height: int, width: int) -> Photograph:
        return photograph_of(torch.zeros(3, height, width))

    assert frame_size(of(704, 1280), (704, 1280), 32) == (704, 1280)
    assert frame_size(of(96, 128), (192, 256), 16) == (192, 256)
    assert frame_size(of(128, 96), (192, 256), 16) == (256, 192)
    assert frame_size(of(99, 99), (704, 1280), 32) in ((928, 928), (960, 928), (928, 960))
    assert frame_size(of(99, 99), (192, 256), 16, asked=(96, 320)) == (96, 320)
    for asked in ((100, 96), (0, 96), (-16, 96)):
        with pytest.raises(InputError, match="multiples of 16, such as"):
            frame_size(of(99, 99), (192, 256), 16, asked=asked)
