"""A world file comes back to the bit or is refused in one line; a kill during a save costs nothing."""

import contextlib
import json
import os
import random
import signal
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
    "channels": lambda t, m: _meta(m, channels="3"),
    "policy": lambda t, m: _meta(m, policy={"colour": "red"}),
    "budget": lambda t, m: _meta(m, policy=asdict(MemoryPolicy(features="int8", max_bytes=7300))),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_no_memory_can_be_is_refused_though_its_digests_are_right(saved, tmp_path, reason):
    path = tmp_path / "w.safetensors"
    if reason == "budget":  # more cameras than a sixteenth of the budget holds
        big = memory_of(MemoryPolicy(features="int8"), frames=9)
        save_world(path, big)
        saved = path.read_bytes()
    resealed(saved, path, WRONG[reason])
    assert reason in refusal(path)


def test_what_is_no_file_is_told_so(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.safetensors")
    assert "directory" in refusal(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    assert "0 bytes" in refusal(tmp_path / "empty")
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
