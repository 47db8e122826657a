"""Point clouds: round trip, a second reader's agreement in the bytes, and strictness."""

import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mirage.errors import InputError
from mirage.formats.ply import Points, load_ply, save_ply

HEAD = b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 30),
    st.booleans(),
    st.lists(
        st.sampled_from(
            [torch.float16, torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]
        ),
        max_size=4,
    ),
)
def test_round_trip(tmp_path: Path, count: int, coloured: bool, kinds: list[torch.dtype]) -> None:
    columns = {f"column_{i}": (torch.rand(count) * 100).to(kind) for i, kind in enumerate(kinds)}
    colours = torch.randint(0, 256, (count, 3), dtype=torch.uint8) if coloured else None
    points = Points(torch.randn(count, 3), colours, columns)
    save_ply(tmp_path / "a.ply", points)
    back = load_ply(tmp_path / "a.ply")
    assert_close(back.positions, points.positions, rtol=0, atol=0)
    assert (back.colours is None) == (colours is None)
    if colours is not None:
        assert_close(back.colours, colours, rtol=0, atol=0)
    assert list(back.columns) == list(columns)
    for name, values in columns.items():
        assert_close(back.columns[name].double(), values.double(), rtol=0, atol=0)


def test_the_bytes_are_what_the_format_says(tmp_path: Path) -> None:
    colours = torch.tensor([[4, 5, 6]], dtype=torch.uint8)
    save_ply(tmp_path / "a.ply", Points(torch.tensor([[1.0, 2.0, 3.0]]), colours))
    assert (tmp_path / "a.ply").read_bytes() == (
        HEAD
        + b"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
        + struct.pack("<3f3B", 1, 2, 3, 4, 5, 6)
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"solid stl", "not a PLY"),
        (HEAD, "not a PLY"),
        (HEAD + b"end_header\n" + bytes(11), "need 12 bytes, 11 follow"),
        (HEAD + b"end_header\n" + bytes(13), "need 12 bytes, 13 follow"),
        (HEAD.replace(b"binary_little_endian", b"ascii") + b"end_header\n0 0 0\n", "format ascii"),
        (HEAD.replace(b"vertex 1", b"vertex -1") + b"end_header\n", "element vertex N"),
        (HEAD.replace(b"vertex 1", b"face 1") + b"end_header\n" + bytes(12), "element vertex N"),
        (HEAD + b"property float x\nend_header\n" + bytes(16), "header line"),
        (HEAD + b"property list uchar int i\nend_header\n" + bytes(16), "no lists"),
        (HEAD.replace(b"float z", b"float w") + b"end_header\n" + bytes(12), "expected x, y, z"),
        (HEAD.replace(b"vertex 1", b"vertex " + b"9" * 30) + b"end_header\n" + bytes(12), "cut or damaged"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        load_ply(tmp_path / "a.ply")
    assert "\n" not in str(caught.value)


def test_wrong_points(tmp_path: Path) -> None:
    zeros = torch.zeros(3, 3)
    for arguments in [
        (zeros[:, :2],),
        (zeros, zeros),
        (zeros, None, {"x": zeros[0]}),
        (zeros, None, {"a b": zeros[0]}),
        (zeros, None, {"a": zeros}),
    ]:
        with pytest.raises(InputError):
            Points(*arguments)
    with pytest.raises(InputError, match="32 bits"):
        save_ply(tmp_path / "a.ply", Points(zeros, None, {"id": torch.full((3,), 1 << 40)}))
    assert not list(tmp_path.iterdir())
