"""`mirage serve` as it is typed: SIGTERM in mid-step loses no session, and the next server goes on with them."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirage.cli import main

FORM = b'--cut\r\nContent-Disposition: form-data; name="walk"\r\n\r\n{"scene": 3, "steps": 60}\r\n--cut--\r\n'


class Server:
    """The process, and its client."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def ask(self, method, path, body=b"", kind="application/json"):
        """(status, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def new(self):
        status, state = self.ask("POST", "/sessions", FORM, "multipart/form-data; boundary=cut")
        assert status == 201, state
        return "/sessions/" + json.loads(state)["session"]


@contextmanager
def serving(model: Path, keep: Path):
    command = [sys.executable, "-m", "mirage", "serve", "--model", str(model), "--keep", str(keep), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process, int(process.stdout.readline().strip("/ \n").rpartition(":")[2]))
        finally:
            process.kill()


def test_a_stop_in_mid_step_loses_no_session_and_each_comes_back_to_the_bit(saved, tmp_path):
    step = b'{"move": {"yaw": 12}, "frames": 4}'
    with serving(saved, tmp_path / "kept") as server:
        kept, walking = server.new(), server.new()
        for session in (kept, walking):
            assert server.ask("POST", session + "/step", step)[0] == 200
        assert server.ask("POST", kept + "/save")[0] == 200
        worlds = {session: server.ask("GET", session + "/world")[1] for session in (kept, walking)}
        answers = []

        def walk():
            answers.append(server.ask("POST", walking + "/step", step)[0])

        client = threading.Thread(target=walk)
        client.start()
        while client.is_alive() and not json.loads(server.ask("GET", walking)[1])["busy"]:
            pass
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 128 + signal.SIGTERM
        client.join(120)
        assert answers in ([200], [409])  # made within the server's patience, or stopped
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()
    assert len(list((tmp_path / "kept").iterdir())) == 2  # whole files, and nothing beside them
    with serving(saved, tmp_path / "kept") as server:
        assert server.ask("GET", kept + "/world") == (200, worlds[kept])
        state = json.loads(server.ask("GET", walking)[1])
        if answers == [200]:
            assert state["index"] == 2
        else:
            assert server.ask("GET", walking + "/world")[1] == worlds[walking]
        assert state["undo"] == 0
        status, said = server.ask("POST", walking + "/undo", b"{}")
        assert (status, b"came back from disk" in said) == (400, True)
        assert server.ask("POST", walking + "/step", step)[0] == 200


@pytest.mark.parametrize(
    ("typed", "words"),
    [(["--sessions", "0"], "at least one session"), (["--idle", "0"], "--idle"), (["--memory", "much"], "memory")],
)
def test_what_cannot_be_is_refused_in_one_line(typed, words, capsys, saved, tmp_path):
    code = main(["serve", "--model", str(saved), "--keep", str(tmp_path), *typed])
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
