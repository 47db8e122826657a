"""The next room: seen late, walked into without a bump, and painted alone."""

import pytest
import torch

from mirage.errors import InputError
from mirage.scenes import Scene
from mirage.scenes.doors import has_door, repainted, through_door, turn_to_door, walls_of_next_room

SIZE = (24, 32)
SEEDS = [seed for seed in range(12) if has_door(Scene.sample(seed))]


def walls_seen(scene: Scene, camera) -> torch.Tensor:
    """Share of each picture that shows the next room's walls: [F]."""
    surface = scene.render(camera, SIZE).surface
    return torch.isin(surface, walls_of_next_room(scene).int()).float().mean(dim=(1, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_room_is_hidden_and_then_seen(seed):
    scene = Scene.sample(seed)
    seen = walls_seen(scene, turn_to_door(scene, 5))
    assert seen[0] == 0
    assert seen[-1] > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_way_through_the_door_is_free(seed):
    scene = Scene.sample(seed)
    for camera in (through_door(scene, 33), turn_to_door(scene, 33)):
        center = camera.center[:, None]
        gap = torch.maximum(scene.boxes[:, 0] - center, center - scene.boxes[:, 1]).clamp(min=0)
        assert gap.norm(dim=-1).min() > 0.3
    ends = through_door(scene, 33).center[[0, -1]]
    for room, end in zip(scene.areas, ends, strict=False):
        assert room[0] < end[0] < room[2]
        assert room[1] < end[2] < room[3]


def test_paint_changes_the_walls_and_nothing_else():
    scene = Scene.sample(SEEDS[0])
    camera, walls = turn_to_door(scene, 5)[-1:], walls_of_next_room(scene)
    before, red = scene.render(camera, (96, 128)), repainted(scene, walls, "red").render(camera, (96, 128))
    assert torch.equal(before.surface, red.surface)
    wall = torch.isin(before.surface[0], walls.int())
    inner = torch.nn.functional.max_pool2d((~wall)[None].float(), 3, 1, 1)[0] == 0  # edges are mixtures
    other = torch.nn.functional.max_pool2d(wall[None].float(), 3, 1, 1)[0] == 0
    assert torch.equal(before.rgb[0][:, other], red.rgb[0][:, other])
    painted = red.rgb[0][:, inner]
    assert ((painted[0] > painted[1]) & (painted[0] > painted[2])).all()


def test_where_there_is_no_door_it_is_said():
    street = next(Scene.sample(seed) for seed in range(40) if Scene.sample(seed).caption.startswith("a street"))
    for make in (through_door, turn_to_door, walls_of_next_room):
        with pytest.raises(InputError, match="no door"):
            make(street)
    with pytest.raises(InputError, match="a colour is one of"):
        repainted(street, torch.tensor([0]), "loud")
