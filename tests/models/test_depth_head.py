"""The latent depth head: shapes, what it looks at, and that it can learn."""

import torch

from mirage.geometry.camera import Camera
from mirage.models.depth_head import LatentDepthHead, cell_slopes


def cameras(n: int) -> Camera:
    return Camera(torch.eye(4).expand(n, 4, 4), torch.tensor([0.8, 1.1, 0.5, 0.45]))


def test_it_is_half_a_million_weights_and_keeps_every_leading_axis() -> None:
    head = LatentDepthHead(channels=16)
    assert 450_000 < sum(weight.numel() for weight in head.parameters()) < 550_000
    latents = torch.randn(2, 3, 16, 11, 20)  # odd sizes: 44x80 halves twice to 11x20, and further
    rays = cell_slopes(cameras(1), (11, 20)).expand(2, 3, 2, 11, 20)
    single = torch.tensor([[True, False, False]] * 2)
    log_depth, valid = head(latents, rays, single)
    assert log_depth.shape == valid.shape == (2, 3, 11, 20)
    flat, _ = head(latents.flatten(0, 1), rays.flatten(0, 1), single.flatten())
    assert torch.equal(log_depth.flatten(0, 1), flat)


def test_depth_is_positive_and_told_by_latents_rays_and_flag() -> None:
    torch.manual_seed(0)
    head = LatentDepthHead(channels=4, hidden=16)
    latents, single = torch.randn(3, 4, 6, 8), torch.tensor([True, False, False])
    depth = head.depth(latents, cameras(3), single)
    assert depth.z.shape == depth.valid.shape == (3, 6, 8)
    assert (depth.z > 0).all()
    rays = cell_slopes(cameras(3), (6, 8))
    base, _ = head(latents, rays, single)
    for other in ((latents + 1, rays, single), (latents, rays * 2, single), (latents, rays, ~single)):
        assert not torch.allclose(head(*other)[0], base)


def test_slopes_are_the_directions_of_rays_in_the_cameras_own_axes() -> None:
    camera = cameras(2)
    _, directions = camera.rays((5, 7))  # the cameras stand unrotated, so world axes are theirs
    torch.testing.assert_close(cell_slopes(camera, (5, 7)), directions[..., :2].movedim(-1, -3))


def test_it_learns_a_depth_that_a_channel_holds() -> None:
    torch.manual_seed(0)
    head = LatentDepthHead(channels=4, hidden=16)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    rays, single = cell_slopes(cameras(8), (6, 8)), torch.zeros(8, dtype=torch.bool)
    losses = []
    for _ in range(60):
        latents = torch.randn(8, 4, 6, 8)
        log_depth, _ = head(latents, rays, single)
        loss = (log_depth - latents[:, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
