"""Clips that the tests of training share: none of them writes there."""

import pytest

from mirage.training.render import encode_clips, render_clips
from toys import SIZE, small_model


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Three clips of 17 frames as pixels."""
    folder = tmp_path_factory.mktemp("clips")
    render_clips(folder, count=3, size=SIZE, frames=17)
    return folder


@pytest.fixture(scope="session")
def latents(clips, tmp_path_factory):
    """The same as latents of `small_model`, 5 frames each."""
    folder = tmp_path_factory.mktemp("latents")
    encode_clips(small_model(), clips, folder, count=3)
    return folder
