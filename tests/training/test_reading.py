"""What a caption says of the things in it, and an encoder that learns to tell."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirage.models.tiny import MiniConfig, build_world
from mirage.scenes import Scene, training_seed, vocabulary
from mirage.scenes.words import COLOURS, PATTERNS, THINGS
from mirage.training.loop import fit
from mirage.training.reading import Reader, ReadingConfig, ReadingTask, recoloured, things
from mirage.training.schedule import Schedule
from toys import batch_of


@pytest.fixture(scope="module")
def model():
    return build_world(MiniConfig(layers=1, branch_layers=(0,)), words=vocabulary())


def test_things_are_found_with_their_colour_pattern_and_room():
    caption = "a room with red striped walls and a floor; the next room has a grey box, teal walls"
    told, tokens = things(caption), re.findall(r"\w+|[^\w\s]+", caption)
    patterns = ["", *PATTERNS.values()]
    named = {(tokens[at], at): (rgb is not None, patterns[pattern], room) for at, (rgb, pattern, room) in told.items()}
    assert named == {("walls", 5): (True, "striped", 0), ("floor", 8): (False, "", 0), ("box", 16): (True, "", 1),
                     ("walls", 19): (True, "", 1)}  # fmt: skip


@given(seed=st.integers(0, 300))
def test_every_thing_of_a_worlds_caption_is_at_the_token_that_names_it(seed):
    caption = Scene.sample(training_seed(seed)).caption
    tokens = re.findall(r"\w+|[^\w\s]+", caption)
    told = things(caption)
    named = [at for at, word in enumerate(tokens) if word in ("walls", "floor", "ground", *THINGS)]
    assert sorted(told) == named
    other = recoloured(caption, random.Random(seed))
    assert [w for w in re.findall(r"\w+", other) if w not in COLOURS and w not in PATTERNS.values()] == [
        w for w in re.findall(r"\w+", caption) if w not in COLOURS and w not in PATTERNS.values()
    ]


def test_what_is_asked_stands_at_its_token(model):
    maker = Reader(model, ["a room with red walls; the next room has a blue floor"], ReadingConfig(batch=3, brief=0.0))
    asked = batch_of(maker, 0)
    words = model.tokenizer.convert_ids_to_tokens(asked.ids[asked.named])
    assert words == ["walls", "floor"] * 3
    assert asked.room[asked.named].tolist() == [0, 1] * 3
    assert (asked.colour[asked.named] >= 0).all()
    assert (asked.colour[~asked.named] == -1).all()


def test_an_encoder_learns_to_read(model, tmp_path):
    task = ReadingTask(model, ReadingConfig(captions=4, batch=8))
    before = task.evaluate()
    fit(task, Schedule(steps=40, warmup=5, muon_lr=0.02, adamw_lr=5e-3, adamw="shared|head", average=0.9,
                       evaluate_every=1000), tmp_path)  # fmt: skip
    after = task.evaluate()
    assert after["pattern_right"] > before["pattern_right"]
    assert after["colour_off"] < before["colour_off"]
