"""Manifests, inputs and outputs on a real S3 server that runs here (moto's), also one that goes away in the middle."""

import contextlib
import importlib.util
import json
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time

import pytest
import torch
from test_batch import LINE, started, summary

from helpers import random_image, refusal
from mirage.distributed.manifest import read_manifest
from mirage.distributed.store import DONE, Store
from mirage.distributed.walks import Making, check
from mirage.formats.image import save_image
from mirage.formats.remote import file_system
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan
from mirage.models.tiny import tiny_world
from mirage.request import ModelRequest
from mirage.training.clips import LatentClip, clip_path, save_latents
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.exercises import Exercises, Mix
from mirage.training.loop import fit
from mirage.training.schedule import Schedule

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("moto", "s3fs", "flask")), reason="no S3 server here"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Through(socketserver.BaseRequestHandler):
    """Hands a connection on to the server, while there is a way."""

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind)) as behind:  # pyright: ignore[reportAttributeAccessIssue]
            ends = {self.request: behind, behind: self.request}
            while not self.server.cut.is_set():  # pyright: ignore[reportAttributeAccessIssue]
                for end in select.select(list(ends), [], [], 0.1)[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)


class Way(socketserver.ThreadingTCPServer):
    """Between the S3 server and who uses it: to `cut` it is what a server that dies looks like from here."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int, behind: int) -> None:
        super().__init__(("127.0.0.1", port), Through)
        self.behind, self.cut = behind, threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.cut.set()
        self.shutdown()
        self.server_close()


@pytest.fixture(scope="module")
def server():
    """(port of the way to it, its own port)."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        assert time.monotonic() < until
        time.sleep(0.1)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def way(server, monkeypatch):
    """A way to it, which the environment names."""
    way = Way(free_port(), server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.server_address[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield way
    way.end()


def filled(bucket: str, tmp_path, count: int) -> str:
    """A bucket with a picture and a manifest."""
    files, _ = file_system("s3://")
    files.mkdir(bucket)
    save_image(tmp_path / "a.png", random_image())
    files.put_file(str(tmp_path / "a.png"), f"{bucket}/in/a.png")
    lines = [LINE | {"seed": number} for number in range(count)]
    files.pipe_file(f"{bucket}/in/m.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    return f"s3://{bucket}/in/m.jsonl"


def test_a_bucket_is_a_store(way, tmp_path, saved):
    manifest = filled("one", tmp_path, 1)
    (entry,) = read_manifest(manifest)
    making = Making(ModelRequest(model=str(saved)), "s3://one/out")
    check(entry, making)
    with entry.request() as request:
        (here,) = request.images
        assert here.read_bytes() == (tmp_path / "a.png").read_bytes()
    assert not here.exists()

    store = Store.of(making.out)
    assert store.done() == {}
    assert store.finished("task") is None
    with pytest.raises(ZeroDivisionError), store.making("task") as folder:
        (folder / "half").write_text(str(1 / 0))
    assert store.done() == {}
    with store.making("task") as folder:
        (folder / "walk.mp4").write_bytes(b"film")
        (folder / DONE).write_text('{"a": 1}')
    assert store.done() == {"task": {"a": 1}}
    assert store.finished("task") == {"a": 1}
    files, _ = file_system("s3://")
    assert files.cat_file("one/out/task/walk.mp4") == b"film"
    refusal(read_manifest, "s3://one/none.jsonl", words=["s3://one/none.jsonl"])
    refusal(read_manifest, "s3://nobodys/m.jsonl", words=["s3://nobodys/m.jsonl"])


def test_training_reads_its_clips_from_a_bucket(way, server, tmp_path):
    """The curve is that of the same clips in a folder; a server that dies ends it in one line, and it goes on."""
    model, generator = tiny_world(), torch.Generator().manual_seed(0)
    path = pan(Camera.looking(aspect=1.5), 3)
    (tmp_path / "clips").mkdir()
    for number in range(5):
        images = torch.randn(3, model.channels, 4, 6, generator=generator)
        depth = DepthMap(torch.full((3, 4, 6), 2.0), torch.ones(3, 4, 6, dtype=torch.bool))
        save_latents(clip_path(tmp_path / "clips", number), LatentClip(images, images, depth, path, "a room"))
    files, _ = file_system("s3://")
    files.mkdir("clips")
    files.put(str(tmp_path / "clips") + "/", "clips/three/", recursive=True)

    def train(clips, name, **choices):
        exercises = Exercises(clips, Mix(chunk=0.5, words=0.5), batch=1, frames=3, held_out=1, cached=1)
        task = DenoiserTask(tiny_world(), DenoiserConfig(exercises, train=("memory_branch",), **choices))
        fit(task, Schedule(steps=6, warmup=1, log_every=1, checkpoint_seconds=0), tmp_path / name)
        return [line.split('"loss"')[-1] for line in (tmp_path / name / "curve.jsonl").read_text().splitlines()]

    assert train("s3://clips/three", "remote") == train(tmp_path / "clips", "local")
    assert model.depth_head is not None
    depth_head = DepthHeadTask(model.depth_head, DepthHeadConfig("s3://clips/three", batch=2, held_out=1))
    assert len(depth_head.maker.paths) == 4
    refusal(train, "s3://clips/none", "none", words=["s3://clips/none", "holds no clips"])
    data = files.cat_file("clips/three/clip-000000.safetensors")
    files.pipe_file("clips/cut/clip-000000.safetensors", data[:-9])
    refusal(train, "s3://clips/cut", "cut", words=["s3://clips/cut/clip-000000.safetensors is damaged"])
    way.end()
    refusal(train, "s3://clips/three", "dead", words=["cannot read s3://clips/three"])


@pytest.mark.slow
def test_a_batch_from_bucket_to_bucket_whose_server_dies(way, server, tmp_path, saved):
    """Tasks of the time without a server fail; when it is there again, the same command makes what is missing."""
    manifest = filled("two", tmp_path, 14)
    argv = ["batch", manifest, "--out", "s3://two/out", "--model", str(saved), "--replicas", "2", "--json"]
    store, process = Store.of("s3://two/out"), started([*argv, "--retries", "0"])
    until = time.monotonic() + 200
    while len(store.done()) < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    way.end()
    result = summary(process, code=1)
    assert result["made"] >= 2
    assert result["failed"]
    assert all("s3://two/" in reason or "onnect" in reason for reason in result["failed"].values())
    back = Way(way.server_address[1], server)
    try:
        store = Store.of("s3://two/out")
        result = summary(started(argv))
        assert result["found"] + result["made"] == 14
        assert result["found"] >= 2
        done = store.done()
        assert len(done) == 14
        files, _ = file_system("s3://")
        assert {name.rsplit("/", 1)[-1] for name in files.ls("two/out/000003")} == {
            "done.json", "walk.mp4", "walk.receipt.json", "walk.sheet.png"
        }  # fmt: skip
    finally:
        back.end()
