"""What many tests need: stand-ins of a few lines. `T` latent frames, `h w` latent grid."""

import contextlib
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from mirage.depth.protocol import Views
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.files.keys import transformer_name


def wall(views: Views) -> DepthMap:
    """A depth estimator for any random model: every view sees a wall two units away, [T,h,w]."""
    return walls(len(views.latents), views.grid)


def walls(count: int, grid: tuple[int, int], z: float = 2.0) -> DepthMap:
    """That wall, seen `count` times."""
    return DepthMap(torch.full((count, *grid), z))


def random_image(size: tuple[int, int] = (64, 96), *, seed: int = 1) -> Tensor:
    """Noise [3,H,W] in [0, 1], of the size that `tiny_world` makes."""
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


def refusal(ask: Callable[..., object], *given: Any, words: Iterable[str] = (), **choices: Any) -> str:
    """What is said of a wrong request: one line, with these words in it."""
    with pytest.raises(InputError) as caught:
        ask(*given, **choices)
    said = str(caught.value)
    assert "\n" not in said
    assert all(word in said for word in words), said
    return said


@contextlib.contextmanager
def room(most: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same names, each with an equal tensor."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def renamed(name: str, ours: Callable[[str], str | None] = transformer_name) -> str:
    """A tensor's published name in our layout; of one that has a place there."""
    found = ours(name)
    assert found is not None, name
    return found


def views_of(frames: Tensor, camera: Camera, number: Tensor) -> Views:
    """Frames [T,3,H,W] of somebody's video, as depth is asked of them; their latents are of no interest."""
    return Views(torch.zeros(len(frames), 1, 2, 3), camera, number, False, lambda: frames)
