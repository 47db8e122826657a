"""Shared fixtures: real data, one thread, no downloads."""

import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault(
    "HF_HUB_OFFLINE", "1"
)  # before anything of diffusers is imported, so fixtures import it themselves
torch.set_num_threads(1)
# the same examples everywhere, so that what passes here passes in CI; `--hypothesis-profile anew` looks for others
settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("anew")
settings.load_profile("same")
# a runner started in the background ignores Ctrl-C, and so would the tests that press it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real test data: `MIRAGE_DATA`, else ../shared/data beside the checkout. Skipped, and said why, where absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MIRAGE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; set MIRAGE_DATA")
    return folder


@pytest.fixture(scope="module")
def model():
    """A world model of random weights, for tests that leave it as it is."""
    from mirage.models.tiny import tiny_world

    return tiny_world()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, to read or to copy."""
    from mirage.models.tiny import tiny_world

    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_world().save_pretrained(folder)
    return folder


@pytest.fixture
def image():
    """What it may begin from, [3,H,W]."""
    from helpers import random_image

    return random_image()


@pytest.fixture
def serve(model, tmp_path):
    """serve(talk=..., access=..., limit=...) -> a server in this process (served.py), until the test ends."""
    from contextlib import ExitStack

    from served import serving

    with ExitStack() as stack:
        yield lambda **choices: stack.enter_context(serving(model, **{"folder": tmp_path} | choices))
