"""Prompt files: which chunk gets which text, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirage.chunks import windows
from mirage.errors import InputError
from mirage.formats.prompts import Prompts, load_prompts


def written(tmp_path, text: str):
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_and_json_say_the_same(tmp_path) -> None:
    lines = load_prompts(written(tmp_path, "# a walk\n\nframe 0: a red room: with a door\nChunk 2:  a garden\n"))
    told = load_prompts(written(tmp_path, '{"frame 0": "a red room: with a door", "chunk 2": "a garden"}'))
    assert lines.entries == told.entries == (("frame", 0, "a red room: with a door"), ("chunk", 2, "a garden"))
    assert lines.by_chunk(97, 33) == {0: "a red room: with a door", 2: "a garden"}


@given(st.integers(1, 40), st.sampled_from([5, 9, 33]), st.data())
def test_a_frame_is_made_by_the_chunk_that_gets_its_prompt(quads: int, chunk_frames: int, data) -> None:
    frames = 1 + 4 * quads
    frame = data.draw(st.integers(0, frames - 1))
    (chunk,) = Prompts("it", (("frame", frame, "x"),)).by_chunk(frames, chunk_frames)
    window = list(windows(frames, chunk_frames))[chunk]
    assert frame in range(window.start + (chunk > 0), window.stop)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing yet", "holds none"),
        ("a red room", "line 1: expected 'frame N: text'"),
        ("frame 0: a\nframe -3: a", "line 2: expected 'frame N' or 'chunk N'"),
        ("frame 1.5: a", "got 'frame 1.5'"),
        ("second 3: a", "got 'second 3'"),
        ("frame 99999999999: a", "expected 'frame N'"),
        ('{"frame 0": 3}', "a prompt is text, got int"),
        ('["a"]', "is a JSON list"),
        ('{"frame 0": ', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_prompt_file_is_refused_in_a_line(tmp_path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        load_prompts(written(tmp_path, text))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frame 65: a", "frame 65 has a prompt, the path has frames 0 to 64"),
        ("chunk 2: a", "chunk 2 has a prompt, the path has chunks 0 to 1"),
        ("frame 0: a\nframe 20: b", "gives chunk 0 a second prompt"),
        ('{"chunk 1": "a", "chunk 1": "b"}', "gives chunk 1 a second prompt"),
    ],
)
def test_what_the_path_does_not_have_is_refused(tmp_path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_prompts(written(tmp_path, text)).by_chunk(65, 33)


def test_files_that_are_no_text(tmp_path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("binary", "not UTF-8"), ("nowhere", "no file"), (".", "a folder")):
        with pytest.raises(InputError, match=said):
            load_prompts(tmp_path / name)
