"""The API against its own description, by schemathesis: whatever is sent, the answer is declared at /openapi.json.

MIRAGE_SCHEMATHESIS=100 pytest tests/serve/test_openapi.py     # so many examples, and every edge of every field
"""

import json
import os
import subprocess
import sys

import pytest

from mirage.serve.api import create_api
from mirage.serve.kept import Kept, Limits
from served import serving

EXAMPLES = int(os.environ.get("MIRAGE_SCHEMATHESIS", "0"))
FORM = b'--cut\r\nContent-Disposition: form-data; name="walk"\r\n\r\n{"scene": 3, "steps": 1}\r\n--cut--\r\n'


@pytest.fixture(scope="module")
def api(model, tmp_path_factory):
    """A server that runs, and what there is to ask about: a session that has walked, and an episode."""
    folder = tmp_path_factory.mktemp("served")

    def create(served):
        return create_api(served, Kept(served.sessions, folder, Limits(asleep=10**6)))

    with serving(model, folder=folder, create=create) as running:

        def ask(path, body, kind="application/json"):
            status, answer, _ = running.ask(path, data=body, headers={"Content-Type": kind})
            assert status < 300, answer
            return json.loads(answer)

        session = ask("/sessions", FORM, "multipart/form-data; boundary=cut")["session"]
        ask(f"/sessions/{session}/step", b'{"frames": 4}')
        episode = ask("/reset", b'{"scene": 3, "steps": 1}')["metadata"]["episode_id"]
        yield running.port, {"path.session": session, "query.episode_id": episode}


@pytest.mark.parametrize("led", ["by a session that is there", "by links"])
def test_every_answer_is_one_that_is_declared(api, tmp_path, led):
    """By links sessions are made, walked, branched and deleted, and what is deleted is gone."""
    port, there = api
    given = {} if led == "by links" else there
    typed = ["--phases", "stateful"] if not given else ["--exclude-method", "DELETE", "--phases", "examples,fuzzing"]
    if given and EXAMPLES:
        typed[-1] += ",coverage"
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        "[checks]\n"  # no schema says which poses rotate, or how many steps there are to undo
        'positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409, 415]\n'
        "[parameters]\n" + "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in given.items())
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", *typed]
    command += ["--seed", "1", "--generation-deterministic", "--no-color", "--max-examples", str(EXAMPLES or 3)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/openapi.json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: " in done.stdout
