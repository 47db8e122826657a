"""The API over a real socket, with the tests' model: sessions made, walked, kept, and refused in one line."""

import base64
import io
import json
import threading
import time
import urllib.parse
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from websockets.sync.client import connect

from mirage.errors import InputError
from mirage.formats.image import save_image
from mirage.rollout import Session
from mirage.serve.api import create_api
from mirage.serve.kept import Kept, Limits
from served import serving, unpacked

NOBODY = "A" * 22


@pytest.fixture
def api(model, tmp_path):
    """api(**limits) -> a `Client` of a server of its own."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def begin(limit=4, **limits):
            kept: list[Kept] = []

            def create(served):
                kept.append(Kept(served.sessions, tmp_path / "kept", Limits(**limits)))
                return create_api(served, kept[0])

            running = stack.enter_context(serving(model, folder=tmp_path, limit=limit, create=create))
            return Client(running, kept[0])

        yield begin


class Client:
    def __init__(self, running, kept):
        self.running, self.kept = running, kept

    def ask(self, method, path, body=None, kind="application/json"):
        """(status, what was answered: JSON, text or bytes)."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {} if data is None else {"Content-Type": kind}
        status, answer, got = self.running.ask(path, data=data, headers=headers, method=method)
        kind = got.get("content-type", "")
        if kind.startswith("application/json"):
            return status, json.loads(answer)
        return status, answer.decode() if kind.startswith("text/plain") else answer

    def make(self, file=None, **walk):
        """A new session's state."""
        parts = [b'--cut\r\nContent-Disposition: form-data; name="walk"\r\n\r\n' + json.dumps(walk).encode()]
        if file is not None:
            parts.append(b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + file)
        return self.ask(
            "POST", "/sessions", b"\r\n".join([*parts, b"--cut--\r\n"]), "multipart/form-data; boundary=cut"
        )

    def new(self, **more):
        status, state = self.make(**more)
        assert status == 201, state
        return "/sessions/" + state["session"]


def count(film: bytes) -> int:
    """Frames of an MP4."""
    with av.open(io.BytesIO(film), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def heard(ws):
    """(header, payload) of the next message of a stream."""
    message = ws.recv(timeout=20)
    assert isinstance(message, bytes)
    return unpacked(message)


def picture(tmp_path) -> bytes:
    save_image(tmp_path / "photo.png", torch.rand(3, 64, 96))
    return (tmp_path / "photo.png").read_bytes()


def test_a_walk_from_a_picture_and_its_world_is_another_beginning(api, tmp_path, model):
    client = api()
    here = client.new(file=picture(tmp_path), prompt="a room", fov=60)
    status, made = client.ask("POST", here + "/step", {"move": {"forward": 0.2, "yaw": 12}, "frames": 4})
    assert status == 200
    assert made["frames"] == 5  # the picture, and four more
    assert 0 < made["coverage"] <= 1
    _, state = client.ask("GET", here)
    assert (state["index"], state["prompt"], state["undo"]) == (1, "a room", 1)
    assert state["pose"] == made["pose"]
    status, frame = client.ask("GET", here + "/frame")
    assert Image.open(io.BytesIO(frame)).size == (96, 64)
    status, film = client.ask("GET", here + "/video")
    assert count(film) == 5
    _, world = client.ask("GET", here + "/world")
    (tmp_path / "w.safetensors").write_bytes(world)
    assert Session.load(tmp_path / "w.safetensors", model).index == 1
    on = client.new(file=world)
    assert client.ask("GET", on)[1]["pose"] == made["pose"]
    assert client.ask("POST", on + "/step", {"keys": "w 2, right 2"})[0] == 200


def test_keys_moves_and_poses_lead_to_the_same_place(api):
    client = api()
    steps = [{"keys": "w 4"}, {"move": {"forward": 0.2}, "frames": 4}]
    ends = []
    for step in steps:
        here = client.new(scene=3)
        ends.append(client.ask("POST", here + "/step", step)[1]["pose"])
    assert torch.allclose(torch.tensor(ends[0]), torch.tensor(ends[1]), atol=1e-5)
    here = client.new(scene=3)
    status, made = client.ask("POST", here + "/step", {"poses": [ends[0]] * 4})
    assert status == 200
    assert torch.allclose(torch.tensor(made["pose"]), torch.tensor(ends[0]), atol=1e-5)


def test_look_tells_what_is_known_and_changes_nothing(api):
    client = api()
    here = client.new(scene=3)
    before = client.ask("GET", here)[1]
    status, seen = client.ask("POST", here + "/look", {"move": {"yaw": 30}, "picture": True})
    assert status == 200
    cells = "".join(seen["known"])
    assert seen["coverage"] == pytest.approx(cells.count("#") / len(cells), abs=1e-3)
    assert Image.open(io.BytesIO(base64.b64decode(seen["picture"]))).size == (96, 64)
    assert client.ask("GET", here + "/coverage")[1]["coverage"] > seen["coverage"]
    assert client.ask("GET", here)[1] == before


def test_undo_and_branch(api):
    client = api()
    here = client.new(scene=3)
    start = client.ask("GET", here)[1]["pose"]
    step = {"move": {"yaw": 12}, "frames": 4, "prompt": "another room"}
    first = client.ask("POST", here + "/step", step)[1]["pose"]
    status, other = client.ask("POST", here + "/branch")
    assert status == 201
    assert other["pose"] == first
    status, state = client.ask("POST", here + "/undo", {"steps": 1})
    assert (status, state["pose"], state["index"]) == (200, start, 0)
    assert state["prompt"] != "another room"
    assert client.ask("POST", here + "/undo", {})[0] == 400
    assert client.ask("GET", "/sessions/" + other["session"])[1]["pose"] == first
    assert client.ask("POST", here + "/step", {"frames": 4})[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("POST", "/sessions/{}/step", {"frames": 6}, "application/json", 400),
        ("POST", "/sessions/{}/step", {"frames": "8"}, "application/json", 400),
        ("POST", "/sessions/{}/step", {"keys": "w 3"}, "application/json", 400),
        ("POST", "/sessions/{}/step", {"keys": "w 4", "move": {}}, "application/json", 400),
        ("POST", "/sessions/{}/step", {"poses": [[[0.0] * 4] * 4] * 4}, "application/json", 400),
        ("POST", "/sessions/{}/step", {"jump": 1}, "application/json", 400),
        ("POST", "/sessions/{}/step", b"{", "application/json", 400),
        ("POST", "/sessions/{}/step", b"{}", "text/plain", 415),
        ("POST", "/sessions", b"{}", "application/json", 415),
        ("POST", "/sessions/{}/step", b" " * 1_200_000, "application/json", 413),
        ("GET", "/sessions/" + NOBODY, None, "", 404),
        ("GET", "/sessions/..%2Fetc", None, "", 404),
        ("GET", "/sessions/short", None, "", 400),
        ("GET", "/nothing", None, "", 404),
        ("PUT", "/sessions", b"", "text/plain", 405),
        ("POST", "/step", {"action": {}, "episode_id": NOBODY}, "application/json", 404),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_status(api, method, path, body, kind, status):
    client = api()
    here = client.new(scene=3) if "{}" in path else ""
    got, said = client.ask(method, path.replace("/sessions/{}", here), body, kind)
    assert got == status, said
    assert isinstance(said, str)
    assert said.strip()
    assert "\n" not in said.strip()
    if here:
        assert client.ask("GET", here)[1]["index"] == 0


@pytest.mark.parametrize(
    ("file", "walk", "status"),
    [
        (b"<svg/>", {}, 415),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 100, {}, 400),
        (b"0" * 1_200_000, {}, 413),
        (None, {"image": "photo.jpg"}, 400),  # which would be a file of the server
        (None, {"depth_model": "somebody/model"}, 400),
        (None, {"steps": 1000000}, 400),
        (None, {"memory_budget": "900GiB"}, 400),
        (None, {"negative_prompt": "fog"}, 400),
        (None, {"scene": -1}, 400),
    ],
)
def test_a_session_that_cannot_be_is_refused(api, file, walk, status):
    client = api()
    got, said = client.make(file, **walk)
    assert (got, isinstance(said, str)) == (status, True), said
    assert not client.kept.awake
    assert client.ask("GET", "/healthz") == (200, "ok")


def test_a_step_that_fails_or_is_cancelled_leaves_the_session_at_its_last_chunk(api, model, monkeypatch):
    client = api()
    here = client.new(scene=3)
    first = client.ask("POST", here + "/step", {"move": {"yaw": 12}, "frames": 4})[1]

    def broken(*args, **more):
        raise RuntimeError("the network fell over")

    monkeypatch.setattr(type(model), "denoise", broken)
    assert client.ask("POST", here + "/step", {"frames": 4})[0] == 500
    monkeypatch.undo()
    assert client.ask("GET", here)[1]["pose"] == first["pose"]

    plain, began = type(model).denoise, threading.Event()

    def slow(its, condition, *, callback=None, **more):
        def between(at):
            began.set()
            time.sleep(0.3)
            if callback is not None:
                callback(at)

        return plain(its, condition, callback=between, **more)

    monkeypatch.setattr(type(model), "denoise", slow)
    answers = []
    step = threading.Thread(target=lambda: answers.append(client.ask("POST", here + "/step", {"frames": 4})))
    step.start()
    assert began.wait(10)
    assert client.ask("GET", here)[1]["busy"]
    assert client.ask("POST", here + "/cancel") == (200, {"cancelled": True})
    step.join(20)
    assert answers[0][0] == 409
    assert client.ask("GET", here)[1]["index"] == 1
    text = client.ask("GET", "/metrics")[1]
    assert 'mirage_steps_total{result="cancelled"} 1' in text
    assert 'mirage_steps_total{result="failed"} 1' in text


def test_a_step_that_takes_too_long_is_stopped(api, model, monkeypatch):
    client = api(step=0.2)
    here = client.new(scene=3)
    plain = type(model).denoise
    monkeypatch.setattr(type(model), "denoise", lambda *args, **more: time.sleep(0.4) or plain(*args, **more))
    status, said = client.ask("POST", here + "/step", {"frames": 4})
    assert (status, "0.2 seconds" in said) == (409, True)
    monkeypatch.undo()
    time.sleep(0.5)
    assert client.ask("GET", here)[1]["index"] == 0


def test_more_sessions_than_fit_sleep_on_disk_and_come_back(api):
    client = api(limit=1, asleep=2)
    names = [client.new(scene=scene) for scene in (1, 2, 3)]
    assert client.make(scene=4)[0] == 503  # one awake and two asleep: full
    assert len(client.kept.awake) == 1
    poses = [client.ask("GET", name)[1]["pose"] for name in names]
    assert len({str(pose) for pose in poses}) == 3
    assert client.ask("POST", names[0] + "/step", {"frames": 4})[0] == 200
    assert client.ask("DELETE", names[1]) == (204, b"")
    assert client.ask("GET", names[1])[0] == 404
    assert client.make(scene=4)[0] == 201


def test_who_is_idle_is_written_to_disk(api):
    client = api(idle=0.2)
    here = client.new(scene=3)
    pose = client.ask("POST", here + "/step", {"move": {"yaw": 12}, "frames": 4})[1]["pose"]
    until = time.monotonic() + 10
    while client.kept.awake and time.monotonic() < until:
        time.sleep(0.1)
    assert client.kept.asleep == 1
    assert 'mirage_sessions{state="asleep"} 1' in client.ask("GET", "/metrics")[1]
    assert client.ask("GET", here)[1]["pose"] == pose


def test_a_full_disk_keeps_who_is_idle_awake_and_nobody_else_from_sleep(api, monkeypatch):
    client, save, tried = api(limit=2, idle=0.2), Session.save, []

    def full(self, path, **choices):
        tried.append(Path(path).name)
        if tried[-1] == tried[0]:
            raise InputError(f"cannot write {path}: No space left on device")
        save(self, path, **choices)

    def until(done):
        end = time.monotonic() + 60
        while not done():
            assert time.monotonic() < end
            time.sleep(0.05)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "save", full)
        for scene in (1, 2):
            client.new(scene=scene)
        until(lambda: client.kept.asleep == 1 and tried.count(tried[0]) > 1)
        assert [tried[0].startswith(walker.live.name) for walker in client.kept.awake] == [True]
    until(lambda: client.kept.asleep == 2)


@pytest.mark.parametrize("video", ["jpeg", "h264"])
def test_frames_come_over_a_websocket_as_they_are_made(api, video):
    client = api()
    here = client.new(scene=3)
    film, frames, chunks = b"", [], []
    with connect(f"ws://127.0.0.1:{client.running.port}{here}/live?video={video}", max_size=None) as ws:
        ws.send(json.dumps({"step": {"frames": 6}}))
        assert heard(ws)[0]["status"] == 400
        for _ in range(2):
            ws.send(json.dumps({"step": {"move": {"yaw": 6}, "frames": 4}}))
            while True:
                header, payload = heard(ws)
                if header["kind"] == "chunk":
                    chunks.append(header)
                    break
                frames.append((header["index"], header.get("frame")))
                film += payload
                if video == "jpeg":
                    assert Image.open(io.BytesIO(payload)).size == (96, 64)
    assert [chunk["index"] for chunk in chunks] == [0, 1]
    if video == "jpeg":
        assert frames == [*((0, n) for n in range(5)), *((1, n) for n in range(4))]
    else:
        assert count(film) == 9


def test_the_names_of_openenv(api):
    client = api()
    status, begun = client.ask("POST", "/reset", {"seed": 1, "scene": 3})
    assert status == 200
    episode = begun["metadata"]["episode_id"]
    act = {"action": {"move": {"yaw": 6.0}, "frames": 4}, "episode_id": episode}
    status, result = client.ask("POST", "/step", act)
    assert (status, result["done"], result["reward"]) == (200, False, None)
    assert Image.open(io.BytesIO(base64.b64decode(result["observation"]["frame"]))).size == (96, 64)
    state = client.ask("GET", "/state?" + urllib.parse.urlencode({"episode_id": episode}))[1]
    assert state == {"episode_id": episode, "step_count": 1}
    assert set(client.ask("GET", "/schema")[1]) == {"action", "observation", "state"}

    with connect(f"ws://127.0.0.1:{client.running.port}/ws") as ws:

        def say(**message):
            ws.send(json.dumps(message))
            return json.loads(ws.recv(timeout=20))

        assert say(type="step", data={})["data"]["code"] == "VALIDATION_ERROR"
        first = say(type="reset", data={"seed": 1, "scene": 3})
        assert first["data"]["observation"]["frame"] == begun["observation"]["frame"]
        step = say(type="step", data={"move": {"yaw": 6.0}, "frames": 4})
        assert step["type"] == "observation"
        assert step["data"]["observation"] == result["observation"]  # the same seed, the same frames
        assert say(type="state")["data"]["step_count"] == 1
        ws.send(json.dumps({"type": "close"}))
    until = time.monotonic() + 10
    while len(client.kept.awake) > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert [walker.live.name for walker in client.kept.awake] == [episode]  # that of the connection went with it
