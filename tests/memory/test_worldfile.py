"""A world file comes back to the bit or is refused in one line; a kill during a save costs nothing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers import same, walls
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import orbit
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.worldfile import load_world, save_world

GRID = (4, 6)
CAMERA = Camera.looking(horizontal_fov=65, aspect=1.5)


def memory_of(policy: MemoryPolicy, *, frames: int = 2, channels: int = 3, seed: int = 0) -> LatentSpatialMemory:
    generator = torch.Generator().manual_seed(seed)
    memory = LatentSpatialMemory(channels, policy=policy)
    z = 2 + torch.rand(frames, *GRID, generator=generator)
    path = orbit(CAMERA, max(frames, 1))[:frames]
    memory.write(torch.randn(frames, channels, *GRID, generator=generator), DepthMap(z), path)
    return memory


def assert_same(one: LatentSpatialMemory, other: LatentSpatialMemory) -> None:
    (tensors, meta), (others, other_meta) = one.state(), other.state()
    assert meta == other_meta
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == others[name].dtype
        assert torch.equal(tensor, others[name]), name
    path = orbit(CAMERA, 3, degrees=20)
    for field, value in vars(one.read(path, GRID)).items():
        again = getattr(other.read(path, GRID), field)
        assert torch.equal(value.z, again.z) if isinstance(value, DepthMap) else torch.equal(value, again), field


policies = st.builds(
    MemoryPolicy,
    admit=st.sampled_from(["unseen", "all"]),
    tolerance=st.floats(0.01, 0.5),
    features=st.sampled_from(["float16", "int8", "float32"]),
    splat=st.sampled_from(["footprint", "cell"]),
    max_bytes=st.sampled_from([None, 2**17]),
    evict=st.sampled_from(["coverage", "oldest", "least_read"]),
)


@given(policies, st.integers(0, 3), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_the_round_trip_is_exact(tmp_path_factory, policy, frames, seed):
    path = tmp_path_factory.mktemp("world") / "w.safetensors"
    memory = memory_of(policy, frames=frames, seed=seed)
    extra_tensors = {"history": torch.randn(2, 3), "mask": torch.tensor([True, False]), "step": torch.tensor(7)}
    extra = {"prompt": "a room\nwith “light”", "seed": seed, "nested": {"list": [1, 2.5, None]}}
    save_world(path, memory, extra_tensors=extra_tensors, extra=extra)
    loaded, tensors, values = load_world(path)
    assert_same(memory, loaded)
    assert values == extra
    assert tensors.keys() == extra_tensors.keys()
    assert same(tensors, extra_tensors)


def test_a_loaded_world_goes_on_like_the_one_that_was_saved(tmp_path):
    memory = memory_of(MemoryPolicy(max_bytes=2**17, evict="least_read"))
    save_world(tmp_path / "w.safetensors", memory)
    loaded, _, _ = load_world(tmp_path / "w.safetensors")
    for one in (memory, loaded):
        one.write(torch.ones(1, 3, *GRID), walls(1, GRID, 1.0), CAMERA[None])
    assert_same(memory, loaded)


# -- files that are not what they should be --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("world") / "w.safetensors"
    save_world(path, memory_of(MemoryPolicy(features="int8")), extra_tensors={"a": torch.arange(5)}, extra={"b": 1})
    return path.read_bytes()


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        load_world(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_two_thousand_damaged_files_are_refused(saved, tmp_path):
    """Every bit flip anywhere, every cut and every edit is refused, or changes nothing that is read."""
    whole = tmp_path / "whole.safetensors"
    whole.write_bytes(saved)
    memory, _, _ = load_world(whole)
    rng, path = random.Random(0), tmp_path / "w.safetensors"
    header = 8 + int.from_bytes(saved[:8], "little")
    accepted = 0
    for trial in range(2100):
        data = bytearray(saved)
        kind = trial % 6
        if kind == 0:
            del data[rng.randrange(len(data)) :]
        elif kind == 1:
            data[rng.randrange(header, len(data))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[rng.randrange(8, header)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[:8] = rng.randrange(2 ** rng.randrange(1, 64)).to_bytes(8, "little")
        elif kind == 4:
            start, end = sorted(rng.randrange(8, len(data)) for _ in range(2))
            data[start:end] = rng.randbytes(rng.choice((end - start, rng.randrange(64))))
        else:
            start = rng.randrange(header)
            data[start : start + 1] = rng.choice((b"", b"0", b"9", b'"', b"[" * 3000, b"{", b"-", b"1e999", b"\0"))
        path.write_bytes(data)
        if bytes(data) == saved:
            continue
        with contextlib.suppress(InputError):
            loaded, tensors, extra = load_world(path)
            accepted += 1
            assert_same(memory, loaded)
            assert tensors["a"].tolist() == [0, 1, 2, 3, 4]
            assert extra == {"b": 1}
    assert accepted < 21


def resealed(source: bytes, path, change) -> None:
    """A file whose digests are right and whose content `change(tensors, header)` has made wrong."""
    from mirage.memory.statefile import _digest, _seal

    path.write_bytes(source)
    tensors = load_file(path)
    header = json.loads(source[8 : 8 + int.from_bytes(source[:8], "little")])["__metadata__"]
    del header["seal"]
    change(tensors, header)
    header["digests"] = json.dumps({name: _digest(tensor) for name, tensor in tensors.items()})
    save_file(tensors, path, metadata=header | {"seal": _seal(header)})


def _meta(header, **changes):
    header["memory"] = json.dumps(json.loads(header["memory"]) | changes)


def _said(name, text):
    return lambda t, m: m.update({name: text})


def _policy(**changes):
    return lambda t, m: _meta(m, policy=asdict(MemoryPolicy(features="int8")) | changes)


DEEP = "[" * 50_000 + "]" * 50_000


WRONG = {
    "NaN": lambda t, m: t["memory.position"].view(-1)[5:6].fill_(torch.nan),
    "infinite": lambda t, m: t["memory.scale"][:1].fill_(torch.inf),
    "frames that it does not have": lambda t, m: t["memory.frame"][:1].fill_(9),
    "out of order": lambda t, m: t["memory.camera_index"].fill_(1),
    "float64": lambda t, m: t.update({"memory.position": t["memory.position"].double()}),
    "expected torch.int8": lambda t, m: t.update({"memory.feature": t["memory.feature"][:, :2].clone()}),
    "version 2": lambda t, m: m.update(version="2"),
    "other conventions": lambda t, m: m.update(conventions="OpenGL"),
    "no world file": lambda t, m: m.update(format="pt"),
    "unknown tensor": lambda t, m: t.update(other=torch.ones(1)),
    "expected c2w, camera_index": lambda t, m: t.pop("memory.read"),
    "position of": lambda t, m: t["memory.position"].view(-1)[:1].fill_(2e9),
    "footprint of 0": lambda t, m: t["memory.footprint"][:1].fill_(0),
    "footprint of -1": lambda t, m: t["memory.footprint"][:1].fill_(-1),
    "scale of -1": lambda t, m: t["memory.scale"][:1].fill_(-1),
    "read of": lambda t, m: t["memory.read"].fill_(2**40),
    "camera_index of": lambda t, m: t["memory.camera_index"].add_(2**31 - 2),
    "not a rotation": lambda t, m: t["memory.c2w"][1, :3, :3].mul_(2),
    "bottom row": lambda t, m: t["memory.c2w"][1, 3].fill_(1),
    "focal length of zero": lambda t, m: t["memory.intrinsics"].zero_(),
    "focal length outside": lambda t, m: t["memory.intrinsics"].fill_(1e-20),
    "stands farther": lambda t, m: t["memory.c2w"][0, 0, 3].fill_(1e20),
    "extra is a list": _said("extra", "[]"),
    "extra is a NoneType": _said("extra", "null"),
    "extra is no JSON": _said("extra", '{"b": 1'),
    "no JSON (maximum recursion": _said("extra", f'{{"settings": {DEEP}}}'),
    "memory is no JSON": _said("memory", DEEP),
    "NaN is no number": _said("extra", '{"b": NaN}'),
    "integer string conversion": _said("extra", f'{{"b": {"9" * 5000}}}'),
    "too many values": _said("extra", f'{{"b": [{"0," * 2**21} 0]}}'),
    "channels, policy and dtype": lambda t, m: _meta(m, dtype=[]),
    "has latents of": lambda t, m: _meta(m, dtype="float8"),
    "claims 99999 channels": lambda t, m: _meta(m, channels=99999),
    "claims True channels": lambda t, m: _meta(m, channels=True),
    "policy that is a list": lambda t, m: _meta(m, policy=[]),
    "policy admit": _policy(admit=[]),
    "policy tolerance": _policy(tolerance="1"),
    "policy spacing": _policy(spacing=True),
    "policy front": _policy(front=None),
    "policy resolution_ratio": _policy(resolution_ratio=1e300),
    "policy max_bytes": _policy(max_bytes=1.5),
    "channels": lambda t, m: _meta(m, channels="3"),
    "policy": lambda t, m: _meta(m, policy={"colour": "red"}),
    "budget": lambda t, m: _meta(m, policy=asdict(MemoryPolicy(features="int8", max_bytes=7300))),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_no_memory_can_be_is_refused_though_its_digests_are_right(saved, tmp_path, reason):
    path = tmp_path / "w.safetensors"
    begun = time.monotonic()
    if reason == "budget":  # more cameras than a sixteenth of the budget holds
        big = memory_of(MemoryPolicy(features="int8"), frames=9)
        save_world(path, big)
        saved = path.read_bytes()
    resealed(saved, path, WRONG[reason])
    assert reason in refusal(path)
    assert time.monotonic() - begun < 2


def test_a_field_that_is_not_said_has_its_default(saved, tmp_path):
    path = tmp_path / "w.safetensors"
    resealed(saved, path, lambda t, m: _meta(m, policy={"features": "int8", "spacing": 0.25}))
    assert load_world(path)[0].policy == MemoryPolicy(features="int8", spacing=0.25)


def test_what_lies_in_memory_does_not_follow_the_file(tmp_path):
    """safetensors gives tensors that lie in the file: who copies over it would change a walk that has been loaded."""
    path = tmp_path / "w.safetensors"
    save_world(path, memory_of(MemoryPolicy()), extra_tensors={"a": torch.arange(100_000)})
    _, tensors, _ = load_world(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(tensors["a"], torch.arange(100_000))


PEAK = """
import sys, time
from mirage.cli.inspect import run
from mirage.cli.arguments import Inspect
from mirage.memory import LatentSpatialMemory
from pathlib import Path

def kibibytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

small, path, picture = map(Path, sys.argv[1:])
run(Inspect(world=small, map=picture, overwrite=True))  # whatever is imported and compiled is
for what in (lambda: LatentSpatialMemory.load(path), lambda: run(Inspect(world=path, map=picture, overwrite=True))):
    open("/proc/self/clear_refs", "w").write("5")
    begun, before = time.process_time(), kibibytes("VmRSS")
    what()
    print("took", time.process_time() - begun, (kibibytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="peaks are read from /proc")
@pytest.mark.parametrize("channels", [1, 4096])
def test_reading_takes_time_and_memory_in_proportion(tmp_path, channels):
    """Two seconds for 10 MB and twice the file, beside what drawing a map takes for any world."""
    paths = [tmp_path / name for name in ("small.safetensors", "large.safetensors", "map.png")]
    for path, cells in zip(paths, (16, 10**7 // (channels + 24)), strict=False):
        memory = LatentSpatialMemory(channels, policy=MemoryPolicy(admit="all", features="int8"))
        memory.write(torch.ones(1, channels, cells, 1), walls(1, (cells, 1), 1e6), CAMERA[None])
        save_world(path, memory)
    size = paths[1].stat().st_size
    run = subprocess.run([sys.executable, "-c", PEAK, *map(str, paths)], capture_output=True, text=True, check=True)
    for line in (line for line in run.stdout.splitlines() if line.startswith("took")):
        seconds, taken = map(float, line.split()[1:])
        assert seconds < 2 * size / 1e7
        assert taken < 2 * size + 96 * 2**20


def test_what_is_no_file_is_told_so(tmp_path):
    assert "there is no file" in refusal(tmp_path / "none.safetensors")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    assert "is empty" in refusal(tmp_path / "empty")
    os.mkfifo(tmp_path / "pipe")  # opened, it would wait for somebody who writes
    assert "not a regular file" in refusal(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        load_world("/dev/zero")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert "no world file" in refusal(tmp_path / "other.safetensors")


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_world(tmp_path):
    """Fifty processes that save two worlds in turn, each killed after a random time."""
    path, rng = tmp_path / "w.safetensors", random.Random(0)
    worlds = [memory_of(MemoryPolicy(), frames=12, seed=seed) for seed in range(2)]
    begun = time.monotonic()
    save_world(path, worlds[0])
    pace = time.monotonic() - begun  # on a busy machine a save takes long, and no child would ever finish one
    outcomes = set()
    for _ in range(50):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                while True:
                    for memory in reversed(worlds):
                        save_world(path, memory)
            os._exit(1)
        time.sleep(rng.uniform(0.001, 0.1 + 4 * pace))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        loaded, _, _ = load_world(path)
        same = [torch.equal(loaded.points.feature, memory.points.feature) for memory in worlds]
        assert sum(same) == 1
        outcomes.add(same.index(True))
    assert outcomes == {0, 1}


def test_the_same_world_is_the_same_bytes(tmp_path):
    """safetensors writes its metadata in an order that differs from save to save."""
    memory = memory_of(MemoryPolicy())
    extra = {"prompt": '蓝色的花园 \x01 \\ "quoted" \u2028 🙂', "seed": 3}
    for number in range(8):
        save_world(tmp_path / f"{number}.safetensors", memory, extra_tensors={"a": torch.arange(4)}, extra=extra)
    assert len({(tmp_path / f"{number}.safetensors").read_bytes() for number in range(8)}) == 1
    loaded, tensors, values = load_world(tmp_path / "0.safetensors")
    assert_same(loaded, memory)
    assert values == extra
    assert torch.equal(tensors["a"], torch.arange(4))
