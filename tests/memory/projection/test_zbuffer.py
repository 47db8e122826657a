"""The z-buffer against a brute force in double precision, and its twins against each other, to the bit."""

import math
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit
from mirage.memory import Cloud
from mirage.memory.points import PAGE
from mirage.memory.projection.footprint import see
from mirage.memory.projection.zbuffer import NEAR, projection, visible_pages, zbuffer

GRID = (22, 40)
CAMERAS = orbit(Camera.looking(horizontal_fov=65, aspect=40 / 22), 3, degrees=50)
CHOICES = [{}, {"front": 0.08}, {"front": math.inf}, {"front": 0.08, "margin": 2}]


def some_points(n: int, seed: int = 0, *, doubled: bool = True) -> torch.Tensor:
    """Points around and behind the cameras; every seventh twice, so that there are exact ties."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, 3, generator=generator) * torch.tensor([2, 1, 3]) + torch.tensor([0, 0, 2.0])
    if doubled:
        originals = points[1::7]
        points[: 7 * len(originals) : 7] = originals
    return points


def oracle(points: torch.Tensor, front: float) -> tuple[np.ndarray, np.ndarray]:
    """Winner and doubt of each cell, by loops in double precision. Doubt: a comparison was closer than rounding."""
    h, w = GRID
    index = np.full((len(CAMERAS), h, w), -1)
    doubt = np.zeros((len(CAMERAS), h, w), dtype=bool)
    for t in range(len(CAMERAS)):
        w2c = np.linalg.inv(CAMERAS.c2w[t].double().numpy())
        fx, fy, cx, cy = CAMERAS.intrinsics[t].double().numpy()
        local = points.double().numpy() @ w2c[:3, :3].T + w2c[:3, 3]
        cells: dict[tuple[int, int], list[tuple[float, float, int]]] = {}
        for i, (x, y, z) in enumerate(local):
            if z <= NEAR:
                continue
            u, v = (fx * x / z + cx) * w, (fy * y / z + cy) * h
            cell = math.floor(v), math.floor(u)
            if min(abs(u - round(u)), abs(v - round(v))) < 1e-4:
                for r, c in {(math.floor(v + a), math.floor(u + b)) for a in (-1e-4, 1e-4) for b in (-1e-4, 1e-4)}:
                    if 0 <= r < h and 0 <= c < w:
                        doubt[t, r, c] = True
            if 0 <= cell[0] < h and 0 <= cell[1] < w:
                off = (u - cell[1] - 0.5) ** 2 + (v - cell[0] - 0.5) ** 2
                cells.setdefault(cell, []).append((z, off, i))
        for cell, landed in cells.items():
            nearest = min(z for z, _, _ in landed)
            edge = nearest * (1 + front)
            ranked = sorted((z if front == 0 else off, i) for z, off, i in landed if z <= edge)
            index[(t, *cell)] = ranked[0][1]
            close = [r for r, _ in ranked if 0 < r - ranked[0][0] < 1e-5]
            doubt[(t, *cell)] |= bool(close) or (front > 0 and any(abs(z - edge) < 1e-5 for z, _, _ in landed))
    return index, doubt


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("front", [0.0, 0.08])
def test_it_agrees_with_brute_force(backend, front):
    points = some_points(3000)
    expected, doubt = oracle(points, front)
    got = zbuffer(points, CAMERAS, GRID, front=front, backend=backend).index.numpy()
    assert doubt.mean() < 0.05
    assert (expected >= 0).mean() > 0.3
    np.testing.assert_array_equal(got[~doubt], expected[~doubt])


@pytest.mark.parametrize("choice", CHOICES)
def test_the_twins_agree_to_the_bit(choice):
    points = some_points(20_000, 1)
    ours, numba = (zbuffer(points, CAMERAS, GRID, backend=name, **choice) for name in ("torch", "numba"))
    for one, other in zip((ours.index, ours.depth, ours.offset), (numba.index, numba.depth, numba.offset), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("front", [0.0, 0.08])
def test_the_twins_agree_on_footprints_and_bounds(front):
    cloud = Cloud.of(some_points(1500, 2))
    footprint = torch.rand(len(cloud.x), generator=torch.Generator().manual_seed(3)) * 0.2
    low = torch.full((len(CAMERAS), *GRID), 1.0)
    for within in (None, (low, 3 * low)):
        ours, numba = (
            see(cloud, footprint, CAMERAS, GRID, front=front, fill=True, within=within, backend=name)
            for name in ("torch", "numba")
        )
        exact = see(cloud, footprint, CAMERAS, GRID, front=front, fill=False, within=within)
        assert (ours.index >= 0).sum() > 1.2 * (exact.index >= 0).sum()
        for one, other in zip(
            (ours.index, ours.depth, ours.offset), (numba.index, numba.depth, numba.offset), strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("front", [0.0, 0.08])
def test_the_order_of_the_points_does_not_matter(backend, front):
    points = some_points(5000, doubled=False)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    straight = zbuffer(points, CAMERAS, GRID, front=front, backend=backend)
    shuffled = zbuffer(points[order], CAMERAS, GRID, front=front, backend=backend)
    renamed = torch.where(shuffled.index >= 0, order[shuffled.index.clamp_min(0)], -1)
    assert torch.equal(renamed, straight.index)
    assert torch.equal(shuffled.depth, straight.depth)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_ties_go_to_the_lower_id(backend):
    points = some_points(400, doubled=False).repeat(3, 1)
    for choice in CHOICES:
        assert zbuffer(points, CAMERAS, GRID, backend=backend, **choice).index.max() < 400


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_the_number_of_threads_does_not_matter(backend):
    points = some_points(20_000)
    one = zbuffer(points, CAMERAS, GRID, front=0.08, backend=backend)
    torch.set_num_threads(3)
    try:
        three = zbuffer(points, CAMERAS, GRID, front=0.08, backend=backend)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one.index, three.index)
    assert torch.equal(one.depth, three.depth)


def test_the_size_of_the_blocks_does_not_matter(monkeypatch):
    points = some_points(20_000)
    whole = zbuffer(points, CAMERAS, GRID, front=0.08, backend="torch")
    monkeypatch.setattr(sys.modules["mirage.memory.projection.zbuffer"], "_BLOCK", 3)
    assert torch.equal(zbuffer(points, CAMERAS, GRID, front=0.08, backend="torch").index, whole.index)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_nothing_behind_the_camera_and_no_nan_ever_wins(backend):
    ahead, behind = torch.tensor([[0.0, 0, 2]]), torch.tensor([[0.0, 0, -2], [0, 0, 0], [0, 0, 1e-7]])
    nowhere = torch.tensor([[math.nan, 0, 1], [0, 0, math.nan], [math.inf, 0, 1]])
    hits = zbuffer(torch.cat([behind, nowhere, ahead]), CAMERAS[:1], GRID, backend=backend)
    assert hits.index.max() == 6
    assert (hits.index >= 0).sum() == 1
    assert (zbuffer(torch.empty(0, 3), CAMERAS, GRID, backend=backend).index == -1).all()


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_the_front_surface_gives_its_most_central_point_and_never_one_behind(backend):
    camera = CAMERAS[:1]
    centre = torch.tensor([(20 + 0.5) / 40, (11 + 0.5) / 22])

    def at(shift: float, z: float) -> torch.Tensor:
        return camera.unproject((centre + torch.tensor([shift / 40, 0.0]))[None, None], torch.tensor([[z]]))[0]

    points = torch.cat([at(0.4, 2.0), at(0.1, 2.1), at(0.0, 2.3)])

    def won(front: float) -> int:
        return int(zbuffer(points, camera, GRID, front=front, backend=backend).index[0, 11, 20])

    assert [won(0.0), won(0.08), won(math.inf)] == [0, 1, 2]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.05, 20), shift=st.floats(-50, 50))
def test_no_page_with_a_point_in_view_is_skipped(seed, scale, shift):
    points = some_points(2 * PAGE, seed) * scale + torch.tensor([0.0, 0.0, shift])
    cloud, matrix = Cloud.of(points), projection(CAMERAS, GRID)
    uv, z = CAMERAS.project(points)
    seen = ((z > NEAR) & (uv >= 0).all(-1) & (uv < 1).all(-1)).view(len(CAMERAS), 2, PAGE).any(-1)
    assert not (seen & ~visible_pages(cloud, matrix, GRID, NEAR)).any()


def test_two_resolutions_agree():
    """Half a cell of disagreement anywhere would move the points of one grid against the other."""
    points = some_points(2000)
    fine = zbuffer(points, CAMERAS, (GRID[0] * 4, GRID[1] * 4), backend="torch")
    coarse = zbuffer(points, CAMERAS, GRID, backend="torch")
    blocks = torch.nn.functional.max_pool2d(-fine.depth[:, None], 4)[:, 0]
    torch.testing.assert_close(-blocks, coarse.depth, rtol=1e-5, atol=1e-5)


def test_an_unknown_backend_is_told_what_there_is():
    with pytest.raises(InputError, match="torch, numba, triton, got 'cuda'"):
        zbuffer(some_points(10), CAMERAS, GRID, backend="cuda")  # pyright: ignore[reportArgumentType]


# -- Triton, without a GPU: the interpreter, and the compiler for an H100 ---------------------------------------------


def in_another_process(code: str, **environment: str) -> str:
    """The interpreter is chosen when Triton is imported, so it gets a process of its own."""
    pytest.importorskip("triton", reason="Triton is not installed; it comes with torch for CUDA, or pip install triton")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_triton_agrees_to_the_bit_by_its_interpreter():
    in_another_process(
        """
        import math, torch
        from mirage.geometry.camera import Camera
        from mirage.geometry.trajectory import orbit
        from mirage.memory.projection.zbuffer import zbuffer
        cameras = orbit(Camera.looking(), 2)
        points = torch.randn(1200, 3) + torch.tensor([0, 0, 3.0])
        points[:1197:7] = points[1:1198:7]
        low = torch.full((2, 12, 16), 2.0)
        for choice in ({}, {"front": 0.08}, {"front": math.inf, "within": (low, 2 * low)}):
            ours, triton = (zbuffer(points, cameras, (12, 16), backend=b, **choice) for b in ("torch", "triton"))
            assert torch.equal(ours.index, triton.index) and torch.equal(ours.depth, triton.depth)
        """,
        TRITON_INTERPRET="1",
    )


def test_triton_compiles_for_an_h100_without_fused_multiply_adds():
    in_another_process("""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
        from mirage.memory.projection.zbuffer_triton import OPTIONS, compete_kernel
        kinds = ["*fp32"] * 3 + ["*i64"] * 2 + ["*fp32"] * 4 + ["*i64"]
        kinds += ["i32"] * 2 + ["fp32"] * 2 + ["constexpr"] * 4
        signature = dict(zip(compete_kernel.arg_names, kinds, strict=True))
        for choosing in (False, True):
            source = ASTSource(fn=compete_kernel, signature=signature,
                               constexprs={"BANDED": choosing, "CHOOSING": choosing, **OPTIONS})
            compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
            assert compiled.asm["cubin"] and "fma" not in compiled.asm["ptx"] and ".min.s64" in compiled.asm["ptx"]
        """)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("choice", CHOICES)
def test_the_gpu_agrees_with_the_processor(choice):
    points = some_points(100_000, 5)
    here = zbuffer(points, CAMERAS, GRID, backend="torch", **choice)
    for backend in ("torch", "triton"):
        there = zbuffer(points.cuda(), CAMERAS.to("cuda"), GRID, backend=backend, **choice)
        assert torch.equal(there.index.cpu(), here.index)
