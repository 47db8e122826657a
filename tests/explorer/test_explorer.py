"""What a page may rely on, said over its WebSocket by a client that is no browser."""

import gc
import json
import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from mirage.explorer.explorer import FOLDER, STANDING, Explorer
from mirage.formats.image import save_image
from mirage.formats.video import load_video
from mirage.request import Request
from served import unpacked


@pytest.fixture
def explored(serve, model, image, tmp_path):
    """explored(grace=..., limit=...) -> a running server with the explorer's page."""
    save_image(tmp_path / "a.png", image)

    def start(*, grace=20.0, **choices):
        explorer = Explorer(Request(image=tmp_path / "a.png", trajectory=STANDING, steps=2), model, grace=grace)
        return serve(folder=FOLDER, talk=explorer.talk, **choices)

    return start


class Page:
    """What a page does, without one."""

    def __init__(self, server, session=None, secret="mine"):
        self.server, self.ws, self.seen, self.number = server, server.talk(), [], 0
        self.say(session=session, secret=secret)

    def say(self, **message):
        self.ws.send(json.dumps(message))

    def until(self, kind, **its):
        """The next message of that kind (and with these values)."""
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            header, payload = unpacked(self.ws.recv(timeout=60))
            if "n" in header:
                self.say(ack=header["n"])
            self.seen.append((header, payload))
            if header["kind"] == kind and its.items() <= header.items():
                return header, payload
        raise AssertionError(f"no {kind}")

    def until_one_of(self, *kinds):
        while True:
            header, _ = unpacked(self.ws.recv(timeout=60))
            if header["kind"] in kinds:
                return header["kind"]

    def key(self, **held):
        self.number += 1
        self.say(keys={"n": self.number, **held})

    def tap(self, **held):
        self.key(**held)
        self.until("preview", key=self.number)
        self.key()

    def chunk(self, number, **held):
        """Walk a little; the moment that it becomes."""
        self.tap(**(held or {"yaw": 1}))
        moment = self.until("moment", moment=number)
        self.until("at", moment=number)
        return moment

    def close(self):
        self.ws.close()


def test_a_page_is_shown_the_picture_a_preview_and_then_the_frames(explored):
    server = explored()
    page = Page(server)
    _, picture = page.until("first")
    assert picture.startswith(b"\xff\xd8")
    hello, _ = page.until("hello")
    assert hello["size"] == [64, 96]
    page.until("moment", moment=0)
    cloud, points = page.until("cloud")
    assert len(points) == cloud["count"] * 15
    page.key(forward=1)
    preview, payload = page.until("preview", key=1)
    page.key()
    assert 0 <= preview["known"] <= 1
    assert payload[preview["mask"] :].startswith(b"\xff\xd8")
    page.until("making", moment=1)
    page.until("progress", stage="chunk")
    frames, payload = page.until("frames", moment=1)
    assert len(payload) == sum(frames["sizes"])
    moment, thumb = page.until("moment", moment=1)
    assert thumb.startswith(b"\xff\xd8")
    assert moment["parent"] == 0
    assert moment["count"] == len(moment["line"])
    assert {"read", "denoise", "decode"} <= moment["report"]["seconds"].keys()
    assert moment["report"]["memory_bytes"] > 0


def test_undo_branches_and_both_are_kept(explored):
    server = explored()
    page = Page(server)
    page.until("cloud")
    page.chunk(1)
    live = next(iter(server.served.sessions))
    there = live.session.camera.c2w.clone()
    page.say(go=0)
    page.until("at", moment=0)
    assert live.session.index == 0
    moment, _ = page.chunk(2, yaw=-1)
    assert moment["parent"] == 0
    page.say(go=1)
    page.until("at", moment=1)
    assert torch.equal(live.session.camera.c2w, there)
    page.say(go=7)
    assert "no chunk" in page.until("error")[0]["words"]
    page.say(frames=2)
    assert len(page.until("frames", moment=2)[0]["sizes"]) == moment["count"]


def test_a_prompt_counts_from_the_next_chunk(explored):
    page = Page(explored())
    page.until("cloud")
    page.say(prompt="a red room")
    moment, _ = page.chunk(1)
    assert moment["report"]["prompt"] == "a red room"


def test_stop_leaves_the_walk_at_its_last_chunk(explored):
    server = explored()
    page = Page(server)
    page.until("cloud")
    page.chunk(1)
    live = next(iter(server.served.sessions))
    before, points = live.session.camera.c2w.clone(), len(live.session.memory)
    page.tap(forward=1)
    page.until("making", moment=2)
    page.say(stop=True)
    page.until("stopped")
    while live.busy:
        time.sleep(0.01)
    assert live.session.index == 1
    assert torch.equal(live.session.camera.c2w, before)
    assert len(live.session.memory) == points
    page.chunk(2)  # and it goes on from there


def test_stop_is_answered_while_something_else_is_waited_for(explored):
    server = explored()
    page = Page(server)
    page.until("cloud")
    live = next(iter(server.served.sessions))
    server.served.sessions.worker.command("elsewhere", lambda: time.sleep(1.0))
    page.say(save=True)
    began = time.monotonic()
    page.say(stop=True)
    page.until("stopped")
    assert time.monotonic() - began < 0.8
    page.until("file")
    assert live.session.index == 0


def test_save_open_and_film(explored, tmp_path):
    server = explored()
    page = Page(server)
    page.until("cloud")
    first, _ = page.chunk(1)
    page.say(save=True)
    offer, _ = page.until("file")
    status, world, _ = server.ask(offer["url"])
    assert status == 200
    page.say(record=1)
    offer, _ = page.until("file", name="walk.mp4")
    (tmp_path / "walk.mp4").write_bytes(server.ask(offer["url"])[1])
    assert load_video(tmp_path / "walk.mp4").shape == (1 + first["count"], 3, 64, 96)
    live = next(iter(server.served.sessions))
    points = len(live.session.memory)
    status, body, _ = server.ask("/files", data=world)
    assert status == 200
    page.say(open=json.loads(body)["ticket"])
    page.until("hello", back=False)
    page.until("cloud")
    assert len(live.session.memory) == points
    assert live.session.index == 1
    page.chunk(1)


def test_a_picture_is_uploaded_and_what_is_none_leaves_the_walk(explored, tmp_path):
    server = explored()
    page = Page(server)
    page.until("cloud")
    Image.new("RGB", (200, 300), (200, 30, 30)).save(tmp_path / "red.jpg")
    _, body, _ = server.ask("/files", data=(tmp_path / "red.jpg").read_bytes())
    page.say(open=json.loads(body)["ticket"])
    page.until("hello", back=False)
    _, picture = page.until("moment", moment=0)
    page.until("cloud")
    (tmp_path / "got.jpg").write_bytes(picture)
    assert np.asarray(Image.open(tmp_path / "got.jpg"))[32, 48, 0] > 150
    _, body, _ = server.ask("/files", data=b"\x10" + b"\0" * 7 + b"{" + b" " * 300)
    page.say(open=json.loads(body)["ticket"])
    page.until("error")
    page.say(open="../../etc/passwd")
    assert "no such upload" in page.until("error")[0]["words"]
    page.chunk(1)


def test_a_lost_connection_finds_its_walk_and_another_page_does_not_take_it(explored):
    server = explored()
    page = Page(server)
    name = page.until("hello")[0]["session"]
    page.until("cloud")
    page.chunk(1)
    other = Page(server, session=name, secret="somebody else's")  # a tab that was duplicated
    assert other.until("hello")[0]["session"] != name
    again = Page(server, session=name)  # the same page, whose connection the server still believes in
    assert again.until("hello")[0]["back"]
    again.until("moment", moment=1)
    page.close()
    again.until("cloud")
    again.chunk(2)


def test_walks_of_pages_that_went_away_are_closed_and_their_memory_is_free(explored):
    server = explored(grace=0.2, limit=3)
    gone = []
    gc.disable()  # what is free at once needs no collector
    try:
        for number in range(6):
            page = Page(server)
            page.until("cloud")
            gone += [weakref.ref(live.session) for live in server.served.sessions]
            if number % 2:  # and those that went in the middle of a chunk
                page.tap(forward=1)
                page.until("making")
            page.close()
        ends = time.monotonic() + 30
        while any(one() is not None for one in gone) and time.monotonic() < ends:
            time.sleep(0.05)  # a session has no name any more before the thread that walked has let go of it
        assert len(server.served.sessions) == 0
        assert not [one for one in gone if one() is not None]
    finally:
        gc.enable()


def test_one_page_too_many_is_told_so(explored):
    server = explored(limit=1)
    page = Page(server)
    page.until("cloud")
    late = Page(server, secret="late")
    assert "limit" in late.until("full")[0]["words"]
    page.close()
    kind = "full"
    for _ in range(100):  # until the server has noticed
        later = Page(server, secret="later")
        kind = later.until_one_of("hello", "full")
        if kind == "hello":
            break
        time.sleep(0.05)
    assert kind == "hello"


@pytest.mark.parametrize(
    "message",
    [{"keys": {"forward": 5}}, {"keys": {"n": -1}}, {"mouse": ["a", 1]}, {"mouse": [1e9, 0]}, {"go": "x"}, {"fly": 1},
     {"prompt": "x" * 501}, {"frames": None}, {"record": [1]}, {"open": "none"}],
)  # fmt: skip
def test_what_is_no_command_is_refused_and_the_page_goes_on(explored, message):
    page = Page(explored())
    page.until("cloud")
    page.say(**message)
    page.until("error")
    page.tap(yaw=1)
