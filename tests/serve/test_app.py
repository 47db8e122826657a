"""The server as a stranger meets it: who is let in, what is taken, and how a slow page is treated."""

import asyncio
import json
import resource
import socket
import time

import pytest
import torch
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus

from helpers import refusal
from mirage.serve.access import Access
from mirage.serve.channel import WINDOW
from served import unpacked

TOKEN = "a-token-of-some-length"


@pytest.fixture
def page(tmp_path):
    (tmp_path / "index.html").write_text("<title>here</title>")
    return tmp_path


async def echo(served, channel):
    sending = asyncio.create_task(channel.run())
    async for message in channel.messages():
        channel.tell(message, b"payload")
    sending.cancel()


def test_a_page_and_its_channel(serve, page):
    server = serve(folder=page, talk=echo)
    status, body, headers = server.ask("/")
    assert status == 200
    assert b"here" in body
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    with server.talk() as ws:
        ws.send(json.dumps({"said": 1}))
        assert unpacked(ws.recv(timeout=5)) == ({"said": 1}, b"payload")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}, {"Origin": "http://evil.example"},
     {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}],
)  # fmt: skip
def test_who_comes_from_elsewhere_is_refused(serve, page, headers):
    server = serve(folder=page, talk=echo)
    assert server.ask("/", headers=headers)[0] in (400, 403)
    assert server.ask("/files", data=b"x", headers=headers)[0] in (400, 403)
    if "Origin" in headers:
        with pytest.raises(InvalidStatus), server.talk(origin=headers["Origin"]):
            pass


def test_the_same_origin_is_not_elsewhere(serve, page):
    server = serve(folder=page, talk=echo)
    assert server.ask("/", headers={"Origin": f"http://127.0.0.1:{server.port}"})[0] == 200


def test_a_token_goes_by_header_cookie_or_first_message(serve, page):
    server = serve(folder=page, talk=echo, access=Access("127.0.0.1", TOKEN))
    assert server.ask("/")[0] == 401
    assert server.ask("/healthz")[0] == 200
    assert server.ask("/?token=another-token-here")[0] == 401
    status, _, headers = server.ask(f"/?token={TOKEN}")
    assert status == 303
    cookie = headers["set-cookie"].split(";")[0]
    assert "HttpOnly" in headers["set-cookie"]
    assert server.ask("/", headers={"Cookie": cookie})[0] == 200
    assert server.ask("/", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
    assert server.ask("/", headers={"Authorization": "Bearer no"})[0] == 401
    for first in ({"token": TOKEN}, None):
        with server.talk(additional_headers={"Cookie": cookie} if first is None else {}) as ws:
            ws.send(json.dumps(first or {"said": 1}))
            ws.send(json.dumps({"said": 2}))
            assert "said" in unpacked(ws.recv(timeout=5))[0]
    with server.talk() as ws:
        ws.send(json.dumps({"token": "wrong"}))
        with pytest.raises(ConnectionClosed, match="token"):
            ws.recv(timeout=5)


def test_beyond_this_machine_a_token_is_wanted():
    assert Access("localhost").local
    refusal(Access, "0.0.0.0", words=["token", "127.0.0.1"])
    refusal(Access, "0.0.0.0", "short", words=["12"])
    refusal(Access, "0.0.0.0", "with spaces and; more", words=["letters"])
    assert Access("0.0.0.0", TOKEN).allows({"host": "192.168.1.5:7860"}) is None
    assert Access("0.0.0.0", TOKEN).allows({"host": "evil.example"}) is not None


def test_uploads_are_bounded_whatever_they_say_of_their_length(serve, page):
    server = serve(folder=page, talk=echo, upload=10_000)
    assert server.ask("/files", data=b"\x89PNG\r\n\x1a\n" + b"0" * 20_000)[0] == 413
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:  # chunked: no length is said
        raw.sendall(b"POST /files HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.sendall((b"1000\r\n" + b"0" * 4096 + b"\r\n") * 4)
        assert b"413" in raw.recv(100)
    assert not list(server.served.shelf.folder.iterdir())


def test_an_upload_that_finds_no_room_is_refused_and_leaves_nothing(serve, page):
    server, before = serve(folder=page, talk=echo), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        status, said, _ = server.ask("/files", data=b"\x89PNG\r\n\x1a\n" + b"0" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, b"no room" in said) == (400, True)
    assert not list(server.served.shelf.folder.iterdir())


def test_uploads_are_of_a_kind_and_of_so_many_pixels(serve, page, tmp_path):
    server = serve(folder=page, talk=echo)
    picture = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(picture)
    status, body, _ = server.ask("/files", data=picture.read_bytes())
    assert status == 200
    with server.served.shelf.taken(json.loads(body)["ticket"]) as item:
        assert item.kind == "image"
    assert not list(server.served.shelf.folder.iterdir())
    assert server.ask("/files", data=b"<svg/>")[0] == 415
    assert server.ask("/files", data=b"\x89PNG\r\n\x1a\n" + b"0" * 200)[0] == 400
    bomb = Image.new("1", (20_000, 20_000))  # 50 kB of 400 million pixels
    bomb.save(picture)
    assert picture.stat().st_size < 1 << 20
    assert server.ask("/files", data=picture.read_bytes())[0] == 400
    assert not list(server.served.shelf.folder.iterdir())


def test_downloads_are_fetched_once_and_by_ticket_alone(serve, page):
    server = serve(folder=page, talk=echo)
    path = server.served.shelf.room(".txt")
    path.write_text("made for you")
    ticket = server.served.shelf.offer(path, "it.txt")
    status, body, headers = server.ask(f"/files/{ticket}")
    assert (status, body) == (200, b"made for you")
    assert "it.txt" in headers["content-disposition"]
    assert server.ask(f"/files/{ticket}")[0] == 404
    assert server.ask("/files/..%2f..%2fetc%2fpasswd")[0] == 404
    time.sleep(0.05)
    assert not path.exists()


def test_a_page_that_draws_slowly_gets_fewer_pictures_and_the_newest(serve, page):
    async def pictures(served, channel):
        sending = asyncio.create_task(channel.run())
        for number in range(50):
            channel.show({"picture": number}, b"x")
            await asyncio.sleep(0.002)
        channel.tell({"done": channel.dropped})
        async for _ in channel.messages():
            pass
        sending.cancel()

    server = serve(folder=page, talk=pictures)
    with server.talk() as ws:
        got = []
        while "done" not in (header := unpacked(ws.recv(timeout=5))[0]):
            got.append(header)
        assert len(got) == WINDOW  # none was acknowledged
        assert header["done"] > 40
        ws.send(json.dumps({"ack": got[0]["n"]}))
        assert unpacked(ws.recv(timeout=5))[0]["picture"] == 49


@pytest.mark.parametrize("sent", ["no json", "[1]", "1", "[" * 5000, '{"a": "' + "x" * 20_000 + '"}', b"bytes"])
def test_what_is_no_command_ends_the_connection(serve, page, sent):
    server = serve(folder=page, talk=echo)
    with server.talk() as ws:
        ws.send(sent)
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=5)
    assert server.ask("/healthz")[0] == 200


def test_sessions_are_limited_and_closed(serve, image, tmp_path):
    from mirage.formats.image import save_image
    from mirage.geometry.motion import Motion
    from mirage.request import Request
    from mirage.serve.sessions import Full, Unknown

    save_image(tmp_path / "a.png", image)
    sessions = serve(limit=1).served.sessions
    request = Request(image=tmp_path / "a.png", trajectory="stay 4")

    async def story():
        live = await sessions.open(request)
        with pytest.raises(Full, match="limit"):
            await sessions.open(request)
        chunk = await live.step(Motion(forward=0.1).along(live.session.camera, 4), prompt="a red room")
        assert live.session.prompt == "a red room"
        assert torch.isfinite(chunk.latents).all()
        await sessions.close(live.name)
        with pytest.raises(Unknown):
            sessions.get(live.name)
        assert len(sessions) == 0
        again = await sessions.open(request)
        await sessions.close(again.name)

    asyncio.run(story())
