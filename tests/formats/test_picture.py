"""Sheets and maps show what they are given, where they say. Receipts are whole JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mirage.errors import InputError
from mirage.formats.picture import contact_sheet, plot_lines, top_down_map
from mirage.formats.receipt import versions, write_receipt
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan


def red(frames: int, height: int, width: int) -> torch.Tensor:
    return torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(frames, 3, height, width)


def area(image: torch.Tensor, colour: tuple[float, float, float]) -> int:
    return int(((image - torch.tensor(colour)[:, None, None]).abs().amax(0) < 0.02).sum())


def test_a_sheet_shows_every_picture_whole() -> None:
    one = contact_sheet({"a": red(20, 30, 40)}, columns=5, width=80)
    assert area(one, (1, 0, 0)) == 5 * 80 * 60
    two = contact_sheet({"a": red(20, 30, 40), "b": red(3, 40, 40)}, columns=5, width=80, title="two rows")
    assert area(two, (1, 0, 0)) == 5 * 80 * 60 + 3 * 80 * 80
    assert two.shape[1] > one.shape[1]
    assert two.shape[2] == one.shape[2]
    assert area(two, (28 / 255, 30 / 255, 36 / 255)) > 50  # the labels


def test_a_sheet_spreads_from_first_to_last() -> None:
    grey = torch.linspace(0, 1, 21)[:, None, None, None].expand(21, 3, 16, 16)
    sheet = contact_sheet({"a": grey}, columns=3, width=64)
    assert [area(sheet, (level, level, level)) >= 64 * 64 for level in (0.0, 0.5, 0.25)] == [True, True, False]


def test_captions_replace_numbers() -> None:
    rows = {"a": red(2, 32, 32)}
    assert not torch.equal(contact_sheet(rows), contact_sheet(rows, captions={"a": ["start", "18.3 dB"]}))
    with pytest.raises(ValueError, match="zip"):
        contact_sheet(rows, captions={"a": ["one"]})


def test_long_titles_and_labels_are_broken_into_lines() -> None:
    row = torch.rand(2, 3, 8, 12)
    long = "a room with yellow walls and a blue tiled floor " * 6
    short = contact_sheet({"a": row}, columns=2, title="t")
    tall = contact_sheet({"a": row}, columns=2, title=long)
    taller = contact_sheet({long: row}, columns=2, title=long)
    assert short.shape[2] == tall.shape[2] == taller.shape[2]
    assert short.shape[1] + 40 < tall.shape[1] < taller.shape[1] - 40


def test_a_map_puts_things_where_they_are() -> None:
    points = torch.tensor([[-1.0, 0, 0], [1.0, 0, 0], [0, 0, 2.0]])
    ink = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    image = top_down_map(points, ink, side=300)
    spots = [((image - colour[:, None, None]).abs().amax(0) < 0.01).nonzero().float().mean(0) for colour in ink]
    (left_y, left_x), (right_y, right_x), (far_y, far_x) = (spot.tolist() for spot in spots)
    assert left_x < far_x < right_x
    assert far_y < left_y == right_y  # away from us is up the page
    assert abs((right_x - left_x) - (left_y - far_y)) < 2  # one scale in both directions


def test_a_map_of_higher_and_lower() -> None:
    points = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])  # y points down: the second is higher
    for order in ([0, 1, 2], [1, 0, 2]):
        ink = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
        image = top_down_map(points[order], ink[order], side=200)  # whatever the order they come in
        assert area(image, (0, 1, 0)) > 0
        assert area(image, (1, 0, 0)) == 0


def test_a_map_is_a_plan_cut_at_the_height_of_the_cameras() -> None:
    points = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, 2.0]])  # a floor below the camera, and a ceiling over it
    ink = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    image = top_down_map(points, ink, pan(Camera.looking(), 3), sizes=torch.tensor([0.1, 0.5]))
    assert area(image, (0, 1, 0)) == 0
    assert area(image, (1, 0, 0)) > 100  # as wide as it is, and not a dot
    assert area(top_down_map(points[1:], ink[1:], pan(Camera.looking(), 3)), (0, 1, 0)) > 0  # a ceiling and no more


def test_maps_of_little() -> None:
    path = pan(Camera.looking(), 20)
    for points, camera in [
        (torch.zeros(0, 3), None),
        (torch.zeros(0, 3), path),
        (torch.full((4, 3), torch.nan), path[0]),
        (torch.zeros(1, 3), path),
        (torch.randn(1000, 3), path),
    ]:
        image = top_down_map(points, camera=camera, side=120)
        assert image.shape == (3, 120, 120)
        assert torch.isfinite(image).all()


def test_plots() -> None:
    lines = {"ours": ([1, 10, 100], [2.0, 3.0, 4.0]), "theirs": ([1, 10, 100], [20.0, 30.0, 400.0])}
    image = plot_lines(lines, x="points", y="ms", title="read", log="xy", size=(240, 400))
    assert image.shape == (3, 240, 400)
    assert image.std() > 0.05


def test_importing_formats_is_light() -> None:
    script = (
        "import sys, mirage.formats.cameras, mirage.formats.picture\n"
        "print([name for name in ('av', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_receipts(tmp_path: Path) -> None:
    write_receipt(tmp_path / "a.json", {"versions": versions(), "seed": 3})
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["seed"] == 3
    assert content["versions"].keys() >= {"python", "torch", "numpy"}
    with pytest.raises(ValueError, match="JSON"):
        write_receipt(tmp_path / "a.json", {"seconds": float("nan")})
    with pytest.raises(InputError):
        write_receipt(tmp_path / "no/a.json", {})
    assert json.loads((tmp_path / "a.json").read_text()) == content


def test_a_caption_of_any_length_is_bounded():
    """A prompt may be a book: 200,000 words took 7.8 GB."""
    frames = torch.rand(2, 3, 8, 12)
    for text in ("wall " * 200_000, "x" * 1_000_000):
        sheet = contact_sheet({text: frames}, title=text, captions={text: [text, text]})
        assert sheet.numel() < 10_000_000
