"""One memory, several threads: every read is of one state, and costs no more for it."""

import copy
import pickle
import threading
import time

import pytest
import torch

from helpers import walls
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.sharing import Sharing
from mirage.memory.worldfile import load_world

GRID = (4, 6)
CAMERA = Camera.looking(horizontal_fov=65, aspect=1.5)[None]
WRITES, READERS = 400, 4


def written(memory: LatentSpatialMemory, number: int) -> None:
    """A state that tells itself: a nearer wall whose every latent is its number, in all channels."""
    memory.clear()
    memory.write(torch.full((1, 3, *GRID), float(number)), walls(1, GRID, 1 + number / 512), CAMERA)


@pytest.mark.parametrize("most", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_every_read_is_of_one_state_while_another_thread_writes(most, tmp_path):
    """The writes are spread over the reads, however fast either of them is."""
    memory = LatentSpatialMemory(3, policy=MemoryPolicy(features="int8", splat="cell"))
    written(memory, 0)
    moment, wrong, errors, seen = memory.snapshot(), [], [], set()
    reads = [0] * READERS

    def check(latents, depth, known) -> None:
        if not known.any():
            return  # between clear and write: two changes, and each is a state
        number = round(float(latents[known][0]))
        seen.add(number)
        if not (known.all() and (latents.round() == number).all() and (depth - (1 + number / 512)).abs().max() < 1e-5):
            wrong.append(number)

    def reader(which: int) -> None:
        try:
            while reads[which] < most // READERS:
                readout = memory.read(CAMERA, GRID)
                check(readout.latents[0, 0], readout.depth.z[0], readout.mask[0])
                reads[which] += 1
                if reads[which] % 100 == 0:
                    points = memory.points
                    check(points.feature[:, 0], points.position[:, 2], torch.ones(len(points), dtype=torch.bool))
                    path = tmp_path / f"{which}.safetensors"
                    memory.save(path)
                    again = load_world(path)[0].points
                    check(again.feature[:, 0], again.position[:, 2], torch.ones(len(again), dtype=torch.bool))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=reader, args=(which,)) for which in range(READERS)]
    for thread in threads:
        thread.start()
    for number in range(1, WRITES + 1):
        while sum(reads) < (number - 1) * most // WRITES and not errors:
            time.sleep(0.0005)
        written(memory, number % 256)
        if number % 20 == 0:
            memory.restore(moment)  # which is a state too: the one of 0
    for thread in threads:
        thread.join()
    assert not errors
    assert not wrong
    assert sum(reads) == most
    assert len(seen) > 20, "the readers have seen the writer at work"


def test_a_writer_is_not_kept_waiting_by_readers_that_go_on():
    sharing, stop = Sharing(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            with sharing.reading():
                time.sleep(0.001)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    for _ in range(20):
        with sharing.writing():
            assert not sharing._readers
    stop.set()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5


def test_who_is_interrupted_leaves_nothing_held():
    sharing = Sharing()
    for block in (sharing.reading, sharing.writing):
        with pytest.raises(KeyboardInterrupt), block():
            raise KeyboardInterrupt
        with sharing.writing():
            pass


def test_a_copy_of_a_memory_is_one_that_nobody_holds():
    memory = LatentSpatialMemory(3)
    memory.write(torch.ones(1, 3, *GRID), DepthMap(torch.ones(1, *GRID)), CAMERA)
    with memory._sharing.reading():
        other = copy.deepcopy(memory)
        assert pickle.loads(pickle.dumps(Sharing()))._readers == set()
    assert other.write(torch.ones(1, 3, *GRID), walls(1, GRID, 3.0), CAMERA) > 0


def test_the_lock_costs_a_read_nothing_to_speak_of():
    """At most 2 % of the smallest read that anybody makes, of one camera on a grid of 44 x 80."""
    memory = LatentSpatialMemory(48)
    memory.write(torch.ones(1, 48, 44, 80), walls(1, (44, 80)), CAMERA)

    def best(work, count: int) -> float:
        spans = []
        for _ in range(9):
            begun = time.perf_counter()
            for _ in range(count):
                work()
            spans.append((time.perf_counter() - begun) / count)
        return min(spans)

    def locked() -> None:
        with memory._sharing.reading():
            pass

    assert best(locked, 1000) < 0.02 * best(lambda: memory.read(CAMERA, (44, 80)), 20)
