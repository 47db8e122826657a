"""A checkpoint is whole, or it is refused by name and the one before it is taken."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers import same
from mirage.errors import InputError
from mirage.training.checkpoints import (
    CHECKPOINT,
    PREVIOUS,
    averaged_weights,
    newest_checkpoint,
    progress,
    save_checkpoint,
)


def held(step):
    """What a checkpoint holds, of every kind of tensor."""
    g = torch.Generator().manual_seed(step)
    return {
        "step": torch.tensor(step),
        "seconds": torch.tensor(1.5 * step, dtype=torch.float64),
        "averaged.weight": torch.randn(3, 4, generator=g),
        "weights.weight": torch.randn(3, 4, generator=g).bfloat16(),
        "optimizer.empty": torch.zeros(0, 2),
    }


def test_what_is_saved_is_what_comes_back_and_the_one_before_stays(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(InputError, match="has no checkpoint"):
        averaged_weights(tmp_path)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, held(step))
    assert newest_checkpoint(tmp_path) == tmp_path / CHECKPOINT
    assert (progress(tmp_path / CHECKPOINT), progress(tmp_path / PREVIOUS)) == ((3, 4.5), (2, 3.0))
    assert torch.equal(averaged_weights(tmp_path)["weight"], held(3)["averaged.weight"])
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, PREVIOUS}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_that_is_cut_or_altered_anywhere_is_not_taken(tmp_path, capsys, data):
    for step in (1, 2):
        save_checkpoint(tmp_path, held(step))
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    taken = newest_checkpoint(tmp_path)
    if taken == path:  # then what it holds is what was saved: a blank of the header, say
        assert same(held(2), load_file(path))
        return
    assert taken == tmp_path / PREVIOUS
    assert str(path) in capsys.readouterr().err
    (tmp_path / PREVIOUS).write_bytes(content)
    with pytest.raises(InputError, match=r"expected a whole checkpoint, or none to begin anew") as error:
        newest_checkpoint(tmp_path)
    assert str(path) in str(error.value)


def test_a_kill_between_the_two_names_leaves_the_one_before(tmp_path):
    save_checkpoint(tmp_path, held(1))
    (tmp_path / CHECKPOINT).replace(tmp_path / PREVIOUS)
    assert newest_checkpoint(tmp_path) == tmp_path / PREVIOUS


def test_one_of_an_earlier_version_is_named_as_such(tmp_path):
    save_file(held(1), tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="no digest, so it is of an earlier version"):
        newest_checkpoint(tmp_path)
