"""HDR and wide primaries to sRGB: an SDR picture that was graded into them comes back, and what is brighter keeps its
order and hue."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from mirage.formats.hdr import HLG, PQ, TO_BT709, is_srgb, to_srgb
from mirage.formats.photograph import open_photograph


def graded(srgb: np.ndarray, curve: int, primaries: int) -> np.ndarray:
    """sRGB [...,3] in [0, 1] as a grader would encode it, its white at 203 cd/m2: BT.2100's formulas the other way."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    wide = linear @ np.linalg.inv(TO_BT709[primaries].astype(float)).T if primaries in TO_BT709 else linear
    wide = wide.clip(0)
    if curve == PQ:
        power = (203 * wide / 10_000) ** (2610 / 16384)
        return ((3424 + 2413 * 32 * power) / (4096 + 2392 * 32 * power)) ** (2523 / 32)
    if curve == HLG:
        nits = 203 * wide / 1000
        luminance = (nits @ [0.2627, 0.6780, 0.0593])[..., None]
        scene = nits * np.maximum(luminance, 1e-12) ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return np.where(wide <= 0.0031308, 12.92 * wide, 1.055 * wide ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("primaries", [1, 9, 12])
@pytest.mark.parametrize("curve", [PQ, HLG, 1])
@settings(max_examples=40)
@given(colour=st.tuples(*[st.integers(0, 170)] * 3))
def test_a_picture_that_was_graded_comes_back(curve: int, primaries: int, colour: tuple[int, int, int]) -> None:
    levels = (graded(np.array(colour) / 255, curve, primaries) * 65535).round().astype(np.uint16)
    back = to_srgb(levels[None, None], curve=curve, primaries=primaries)[0, 0]
    assert np.abs(back.astype(int) - colour).max() <= 1


@pytest.mark.parametrize("curve", [PQ, HLG])
def test_highlights_are_rolled_off_in_order(curve: int) -> None:
    ramp = np.linspace(0, 65535, 4097).round().astype(np.uint16)[None, :, None].repeat(3, axis=2)
    mapped = to_srgb(ramp, curve=curve, primaries=9)[0].astype(int)
    assert (np.diff(mapped, axis=0) >= 0).all()
    assert np.ptp(mapped, axis=1).max() <= 1  # grey stays grey
    assert mapped[0].max() == 0
    assert mapped[-1].min() == 255
    white = to_srgb((graded(np.ones((1, 1, 3)), curve, 9) * 65535).astype(np.uint16), curve=curve, primaries=9)
    assert 220 <= white.min() <= 235  # SDR's white leaves room for what is brighter


def test_what_is_srgb_is_left_alone() -> None:
    assert is_srgb(1, 1)
    assert is_srgb(2, 2)
    assert not is_srgb(1, 9)
    assert not is_srgb(18, 9)


@pytest.mark.parametrize(("curve", "primaries", "name"), [(PQ, 9, "PQ"), (HLG, 9, "HLG"), (13, 12, "Display P3")])
@pytest.mark.parametrize("kind", ["png", "avif", "heic"])
def test_pictures_that_name_their_colours_by_number_become_srgb(
    tmp_path: Path, kind: str, curve: int, primaries: int, name: str
) -> None:
    colours = np.array([[0.6, 0.3, 0.2], [0.2, 0.5, 0.3], [0.5, 0.5, 0.5], [0.1, 0.1, 0.4]]).repeat(32, axis=0)
    levels = (graded(np.broadcast_to(colours[:, None], (128, 128, 3)), curve, primaries) * 255).round().astype(np.uint8)
    picture, path = Image.fromarray(levels), tmp_path / f"a.{kind}"
    if kind == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"cICP", bytes([primaries, curve, 0, 1]))
        picture.save(path, pnginfo=chunks)
    elif kind == "avif":
        picture.save(path, quality=95, subsampling="4:4:4")
        content = bytearray(path.read_bytes())
        at = content.find(b"colrnclx") + 8
        content[at : at + 4] = struct.pack(">HH", primaries, curve)
        path.write_bytes(content)
    else:
        heif = pytest.importorskip("pillow_heif").from_pillow(picture)
        told = {"color_primaries": primaries, "transfer_characteristics": curve, "matrix_coefficients": 1}
        heif.save(path, quality=95, chroma=444, full_range_flag=1, **told)
    taken = open_photograph(path)
    assert taken.profile == name
    read = taken.pixels[:, 16::32, 64].T.numpy()
    assert np.abs(read - colours[16::32]).max() < 0.05  # 8 bits of PQ are coarse, and codecs lose more
