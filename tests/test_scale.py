"""The simulation of scale: what can be reckoned by hand comes out so."""

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("simpy")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from scale import Stages, check, pulled


def test_what_is_reckoned_by_hand():
    one = pulled(Stages([2.0] * 10, load=5.0), 1)
    assert one.seconds == pytest.approx(25)
    assert one.busy == pytest.approx(20 / 25)
    assert pulled(Stages([2.0] * 10, load=5.0), 2).seconds == pytest.approx(15)
    assert pulled(Stages([9.0, 1.0, 1.0, 1.0], load=0.0), 2).seconds == pytest.approx(9)  # a slow one holds nobody up
    shared = Stages([1.0] * 4, load=1.0, weights=10.0, rate=5.0)  # two seconds each, one replica after the other
    assert pulled(shared, 4).first == pytest.approx(3)
    assert pulled(Stages([1.0] * 4, load=0.0), 2, late=[0.0, 2.0]).seconds == pytest.approx(3)


def test_a_batch_that_ran_is_simulated_from_its_own_times(tmp_path):
    """Two processes, the second two seconds late: 1 + 1 + 1 + 1 and 1 + 1 seconds."""
    for process, ends in ((1, (1, 2, 3, 4)), (2, (3, 4))):
        for end in ends:
            folder = tmp_path / f"{process}-{end}"
            folder.mkdir()
            file = folder / "done.json"
            file.write_text(json.dumps({"process": process, "seconds": {"total": 1.0}}))
            os.utime(file, (1000 + end, 1000 + end))
    said = check(tmp_path, 2)
    assert said["walks"] == 6
    assert said["measured"] == pytest.approx(4)
    assert said["simulated"] == pytest.approx(4)
