"""Two machines, which are two Ray nodes on loopback, and one of them is lost."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from test_batch import all_whole, batch, done_in, found, started, summary  # noqa: F401

from mirage.distributed import guard

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.slow,
]
NODE = """
import sys
from ray.scripts.scripts import main
sys.argv = ["ray", "start", *sys.argv[1:], "--num-cpus=1", "--num-gpus=0", "--object-store-memory=134217728", "--block",
            "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
main()
"""
MARK = "two-nodes"


@pytest.fixture
def node():
    """Starts a node; all of them are gone afterwards, by their mark: `ray stop` would end other people's."""
    nodes: list[subprocess.Popen] = []
    environment = os.environ | {
        guard.MARK: MARK,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RAY_AUTH_MODE": "disabled",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
    }

    def start(*arguments: str) -> subprocess.Popen:
        # in a group of its own, so that all of one node can be ended at once
        process = subprocess.Popen(
            [sys.executable, "-c", NODE, *arguments], env=environment, start_new_session=True, stdout=subprocess.DEVNULL
        )
        nodes.append(process)
        return process

    yield start
    for process in nodes:
        process.kill()
        process.wait()
    guard.end_marked(MARK)
    assert not guard.marked(MARK)


def test_a_machine_is_lost_and_the_rest_finish(node, batch, tmp_path):  # noqa: F811
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    head = f"127.0.0.1:{port}"
    node("--head", f"--port={port}", "--include-dashboard=false")
    time.sleep(20)
    other = node(f"--address={head}")
    argv, out = batch(16), tmp_path / "out"
    process = started([*argv, "--ray", head], env=os.environ | {"RAY_AUTH_MODE": "disabled"})
    until = time.monotonic() + 300

    def makers() -> set[int]:
        return {json.loads((out / name / "done.json").read_text())["process"] for name in done_in(out)}

    while len(makers()) < 2:  # both machines are at it
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    os.killpg(other.pid, signal.SIGKILL)
    result = summary(process)
    assert result["made"] == 16
    all_whole(out, 16)
