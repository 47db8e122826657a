"""Decoding in a second thread changes when frames are made, and nothing else."""

import threading

import pytest
import torch

from helpers import random_image, wall
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.models.codec import StreamDecoder
from mirage.rollout import Session
from mirage.rollout.overlap import overlapped, overlaps


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def walk(model, *, moving=None, frames=33):
    """Chunks of a walk; `frames` 33: four of them."""
    image = random_image(model.size)

    session = Session(model, image, camera=Camera.looking(aspect=1.5), depth=wall, moving=moving)
    return session.follow(pan(session.camera, frames))


def who_looks(first, count, frames):
    """A segmenter that wants to see the new frames while the chunk is being made."""
    return (frames().mean(1) > 0.6).float()


@pytest.mark.parametrize("moving", [None, who_looks])
def test_the_same_frames_to_the_bit_in_the_same_order(model, moving):
    serial = [(chunk.index, chunk.frames) for chunk in walk(model, moving=moving)]
    beside = [(chunk.index, chunk.frames) for chunk in overlapped(walk(model, moving=moving), device="cpu")]
    assert [index for index, _ in beside] == [index for index, _ in serial] == [0, 1, 2, 3]
    for (_, one), (_, other) in zip(beside, serial, strict=True):
        assert torch.equal(one, other)


def test_a_chunk_is_decoded_while_the_next_one_is_made(model, monkeypatch):
    """The decoder is held back until the next chunk is made: without overlap this would wait for ever."""
    decode, made = StreamDecoder.decode, [threading.Event() for _ in range(5)]
    decoded = []

    def held(self, latents):
        number = len(decoded)
        decoded.append(threading.current_thread())
        assert made[min(number + 1, 3)].wait(20)
        return decode(self, latents)

    def told():
        for chunk in walk(model):
            made[chunk.index].set()
            yield chunk

    monkeypatch.setattr(StreamDecoder, "decode", held)
    assert [chunk.index for chunk in overlapped(told(), device="cpu")] == [0, 1, 2, 3]
    assert threading.main_thread() not in decoded


def test_a_mistake_of_the_decoder_comes_in_place_of_its_chunk(model, monkeypatch):
    decode, calls = StreamDecoder.decode, []

    def broken(self, latents):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the decoder is out of paint")
        return decode(self, latents)

    monkeypatch.setattr(StreamDecoder, "decode", broken)
    chunks = overlapped(walk(model), device="cpu")
    assert next(chunks).index == 0
    with pytest.raises(RuntimeError, match="out of paint"):
        next(chunks)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_was_made_before_a_stop_still_comes(model, stop):
    def stopped():
        for chunk in walk(model):
            if chunk.index == 2:
                raise stop
            yield chunk

    chunks = overlapped(stopped(), device="cpu")
    assert [next(chunks).index for _ in range(2)] == [0, 1]
    with pytest.raises(stop):
        next(chunks)


def test_nothing_runs_on_after_a_break(model):
    for chunk in overlapped(walk(model), device="cpu"):
        assert chunk.index == 0
        break


def test_a_cpu_and_an_autoencoder_that_waits_elsewhere_do_not_overlap(model):
    assert not overlaps(model)
