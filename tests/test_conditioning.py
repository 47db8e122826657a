"""Motion: where what a cell shows was, in the frames between two latents."""

from dataclasses import replace
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import random_image, walls
from mirage.conditioning import FARTHEST, build_condition, frames_between, motion
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.memory import LatentSpatialMemory, Readout
from mirage.models.tiny import tiny_world
from mirage.rollout import Session

GRID = (6, 8)
REAL = settings(max_examples=25, deadline=None)


def path_of(turns: list[float], steps: list[float]) -> Camera:
    """A camera that stands in the origin and then turns (degrees) and walks ahead."""
    yaw = pose.rotation_about("y", torch.tensor([0.0, *turns]))
    ahead = torch.tensor([[0.0, 0, 0], *([0.0, 0, step] for step in steps)])
    return Camera.looking(c2w=pose.make_pose(yaw, ahead))


def seen(path: Camera, z: float = 3.0) -> Readout:
    """Everything is known, at one depth from wherever it is seen."""
    count = len(path[::4])
    nothing = Readout.holes(count, 2, GRID)
    everything = torch.ones(count, *GRID, dtype=torch.bool)
    return replace(nothing, mask=everything, depth=DepthMap(torch.full((count, *GRID), z)))


@REAL
@given(
    st.lists(st.floats(-20, 20), min_size=8, max_size=8),
    st.lists(st.floats(-0.5, 0.5), min_size=8, max_size=8),
    st.floats(1.5, 20),
)
def test_motion_leads_from_each_cell_to_where_its_point_was(turns, steps, z):
    path = path_of(turns, steps)
    between = frames_between(path[0], path[1:])
    found = motion(seen(path, z), path[::4], between)
    assert found.shape == (3, 6, *GRID)
    assert found[0].abs().max() < 1e-3  # the first latent is one frame: nothing moved
    cells = cell_centers(GRID)
    for k in (1, 2):
        points = path[4 * k].unproject(cells, torch.full(GRID, z))
        for j in range(3):
            uv, ahead = path[4 * k - 3 + j].project(points.reshape(-1, 3))
            where = (uv.view(*GRID, 2) - cells) * torch.tensor([GRID[1], GRID[0]])
            there = ahead.view(GRID) > 0
            wanted = where.clamp(-FARTHEST, FARTHEST)[there]
            torch.testing.assert_close(found[k, 2 * j : 2 * j + 2].movedim(0, -1)[there], wanted, atol=1e-3, rtol=1e-3)


@REAL
@given(st.integers(0, 2**31))
def test_nothing_moves_for_a_camera_that_stands_still_and_nothing_unknown_moves(seed):
    generator = torch.Generator().manual_seed(seed)
    still = path_of([0.0] * 8, [0.0] * 8)
    assert motion(seen(still), still[::4], frames_between(still[0], still[1:])).abs().max() < 1e-3
    path = path_of([2.0 * n for n in range(8)], [0.0] * 8)
    known = torch.rand((3, *GRID), generator=generator) > 0.5
    full = seen(path)
    holes = replace(full, mask=known)
    between = frames_between(path[0], path[1:])
    some, everything = (motion(readout, path[::4], between) for readout in (holes, full))
    assert torch.equal(some, everything * known[:, None])


def test_what_is_near_moves_more_than_what_is_far():
    path = path_of([0.0] * 4, [0.1 * n for n in range(4)])
    between = frames_between(path[0], path[1:])
    near, far = (motion(seen(path, z), path[::4], between)[1].abs().mean() for z in (2.0, 8.0))
    assert near > 3 * far > 0


def test_what_was_behind_the_camera_is_held_at_the_edge():
    path = path_of([180.0, 180.0, 180.0, 0.0], [0.0] * 4)
    found = motion(seen(path), path[::4], frames_between(path[0], path[1:]))
    assert torch.isfinite(found).all()
    assert found.abs().max() <= FARTHEST
    assert found[1].abs().amax() == FARTHEST


def test_a_condition_has_motion_where_the_frames_between_are_given():
    path = path_of([3.0 * n for n in range(4)], [0.0] * 4)
    memory = LatentSpatialMemory(2)
    memory.write(torch.ones(1, 2, *GRID), walls(1, GRID), path[:1])
    readout, latents = memory.read(path[::4], GRID), torch.ones(1, 2, *GRID)
    given_: Any = {"history": latents, "references": latents[:0], "text": torch.zeros(1, 1, 1)}
    assert build_condition(readout, path[::4], **given_).motion is None
    between = frames_between(path[0], path[1:])
    moved = build_condition(readout, path[::4], **given_, between=between).motion
    assert moved is not None
    assert torch.equal(moved[0].transpose(0, 1), motion(readout, path[::4], between))


def test_a_branch_that_sees_motion_draws_by_the_frames_between_and_another_does_not():
    """Two ways that meet in every fourth frame: what is known moved another way in between."""
    straight = path_of([4.0 * n for n in range(1, 9)], [0.0] * 8)
    wound = path_of([4.0 * n + (9.0 if n % 4 else 0.0) for n in range(1, 9)], [0.0] * 8)
    for use_motion, draft in ((True, False), (True, True), (False, False)):
        model: Any = tiny_world(use_motion=use_motion, drafts=draft)
        with torch.no_grad():
            for weights in model.memory_branch.parameters():
                if not weights.any():
                    weights.fill_(0.05)
        made = []
        for path in (straight, wound):
            session = Session(model, random_image(model.size), depth=DepthMap(torch.full(model.size, 3.0)), seed=1)
            made.append(session.step(Camera(path.c2w[1:], session.camera.intrinsics)).latents)
        assert torch.equal(*made) != use_motion
