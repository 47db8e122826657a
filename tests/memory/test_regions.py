"""Changing what is remembered: parts go and stay as named, a moved world reads the same, gradients pass."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import refusal, walls
from mirage import Camera, LatentSpatialMemory, MemoryPolicy
from mirage.geometry.pose import make_pose, rotation_about
from mirage.geometry.trajectory import orbit

GRID, CHANNELS = (8, 12), 5
CAMERA = Camera.looking(aspect=1.5)
PATH = orbit(CAMERA, 4, degrees=30)


def walked(features: str = "float32", **choices) -> LatentSpatialMemory:
    """A wall two units away, and before its middle a thing at one."""
    memory = LatentSpatialMemory(CHANNELS, policy=MemoryPolicy(features=features, **choices))  # pyright: ignore[reportArgumentType]
    depth = walls(4, GRID)
    depth.z[:, 3:5, 5:7] = 1.0
    memory.write(torch.randn(4, CHANNELS, *GRID, generator=torch.Generator().manual_seed(1)), depth, PATH)
    return memory


def equal(one, other) -> bool:
    return torch.equal(one.latents, other.latents) and torch.equal(one.mask, other.mask)


@pytest.mark.parametrize("features", ["float32", "float16", "int8"])
def test_what_is_removed_and_what_is_cropped_make_the_whole(features):
    memory = walked(features)
    box = ((-0.3, -9.0, 0.0), (9.0, 9.0, 9.0))
    inside = (memory.points.position >= torch.tensor(box[0])).all(-1) & (memory.points.position <= 9).all(-1)
    everything, moment = memory.points.position.clone(), memory.snapshot()
    assert memory.remove(box) == int(inside.sum()) > 0
    assert torch.equal(memory.points.position, everything[~inside])
    memory.restore(moment)
    assert memory.crop(box) == int((~inside).sum()) > 0
    assert torch.equal(memory.points.position, everything[inside])
    memory.restore(moment)
    assert torch.equal(memory.points.position, everything)


def test_three_ways_to_name_a_part_are_one():
    counts = []
    for name in ("box", "bools", "function"):
        memory = walked()
        near = memory.points.position[:, 2] < 1.5
        high = math.inf
        region = {"box": ((-high, -high, -high), (high, high, 1.4999)), "bools": near,
                  "function": lambda position: position[:, 2] < 1.5}[name]  # fmt: skip
        counts.append(memory.remove(region))
    assert len(set(counts)) == 1
    assert counts[0] > 0


def test_a_thing_is_erased_as_a_camera_sees_it_and_the_wall_behind_it_stays():
    memory = walked()
    mask = torch.zeros(GRID, dtype=torch.bool)
    mask[3:5, 5:7] = True
    before = memory.points.position
    hidden = before[(before[:, 2] > 1.5)]
    assert memory.remove(mask, camera=PATH[0]) > 0
    left = memory.read(PATH[0], GRID)
    assert not (left.mask[0] & mask & (left.depth.z[0] < 1.5)).any()
    assert torch.equal(memory.points.position[memory.points.position[:, 2] > 1.5], hidden)


def test_nothing_under_a_mask_of_nothing():
    memory = walked()
    assert memory.remove(torch.zeros(GRID, dtype=torch.bool), camera=CAMERA) == 0
    assert memory.crop(torch.ones(len(memory), dtype=torch.bool)) == 0


@settings(max_examples=8, deadline=None)
@given(st.floats(-180, 180), st.tuples(*[st.floats(-3, 3)] * 3))
def test_a_moved_world_reads_the_same_from_moved_cameras(degrees, shift):
    memory = walked()
    pose = make_pose(rotation_about("y", degrees), torch.tensor(shift))
    was = memory.read(PATH, GRID)
    memory.transform(pose)
    now = memory.read(PATH.moved(pose), GRID)
    same = (was.index == now.index).float().mean()
    assert same > 0.97  # a point on the border of two cells may fall to either side
    torch.testing.assert_close(memory.cameras.c2w, PATH.moved(pose).c2w)


def test_after_a_change_the_memory_goes_on_as_if_written_so():
    """Pages and boxes hold: a saved and loaded one reads the same."""
    memory = walked()
    memory.remove(((-0.2, -9, 0), (0.4, 9, 9)))
    again = LatentSpatialMemory.from_state(*memory.state())
    assert equal(memory.read(PATH, GRID), again.read(PATH, GRID))
    more = torch.ones(1, CHANNELS, *GRID)
    assert memory.write(more, walls(1, GRID), CAMERA[None]) == again.write(more, walls(1, GRID), CAMERA[None])
    assert equal(memory.read(PATH, GRID), again.read(PATH, GRID))


def test_a_memory_moves_between_devices():
    memory = walked()
    assert memory.to("cpu") is memory
    readout = memory.read(PATH, GRID)
    assert equal(readout, readout.to("cpu"))
    torch.testing.assert_close(readout.coverage, memory.coverage(PATH, GRID))


def test_one_frame_may_come_without_its_axis_and_depth_as_an_array():
    plain, short = LatentSpatialMemory(CHANNELS), LatentSpatialMemory(CHANNELS)
    latents = torch.randn(CHANNELS, *GRID)
    plain.write(latents[None], walls(1, GRID), CAMERA[None])
    short.write(latents, torch.full(GRID, 2.0).numpy(), CAMERA)
    views = (PATH, [PATH[n] for n in range(4)], (PATH.c2w, PATH.intrinsics[0]))
    assert all(equal(plain.read(PATH, GRID), short.read(view, GRID)) for view in views)
    assert equal(plain.read(CAMERA, GRID), plain.read(CAMERA[None], GRID))


@pytest.mark.parametrize("lift", ["center", "corner"])
def test_a_read_trains_what_was_written(lift):
    """The gradient is that of finite differences, and the numbers are those of a plain read."""
    latents = torch.randn(2, CHANNELS, *GRID, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = torch.randn(3, CHANNELS, *GRID, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(written: torch.Tensor, **choices) -> torch.Tensor:
        policy = MemoryPolicy(features="float32", splat="cell", lift=lift)
        memory = LatentSpatialMemory(CHANNELS, policy=policy, dtype=torch.float64)
        memory.write(written, walls(2, GRID), PATH[:2])
        assert len(memory) > 0
        return (memory.read(PATH[:3], GRID, **choices).latents.square() * weights).sum()

    given_ = latents.clone().requires_grad_()
    value = loss(given_, differentiable=True)
    torch.testing.assert_close(value, loss(latents))
    (gradient,) = torch.autograd.grad(value, given_)
    assert gradient.abs().sum() > 0
    for place in torch.randint(latents.numel(), (12,), generator=torch.Generator().manual_seed(4)).tolist():
        step = torch.zeros(latents.numel(), dtype=torch.float64)
        step[place] = 1e-2
        step = step.view_as(latents)
        slope = (loss(latents + step) - loss(latents - step)) / 2e-2
        torch.testing.assert_close(gradient.flatten()[place], slope, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("features", ["float16", "int8"])
def test_rounding_is_passed_straight_through(features):
    memory = LatentSpatialMemory(CHANNELS, policy=MemoryPolicy(features=features))
    latents = torch.randn(1, CHANNELS, *GRID, requires_grad=True)
    memory.write(latents, walls(1, GRID), CAMERA[None])
    readout = memory.read(CAMERA, GRID, differentiable=True)
    assert torch.equal(readout.latents.detach(), memory.read(CAMERA, GRID).latents)
    readout.latents.sum().backward()
    assert latents.grad is not None
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_all_else_is_detached():
    memory = LatentSpatialMemory(CHANNELS)
    latents, z = torch.randn(1, CHANNELS, *GRID, requires_grad=True), torch.full((1, *GRID), 2.0, requires_grad=True)
    memory.write(latents, z, CAMERA[None])
    readout = memory.read(CAMERA, GRID)
    assert not any(part.requires_grad for part in (readout.latents, readout.depth.z, memory.points.feature))
    with torch.no_grad():
        memory.write(latents, z, CAMERA[None])
    memory.clear()
    memory.write(latents.detach(), z, CAMERA[None])
    refusal(memory.read, CAMERA, GRID, differentiable=True, words=["gradients"])


def test_what_is_no_part_is_told():
    memory = walked()
    refusal(memory.remove, torch.ones(3, dtype=torch.bool), words=["bools"])
    refusal(memory.remove, ((1, 1, 1), (0, 0, 0)), words=["low corner"])
    refusal(memory.remove, torch.ones(2, *GRID, dtype=torch.bool), camera=CAMERA, words=["each camera"])
    refusal(memory.transform, torch.eye(4) * 2, words=["rigid"])
    refusal(memory.restore, walked().snapshot(), words=["another memory"])
    refusal(memory.read, torch.eye(4), GRID, words=["how wide it sees"])
    refusal(memory.read, Camera(torch.eye(4), torch.tensor([500.0, 500, 320, 240])), GRID, words=["pixels"])
