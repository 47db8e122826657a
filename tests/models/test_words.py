"""What of a prompt a model does not read is said, word for word; nothing is said where all is read."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.models.loading import load_world_model
from mirage.models.tiny import word_tokenizer
from mirage.models.words import cleaned, vocabulary, words_read
from mirage.models.world import WorldModel
from mirage.scenes.words import vocabulary as scene_words


@pytest.fixture(scope="module")
def mini() -> WorldModel:
    return load_world_model("mini")


def test_words_that_mini_does_not_know(mini: WorldModel) -> None:
    read = words_read(mini, "A red DRAGON, a blue room & a dragon; 蓝色的花园 🙂")
    assert read.unknown == ("dragon", "蓝色的花园", "🙂") or read.unknown == ("dragon", "&", "蓝色的花园", "🙂")
    assert read.unread == ()
    (line,) = read.remarks()
    assert "dragon" in line
    assert "\n" not in line
    assert words_read(mini, "a room with red walls and a blue box, under warm light").remarks() == []
    assert words_read(mini, "").remarks() == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["red", "box", "zebra", "a", "x1", "ümlaut"]), max_size=160))
def test_what_is_unread_changes_nothing_and_what_is_read_does(mini: WorldModel, words: list[str]) -> None:
    """The tokens that the model sees are those of the prompt without its unread words, and no fewer would do."""
    read = words_read(mini, " ".join(words))
    kept = words[: len(words) - len(read.unread)]
    assert tuple(words[len(kept) :]) == read.unread
    tokens, known = mini.tokenize(" ".join(words))
    fewer, _ = mini.tokenize(" ".join(kept))
    assert torch.equal(tokens, fewer)
    assert not read.unread or int(known.sum()) == read.limit
    assert set(read.unknown) == {word for word in kept if word in ("zebra", "x1", "ümlaut")}


def test_a_long_prompt_is_said_in_one_line(mini: WorldModel) -> None:
    read = words_read(mini, " ".join(["red"] * 111 + ["box"] * 40))
    assert read.limit == 112
    assert len(read.unread) == 40
    assert read.remarks() == [
        "the last 40 words are not read, the model reads 112 tokens: " + ", ".join(["box"] * 12) + ", and 28 more"
    ]


def test_the_vocabulary_is_that_of_the_scenes(mini: WorldModel) -> None:
    assert vocabulary(mini) == scene_words()
    tokenizer = word_tokenizer(["cat", "dog"])
    assert words_read_with(mini, tokenizer, "a cat").unknown == ("a",)


def words_read_with(mini: WorldModel, tokenizer, prompt: str):
    other = SimpleNamespace(config=mini.config, tokenizer=tokenizer)
    return words_read(other, prompt)  # pyright: ignore[reportArgumentType]


def test_cleaning_is_what_the_model_does(mini: WorldModel) -> None:
    assert cleaned("  a &amp;amp;\n red\tbox ") == "a & red box"
    assert cleaned("a cafÃ©, l\u2019Ã©tÃ© \u201cblue\u201d") == 'a café, l\'été "blue"'  # as ftfy mends it
    for prompt in ("a  &lt;red&gt;\nbox", "red"):
        assert torch.equal(mini.tokenize(prompt)[0], mini.tokenize(cleaned(prompt))[0])
