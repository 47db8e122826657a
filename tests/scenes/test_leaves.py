"""Pictures with the statistics of photographs."""

import itertools

import torch

from mirage.scenes.leaves import leaves


def test_a_seed_is_a_picture_within_bounds_and_another_seed_another():
    one, same, other = (leaves((48, 64), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert one.shape == (3, 48, 64)
    assert 0 <= one.min() < one.max() <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_spectrum_falls_as_a_photographs_does():
    """Amplitude ~ 1/f^k with k near 1: power in octaves of frequency stays about even, and never grows steeply."""
    power = torch.zeros(64, 33)
    for seed in range(6):
        grey = leaves((64, 64), torch.Generator().manual_seed(seed)).mean(0)
        power += torch.fft.rfft2(grey - grey.mean()).abs().square()
    fy, fx = torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]
    radius = (fy.square() + fx.square()).sqrt()
    edges = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
    mean = [power[(radius >= low) & (radius < high)].mean() for low, high in itertools.pairwise(edges)]
    falls = [float(torch.log2(a / b)) for a, b in itertools.pairwise(mean)]  # of power, per octave: 2k
    assert all(1 < fall < 4.5 for fall in falls), falls
