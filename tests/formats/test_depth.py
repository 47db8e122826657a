"""Depth files: units, what counts as not measured, and refusals that say both numbers."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from helpers import refusal
from mirage.errors import InputError
from mirage.formats.depth import load_depth

STORED = np.array([[0, 1, 1000, 65535], [2500, 65534, 3, 0]], dtype=np.uint16)
METRES = torch.tensor([[1.0, 0.001, 1.0, 1.0], [2.5, 65.534, 0.003, 1.0]])
VALID = torch.tensor([[False, True, True, False], [True, True, True, False]])


def pgm(path: Path, stored: np.ndarray, *, largest: int = 65535, comment: bytes = b"") -> Path:
    height, width = stored.shape
    path.write_bytes(b"P5\n" + comment + f"{width} {height}\n{largest}\n".encode() + stored.astype(">u2").tobytes())
    return path


def test_integers_are_millimetres(tmp_path: Path) -> None:
    Image.fromarray(STORED).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", STORED)
    pgm(tmp_path / "a.pgm", STORED)
    pgm(tmp_path / "b.pgm", STORED, comment=b"# a comment\n")
    for name in ("a.png", "a.npy", "a.pgm", "b.pgm"):
        depth = load_depth(tmp_path / name)
        assert (depth.valid == VALID).all(), name
        assert_close(depth.z, METRES)
    assert_close(load_depth(tmp_path / "a.png", unit=1 / 5000).z[1, 0], torch.tensor(0.5))


def test_a_pgm_is_not_stretched_to_its_maximum(tmp_path: Path) -> None:
    file = pgm(tmp_path / "a.pgm", np.array([[500, 1000]]), largest=10_000)
    assert_close(load_depth(file).z, torch.tensor([[0.5, 1.0]]))


def test_floats_are_metres(tmp_path: Path) -> None:
    stored = np.array([[np.nan, 2.0, np.inf], [-1.0, 0.0, 1e300]])
    np.save(tmp_path / "a.npy", stored)
    np.savez(tmp_path / "a.npz", depth=stored[None])
    np.savez(tmp_path / "b.npz", z=stored[..., None], other=1)
    for name in ("a.npy", "a.npz", "b.npz"):
        depth = load_depth(tmp_path / name)
        assert depth.valid.tolist() == [[False, True, False], [False, False, False]]
        assert depth.z.dtype == torch.float32
        assert torch.isfinite(depth.z).all()
        assert depth.z[0, 1] == 2


def test_real_depth(data_dir: Path) -> None:
    for file in ("rgbd_7scenes/frame-000000.depth.png", "rgbd_slambook/ch5/depth/1.pgm"):
        depth = load_depth(data_dir / file, size=(480, 640))
        assert depth.z.shape == (480, 640)
        assert 0.6 < depth.valid.float().mean() < 1
        known = depth.z[depth.valid]
        assert known.min() > 0.3
        assert known.max() < 12


def refused(path: Path, *words: str, **options) -> None:
    refusal(load_depth, path, words=words, **options)


def test_wrong_depth(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no file", "16-bit")
    Image.fromarray(STORED).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "4 x 2", "640 x 480", size=(480, 640))
    assert load_depth(tmp_path / "a.png", size=(240, 480)).z.shape == (2, 4)
    refused(tmp_path / "a.png", "unit", unit=0)
    refused(tmp_path / "a.png", "unit", unit=float("nan"))
    Image.fromarray(STORED.astype(np.uint8)).save(tmp_path / "eight.png")
    refused(tmp_path / "eight.png", "mode L", "16-bit")
    Image.fromarray(STORED * 0).save(tmp_path / "zero.png")
    refused(tmp_path / "zero.png", "no valid depth")
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    refused(tmp_path / "nan.npy", "no valid depth")
    np.save(tmp_path / "cube.npy", np.ones((3, 4, 4)))
    refused(tmp_path / "cube.npy", "[3, 4, 4]")
    np.save(tmp_path / "flat.npy", np.ones(0))
    refused(tmp_path / "flat.npy", "[0]")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    refused(tmp_path / "object.npy", "object")
    np.savez(tmp_path / "names.npz", disparity=np.ones((4, 4)))
    refused(tmp_path / "names.npz", "disparity", "depth, z")
    pgm(tmp_path / "eight.pgm", STORED, largest=255)
    refused(tmp_path / "eight.pgm", "255", "16 bits")
    whole = pgm(tmp_path / "cut.pgm", STORED).read_bytes()
    (tmp_path / "cut.pgm").write_bytes(whole[:-1])
    refused(tmp_path / "cut.pgm", "needs 16 bytes", "15 follow")
    (tmp_path / "text.pgm").write_text("P2 4 4 65535 1 2 3")
    refused(tmp_path / "text.pgm", "P5")
    (tmp_path / "liar.npy").write_bytes((tmp_path / "cube.npy").read_bytes().replace(b"(3, 4, 4)", b"(3, 4000000, 4)"))
    refused(tmp_path / "liar.npy", "liar.npy")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["npy", "pgm", "png"]),
    at=st.integers(0, 200),
    value=st.integers(0, 255),
    cut=st.integers(0, 40),
)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, suffix: str, at: int, value: int, cut: int) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(file, STORED)
    elif suffix == "pgm":
        pgm(file, STORED)
    else:
        Image.fromarray(STORED).save(file)
    data = bytearray(file.read_bytes())
    data[at % len(data)] = value
    file.write_bytes(data[: len(data) - max(0, cut - 20)])
    message = ""
    try:
        depth = load_depth(file)
        assert depth.valid.any()
        assert (depth.z > 0).all()
    except InputError as error:
        message = str(error)
    assert "\n" not in message
