"""Point clouds: what others read in our files, the bytes by hand, and strictness."""

import struct
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mirage.errors import InputError
from mirage.formats.ply import Points, save_ply

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
def test_plyfile_reads_every_column(tmp_path: Path, count: int, coloured: bool, kinds: list[torch.dtype]) -> None:
    columns = {f"column_{i}": (torch.rand(count) * 100).to(kind) for i, kind in enumerate(kinds)}
    colours = torch.randint(0, 256, (count, 3), dtype=torch.uint8) if coloured else None
    normals = torch.nn.functional.normalize(torch.randn(count, 3), dim=1) if coloured else None
    points = Points(torch.randn(count, 3), colours, normals, columns)
    save_ply(tmp_path / "a.ply", points)
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    given = dict(zip("xyz", points.positions.T, strict=True)) | columns
    if colours is not None and normals is not None:
        given |= dict(zip(("red", "green", "blue"), colours.T, strict=True))
        given |= dict(zip(("nx", "ny", "nz"), normals.T, strict=True))
    assert {prop.name for prop in vertex.properties} == given.keys()
    for name, values in given.items():
        assert_close(torch.from_numpy(vertex[name].astype("f8")), values.double(), rtol=0, atol=0)


def test_trimesh_sees_points_and_colours(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is in the extra `interop`")
    colours = torch.randint(0, 256, (7, 3), dtype=torch.uint8)
    points = Points(torch.randn(7, 3), colours, torch.ones(7, 3), {"frame": torch.arange(7)})
    save_ply(tmp_path / "a.ply", points)
    seen = trimesh.load(tmp_path / "a.ply")
    assert_close(torch.from_numpy(np.array(seen.vertices)), points.positions.double(), rtol=0, atol=0)
    assert_close(torch.from_numpy(np.array(seen.colors)[:, :3]), colours, rtol=0, atol=0)


def test_the_bytes_are_what_the_format_says(tmp_path: Path) -> None:
    colours = torch.tensor([[4, 5, 6]], dtype=torch.uint8)
    save_ply(tmp_path / "a.ply", Points(torch.tensor([[1.0, 2.0, 3.0]]), colours))
    assert (tmp_path / "a.ply").read_bytes() == (
        HEAD
        + b"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
        + struct.pack("<3f3B", 1, 2, 3, 4, 5, 6)
    )


def test_wrong_points(tmp_path: Path) -> None:
    zeros = torch.zeros(3, 3)
    for arguments in [
        (zeros[:, :2],),
        (zeros, zeros),
        (zeros, None, zeros[:1]),
        (zeros, None, None, {"nx": zeros[0]}),
        (zeros, None, None, {"x": zeros[0]}),
        (zeros, None, None, {"a b": zeros[0]}),
        (zeros, None, None, {"a": zeros}),
    ]:
        with pytest.raises(InputError):
            Points(*arguments)
    with pytest.raises(InputError, match="32 bits"):
        save_ply(tmp_path / "a.ply", Points(zeros, None, None, {"id": torch.full((3,), 1 << 40)}))
    assert not list(tmp_path.iterdir())
