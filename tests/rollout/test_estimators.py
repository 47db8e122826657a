"""Names of depth estimators: what is accepted is what is made."""

import pytest

from mirage.errors import InputError
from mirage.rollout.estimators import check_estimator, make_estimator


@pytest.mark.parametrize("name", ["", "head:some/weights", "head:", "da3:", "nowhere"])
def test_a_name_that_means_nothing_is_refused_before_anything_is_loaded(name):
    """The model's own head has no other weights, and a colon announces some."""
    with pytest.raises(InputError, match="no depth estimator"):
        check_estimator(name)


def test_the_head_is_the_models_own_and_files_are_read(tmp_path):
    assert make_estimator("head", device="cpu") is None
    check_estimator(str(tmp_path))
    for name in ("head", "da3", "depth-pro:owner/weights"):
        check_estimator(name)
