"""Natural order: numbers count, whatever stands around them."""

from hypothesis import given
from hypothesis import strategies as st

from mirage.formats.natural import natural


@given(st.permutations(range(0, 240, 7)), st.sampled_from(["frame_{}.png", "{}.jpg", "a{}b2.png", "IMG-{}"]))
def test_numbers_count(numbers: list[int], pattern: str) -> None:
    names = [pattern.format(number) for number in numbers]
    assert sorted(names, key=natural) == [pattern.format(number) for number in sorted(numbers)]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_names_have_one_order(names: list[str]) -> None:
    """Every name can be compared with every other, and equal keys are equal names."""
    assert sorted(names, key=natural) == sorted(reversed(names), key=natural)


def test_words_without_case_and_the_shorter_first() -> None:
    assert sorted(["B1", "a10", "A2", "a", "b0"], key=natural) == ["a", "A2", "a10", "b0", "B1"]
    assert sorted(["a1.png", "a.png", "a01.png"], key=natural) == ["a.png", "a01.png", "a1.png"]
