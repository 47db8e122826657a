"""The picture of a path: where it goes is where the page shows it going."""

import pytest
import torch

from mirage.formats.pathview import path_view
from mirage.formats.picture import PATH, START
from mirage.geometry.camera import Camera
from mirage.geometry.pose import exp_rotation, make_pose
from mirage.geometry.trajectory import PRESETS, dolly, pan


def place(picture: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    """(y, x) of the mean pixel of this colour in the left view and in the right one."""
    near = (picture - torch.tensor(colour)[:, None, None] / 255).abs().amax(0) < 0.02
    half = near.shape[1] // 2
    views = [near[:, :half].nonzero().float(), near[:, half:].nonzero().float()]
    assert all(len(found) for found in views)
    return torch.stack([found.mean(0) for found in views])


@pytest.mark.parametrize(
    ("direction", "above", "side"),
    [
        ((1.0, 0.0, 0.0), (0, 1), (0, 0)),  # right: across the page in the first view, out of it in the second
        ((0.0, -1.0, 0.0), (0, 0), (-1, 0)),  # up
        ((0.0, 0.0, 1.0), (-1, 0), (0, 1)),  # forward: up the page, and across it
        ((-1.0, 0.0, -1.0), (1, -1), (0, -1)),
    ],
)
def test_the_end_stands_where_the_path_ends(direction, above, side):
    turned = make_pose(exp_rotation(torch.tensor([0.4, 2.0, -1.0])), torch.tensor([5.0, 7.0, -3.0]))
    path = dolly(Camera.looking(c2w=turned), 30, distance=2.0, direction=direction)
    picture = path_view(path)
    moved = place(picture, PATH) - place(picture, START)
    for (rows, columns), expected in zip(moved.tolist(), (above, side), strict=True):
        for got, sign in ((rows, expected[0]), (columns, expected[1])) if any(expected) else ():
            assert got * sign > 100 if sign else abs(got) < 30  # where it moves out of the page one end hides the other


@pytest.mark.parametrize("path", [PRESETS[name](Camera.looking(), 17) for name in PRESETS] + [pan(Camera.looking(), 1)])
def test_every_path_is_drawn(path):
    picture = path_view(path, title="clip.txt", note="17 poses")
    assert picture.shape == (3, 720, 1280)
    assert picture.min() >= 0
    assert picture.max() <= 1
    for colour in (START, PATH)[: len(path)]:
        assert ((picture - torch.tensor(colour)[:, None, None] / 255).abs().amax(0) < 0.02).sum() > 50
