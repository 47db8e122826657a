"""Views of which depth is asked: frames are decoded for those who look, and once."""

import torch

from mirage.depth.protocol import Views
from mirage.geometry.camera import Camera


def test_frames_are_decoded_at_the_first_look_and_not_again():
    decoded = []

    def decode():
        decoded.append(None)
        return torch.zeros(2, 3, 4, 6)

    camera = Camera(torch.eye(4).expand(2, 4, 4), torch.tensor([1.0, 1.0, 0.5, 0.5]))
    views = Views(torch.zeros(2, 1, 2, 3), camera, torch.tensor([4, 8]), False, decode)
    assert views.grid == (2, 3)
    assert not decoded
    assert views.frames is views.frames
    assert len(decoded) == 1
