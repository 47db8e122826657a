"""What moves stays out of the memory, what stands still gets in."""

import pytest
import torch
from einops import reduce

from helpers import walls
from mirage.depth.static import cells, static
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import dolly
from mirage.memory import LatentSpatialMemory
from mirage.scenes import Scene
from mirage.scenes.kinds import KINDS

GRID = (24, 32)
CAMERA = Camera.looking(horizontal_fov=65, aspect=4 / 3)


def passing_box(*, frames: int = 6) -> tuple[torch.Tensor, DepthMap, torch.Tensor]:
    """A patterned wall 4 away; before it, 2 away, a box of another colour moves by three cells a frame."""
    pattern = 0.3 * torch.rand(3, *GRID, generator=torch.Generator().manual_seed(0))
    latents, z = pattern.repeat(frames, 1, 1, 1), torch.full((frames, *GRID), 4.0)
    moves = torch.zeros(frames, *GRID, dtype=torch.bool)
    for t in range(frames):
        moves[t, 8:14, 3 + 3 * t : 8 + 3 * t] = True
    latents = torch.where(moves[:, None], torch.tensor([1.0, 0.2, 0.8]).view(3, 1, 1), latents)
    return latents, DepthMap(torch.where(moves, 2.0, z)), moves


def test_a_passing_box_is_kept_out_and_leaves_no_ghost():
    latents, depth, moves = passing_box()
    camera = Camera.concatenate([CAMERA[None]] * len(latents))
    keep = static(latents, depth, camera)
    assert not (keep & moves).any()
    assert (keep & ~moves).sum() > 0.97 * (~moves).sum()
    memory = LatentSpatialMemory(3)
    memory.write(latents, depth, camera, keep=keep)
    back = memory.read(CAMERA[None], GRID)
    assert (back.depth.z[back.mask] > 3.9).all()
    assert back.mask.float().mean() > 0.95


def test_what_earlier_frames_saw_behind_it_gives_a_still_frame_away():
    latents, depth, moves = passing_box(frames=1)
    assert static(latents, depth, CAMERA[None]).all()  # nothing to compare with
    empty = 0.3 * torch.rand(3, *GRID, generator=torch.Generator().manual_seed(0))[None]
    past = empty.repeat(2, 1, 1, 1), walls(2, GRID, 4.0), Camera.concatenate([CAMERA[None]] * 2)
    keep = static(latents, depth, CAMERA[None], past=past)
    assert not (keep & moves).any()
    assert keep.sum() > 0.97 * (~moves).sum()


def test_a_still_room_enters_whole_and_its_sky_does_not():
    camera = dolly(CAMERA, 4, distance=0.5)
    sky = torch.zeros(4, *GRID, dtype=torch.bool)
    sky[:, :4] = True
    origin, direction = camera.rays(GRID)
    wall = (4 - origin[:, None, None, 2]) / direction[..., 2]
    points = origin[:, None, None] + wall[..., None] * direction
    latents = torch.stack([torch.sin(points[..., 0]), torch.cos(points[..., 1]), points[..., 0] / 3], dim=1)
    keep = static(latents, DepthMap(wall, ~sky), camera)
    assert torch.equal(keep, ~sky)


def test_a_mask_from_outside_is_obeyed():
    latents, depth, moves = passing_box(frames=1)
    assert torch.equal(static(latents, depth, CAMERA[None], moving=moves) & moves, torch.zeros_like(moves))
    with pytest.raises(InputError, match="moving"):
        static(latents, depth, CAMERA[None], moving=moves[:, :5])


def test_a_mask_of_pixels_holds_for_every_cell_and_latent_that_it_touches():
    mask = torch.zeros(8, 48, 64)
    mask[5, 10, 7] = 255
    found = cells(mask, GRID)
    assert found.shape == (2, *GRID)
    assert found.nonzero().tolist() == [[1, 5, 3]]
    with pytest.raises(InputError, match="4T"):
        cells(mask[:7], GRID)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_moving_boxes_of_held_out_worlds_are_kept_out_and_leave_no_ghost(noise):
    """Worlds on which nothing was chosen; the autoencoder's latents and more worlds: benchmarks/static.py."""
    found = lost = moving = still = ghosts = unfiltered = 0
    for seed in (301, 309, 318):
        scene, generator = Scene.sample(seed, moving=True), torch.Generator().manual_seed(seed)
        camera, time = scene.path(KINDS[seed % 6], 97, seed=seed)[::4], torch.arange(0, 97, 4.0)
        view = scene.render(camera, (96, 128), time=time)
        latents = reduce(view.rgb, "t c (h a) (w b) -> t c h w", "mean", h=GRID[0], w=GRID[1])
        share = reduce(view.moving.float(), "t (h a) (w b) -> t h w", "mean", h=GRID[0], w=GRID[1])
        true = view.depth.resized(GRID)
        each = 1 + noise * torch.randn(len(share), 1, 1, generator=generator)
        depth = DepthMap(true.z * each * (1 + noise / 2 * torch.randn(true.shape, generator=generator)), true.valid)
        memories = LatentSpatialMemory(1), LatentSpatialMemory(1)
        for part in (slice(0, 9), slice(9, 17), slice(17, 25)):
            past = (latents[: part.start], depth[: part.start], camera[: part.start]) if part.start else None
            seen = [memory.read(camera[part], GRID) for memory in memories]
            keep = static(latents[part], depth[part], camera[part], past=past)
            memories[0].write(share[part, None], depth[part], camera[part], keep=keep)
            memories[1].write(share[part, None], depth[part], camera[part])
            moves, stands = (share[part] >= 0.5) & depth.valid[part], (share[part] == 0) & depth.valid[part]
            found, moving = found + int((moves & ~keep).sum()), moving + int(moves.sum())
            lost, still = lost + int((stands & ~keep).sum()), still + int(stands.sum())
            ghost, plain = (
                int((told.mask & (told.latents[:, 0] >= 0.5) & ((told.depth.z / true.z[part] - 1).abs() > 0.1)).sum())
                for told in seen
            )
            ghosts, unfiltered = ghosts + ghost, unfiltered + plain
    assert found >= 0.9 * moving
    assert lost <= 0.05 * still
    assert ghosts < unfiltered / 10
