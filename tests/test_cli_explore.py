"""`mirage explore` as it is typed: what it refuses at once, and that it serves its page and ends when it is told to."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from helpers import random_image
from mirage.cli import main
from mirage.formats.image import save_image


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--host", "0.0.0.0"], "wants a token"),
        (["--host", "0.0.0.0", "--token", "short"], "12 or more"),
        (["--image", "no.png"], "no file no.png"),
        (["--world", "no.safetensors"], "no world at"),
        (["--image", "a.png", "--scene", "3"], "got several"),
        (["--port", "99999"], "port is 99999"),
        (["--sessions", "0"], "at least one session"),
        (["--upload", "many"], "an upload"),
        (["--scene", "-1"], "a scene's seed"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(typed, words, capsys, monkeypatch, saved):
    code = main(["explore", "--model", str(saved), *typed])
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert said.count("\n") == 1


def test_it_serves_until_it_is_stopped(tmp_path: Path, saved: Path):
    save_image(tmp_path / "a.png", random_image())
    command = [sys.executable, "-m", "mirage", "explore", "--model", str(saved), "--image", str(tmp_path / "a.png")]
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        assert served.stderr is not None
        url = served.stdout.readline().strip()
        with urllib.request.urlopen(url, timeout=20) as page:
            assert b"<title>Mirage</title>" in page.read()
        served.send_signal(signal.SIGINT)
        assert served.wait(20) in (0, 130)
        assert "Traceback" not in served.stderr.read()
