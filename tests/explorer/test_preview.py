"""The linear decoder: exact where the truth is linear, and its colours are those of a flat field."""

import torch

from helpers import walls
from mirage.explorer.preview import LinearDecoder, copied, seen
from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory


def decoder(model):
    return LinearDecoder.of(model)


def test_it_finds_a_linear_decoder(model):
    generator = torch.Generator().manual_seed(0)
    c, s = model.channels, model.stride
    true = torch.randn(c, 3, generator=generator) * 0.05
    latents = torch.randn(40, c, 6, 8, generator=generator)
    colours = torch.einsum("tchw,cd->tdhw", latents, true) + 0.5
    frames = colours.repeat_interleave(s, 2).repeat_interleave(s, 3)
    fitted = decoder(model).learned(latents[:32], frames[:32])
    assert float((fitted.decode(latents[32:]) - frames[32:].clamp(0, 1)).abs().max()) < 0.02
    assert torch.allclose(fitted.colours(latents[:, :, 0, 0]), colours[:, :, 0, 0].clamp(0, 1), atol=0.02)


def test_what_is_learned_last_counts_most(model):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(4, model.channels, 6, 8, generator=generator)
    size = (4, 3, 6 * model.stride, 8 * model.stride)
    dark, bright = torch.zeros(size), torch.ones(size)
    fitted = decoder(model).learned(latents, dark)
    for _ in range(30):
        fitted = fitted.learned(latents, bright)
    assert float(fitted.decode(latents).mean()) > 0.9


def test_looking_marks_what_is_unknown_and_changes_nothing(model):
    memory = LatentSpatialMemory(model.channels)
    camera, grid = Camera.looking(), (6, 8)
    memory.write(torch.randn(1, model.channels, *grid), walls(1, grid), camera[None])
    copy = copied(memory)
    here = seen(copy, camera, decoder(model), grid)
    assert here.coverage == 1.0
    behind = Camera.looking(c2w=torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])))
    assert seen(copy, behind, decoder(model), grid).coverage == 0.0
    memory.clear()  # a copy is of its moment
    assert seen(copy, camera, decoder(model), grid).coverage == 1.0
