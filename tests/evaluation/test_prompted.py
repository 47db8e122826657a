"""Words act, or do not: a painter who listens, and one who is deaf."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d

from mirage.errors import InputError
from mirage.evaluation.options import PromptedOptions, Subject
from mirage.evaluation.prompted import answer, evaluate_prompted, nearest, prompt, wall_hues, wilson
from mirage.evaluation.truth import GroundTruth
from mirage.geometry.camera import Camera
from mirage.memory import Readout
from mirage.scenes import Scene
from mirage.scenes.doors import repainted, turn_to_door, walls_of_next_room
from walkers import Piece

SIZE, GRID, CHUNK = (48, 64), (6, 8), 5
COLOURS = ("red", "yellow", "green", "blue")


@dataclass(frozen=True)
class Painter:
    """Paints the next room's walls as `hear` understands the prompt, softly and a little paler than the truth."""

    truth: GroundTruth
    hear: Callable[[str], str]

    def follow(self, path: Camera) -> Iterator[Piece]:
        scene = Scene.sample(self.truth.seed)
        scene = repainted(scene, walls_of_next_room(scene), self.hear(self.truth.caption))
        frames = scene.render(path, SIZE).rgb
        soft = 0.2 + 0.7 * avg_pool2d(frames, 5, 1, 2, count_include_pad=False)
        readout = Readout.holes((len(path) - 1) // 4, 2, GRID)
        yield Piece(soft, readout, readout.depth)


def said(caption: str) -> str:
    found = re.search("the next room has ([a-z]+) walls", caption)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("hears", [True, False])
def test_who_listens_is_right_and_who_does_not_is_at_chance(tmp_path, hears):
    options = PromptedOptions(out=tmp_path, scenes=1, colours=COLOURS)
    subject = Subject(size=SIZE, stride=SIZE[0] // GRID[0], chunk_frames=CHUNK)

    def make(name: str, truth: GroundTruth) -> Painter:
        return Painter(truth, said if hears else lambda caption: "green")

    told = evaluate_prompted(make, options, subject=subject)
    assert not told["failures"]
    share = told["accuracy"]
    assert (share["n"], share["chance"]) == (4, 0.25)
    assert share["share"] == (1 if hears else 0.25)
    assert share["low"] < share["share"] <= share["high"]
    assert told["picked"]["share"] == (1 if hears else 0)  # where all are equal none is picked
    if hears:
        assert told["hue"]["asked"]["mean"] < 0.03 < 0.1 < told["hue"]["others"]["mean"]
        assert told["kept_psnr"]["mean"] > told["changed_psnr"]["mean"] + 10
    else:
        assert all(row["green"] == 1 for row in told["answers"].values())
        assert told["kept_psnr"]["mean"] == told["changed_psnr"]["mean"] == 100
    assert "Colour of the next room's walls" in (tmp_path / "report.md").read_text()
    assert len(list(tmp_path.glob("scene-*/sheet.png"))) == 1


def test_every_lively_colour_is_told_from_every_other():
    scene = Scene.sample(3)
    walls = walls_of_next_room(scene)
    camera = turn_to_door(scene, 9)[-2:]
    wall = torch.isin(scene.render(camera, SIZE).surface, walls.int())
    colours = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
    true = {colour: repainted(scene, walls, colour).render(camera, SIZE).rgb for colour in colours}
    for colour in colours:
        dim = 0.6 * true[colour] + 0.1
        assert answer(wall_hues(dim, true, wall)) == colour
    grey = torch.full_like(true["red"], 0.4)
    assert answer(wall_hues(grey, true, wall)) == "grey"


def test_a_tint_is_picked_though_the_wall_keeps_its_colour():
    turns = {"red": {"red": 0.1, "blue": 0.3}, "blue": {"red": 0.2, "blue": 0.25}}  # both walls are reddish
    assert [answer(row) for row in turns.values()] == ["red", "red"]
    assert [nearest(turns, colour) for colour in turns] == ["red", "blue"]
    assert nearest({"red": {"red": 0.1}, "blue": {"red": 0.1}}, "red") is None
    assert nearest({"red": {"red": None}, "blue": {"red": 0.4}}, "red") == "blue"


def test_only_the_next_rooms_walls_change_in_the_prompt():
    caption = (
        "a room with pink striped walls and a blue floor; the next room has grey mottled walls, a teal floor; "
        "the next room has red walls; dim light"
    )
    assert prompt(caption, "green") == caption.replace("grey mottled walls", "green walls")
    with pytest.raises(InputError, match="no next room"):
        prompt("a street under a clear sky", "green")


def test_intervals_and_bad_requests(tmp_path):
    assert wilson(0, 10) == pytest.approx((0, 0.278), abs=1e-3)
    assert wilson(5, 10) == pytest.approx((0.237, 0.763), abs=1e-3)
    assert wilson(0, 0) == (None, None)
    requests: list[dict[str, Any]] = [{"scenes": 0}, {"seed": -1}, {"colours": ("red",)}, {"colours": ("red", "loud")}]
    for wrong in requests:
        with pytest.raises(InputError, match=r"an evaluation has|colours are"):
            PromptedOptions(out=tmp_path, **wrong)
