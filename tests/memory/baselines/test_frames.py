"""Frames chosen by what their views share, and nothing read."""

import torch

from helpers import walls
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import make_pose, rotation_about
from mirage.memory.baselines.frames import FrameMemory
from mirage.memory.references import choose_by_overlap, pick_references


def turned(*degrees: float) -> Camera:
    lens = Camera.looking(horizontal_fov=60).intrinsics
    pose = torch.stack([make_pose(rotation_about("y", torch.tensor(float(d))), torch.zeros(3)) for d in degrees])
    return Camera(pose, lens.expand(len(degrees), 4))


def depth(count: int) -> DepthMap:
    return walls(count, (4, 6), 3.0)


def test_the_view_that_looked_there_is_chosen():
    history = turned(0, 90, 180)
    assert choose_by_overlap(turned(95), history, depth(3), count=1) == [1]
    assert choose_by_overlap(turned(175), history, depth(3), count=1) == [2]
    assert choose_by_overlap(turned(270), turned(0, 90, 180), depth(3), count=2) == []


def test_two_that_share_the_view_come_before_two_that_see_the_same():
    history = turned(-25, -25, 25)
    assert set(choose_by_overlap(turned(0), history, depth(3), count=2)) == {1, 2}


def test_the_same_direction_from_far_behind_does_not_count():
    lens = Camera.looking(horizontal_fov=60).intrinsics
    behind = Camera(make_pose(torch.eye(3), torch.tensor([0.0, 0.0, -20.0])), lens)[None]
    assert choose_by_overlap(turned(0), behind, depth(1), count=1) == []
    assert choose_by_overlap(turned(0), turned(0), depth(1), count=1) == [0]


def test_without_a_past_or_a_scale_there_is_nothing_to_choose():
    nothing = DepthMap(torch.ones(1, 4, 6), torch.zeros(1, 4, 6, dtype=torch.bool))
    assert choose_by_overlap(turned(0), turned(0)[:0], depth(1)[:0]) == []
    assert choose_by_overlap(turned(0), turned(0), nothing) == []


def test_a_memory_of_frames_shows_holes_and_offers_references():
    memory = FrameMemory(5)
    camera = turned(0, 90)
    assert memory.write(torch.zeros(2, 5, 4, 6), depth(2), camera) == 0
    readout = memory.read(camera, (4, 6))
    assert not readout.mask.any()
    assert readout.latents.shape == (2, 5, 4, 6)
    assert pick_references(memory, readout, turned(90), camera, depth(2), count=1) == [1]
    memory.restore(memory.snapshot())
    assert (len(memory), memory.nbytes) == (0, 0)
