"""The policy "published" is the memory of the published code, its half cell included, said again here in pixels."""

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import orbit, pan
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.policy import PUBLISHED
from mirage.memory.references import known_points

H, W, STRIDE, C = 11, 20, 16, 5
CAMERA = Camera.looking(horizontal_fov=65, aspect=W / H)


def matrix(camera: Camera) -> Tensor:
    """K of the latent grid as the published code has it: that of the pixels, over the stride, no half cell anywhere."""
    fx, fy, cx, cy = camera.intrinsics.double().unbind(-1)
    pixels = torch.stack([fx * W * STRIDE, fy * H * STRIDE, cx * W * STRIDE, cy * H * STRIDE], -1)
    return pixels / STRIDE


def lifted(z: Tensor, camera: Camera) -> Tensor:
    """World points [h*w,3]: a cell's number taken for its coordinate."""
    fx, fy, cx, cy = matrix(camera)
    v, u = torch.meshgrid(torch.arange(H).double(), torch.arange(W).double(), indexing="ij")
    local = torch.stack([(u - cx) * z / fx, (v - cy) * z / fy, z.double()], -1).view(-1, 3)
    return local @ camera.c2w[:3, :3].double().T + camera.c2w[:3, 3].double()


def projected(points: Tensor, features: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Latents [C,h,w] and mask [h,w]: rounded to the nearest number of a cell, the nearest point wins."""
    fx, fy, cx, cy = matrix(camera)
    x, y, z = ((points - camera.c2w[:3, 3].double()) @ camera.c2w[:3, :3].double()).unbind(-1)
    column, row = (x * fx / z + cx).round().long(), (y * fy / z + cy).round().long()
    inside = (z > 0) & (column >= 0) & (column < W) & (row >= 0) & (row < H)
    latents, nearest = torch.zeros(C, H, W), torch.full((H, W), torch.inf).double()
    for i in inside.nonzero()[:, 0].tolist():
        if z[i] < nearest[row[i], column[i]]:
            nearest[row[i], column[i]], latents[:, row[i], column[i]] = z[i], features[i]
    return latents, nearest < torch.inf


def scene(seed: int = 0) -> tuple[Camera, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    path = orbit(CAMERA, 4, degrees=20)
    z = 2 + 2 * torch.rand(4, H, W, generator=generator)
    return path, z, torch.randn(4, C, H, W, generator=generator)


def test_the_published_policy_reads_what_the_published_code_reads() -> None:
    path, z, latents = scene()
    memory = LatentSpatialMemory(C, policy=PUBLISHED)
    assert memory.write(latents, DepthMap(z), path) == z.numel()
    points = torch.cat([lifted(z[t], path[t]) for t in range(4)])
    stored = memory.points.position.double().sum(0)  # in another order
    torch.testing.assert_close(stored, points.sum(0), rtol=1e-5, atol=1e-3)
    features = latents.permute(0, 2, 3, 1).reshape(-1, C)
    views = pan(CAMERA, 5, degrees=15)
    readout = memory.read(views, (H, W))
    for t in range(5):
        expected, known = projected(points, features, views[t])
        assert (readout.mask[t] == known).float().mean() > 0.995  # a rounding at a border may go either way
        assert (readout.latents[t] == expected).all(0).float().mean() > 0.99
    ours = LatentSpatialMemory(C, policy=MemoryPolicy(admit="all", features="float32", splat="cell", front=0.0))
    ours.write(latents, DepthMap(z), path)
    other = ours.read(views, (H, W))
    assert (other.latents == readout.latents).all(1).float().mean() < 0.9  # the half cell is no detail


def test_half_a_cell_off_a_wall_is_still_where_it_reads() -> None:
    """What is read at the writing camera is what was written, and offsets lead to the stored points."""
    memory = LatentSpatialMemory(C, policy=PUBLISHED)
    latents, depth = torch.randn(1, C, H, W), DepthMap(torch.full((1, H, W), 3.0))
    memory.write(latents, depth, CAMERA[None])
    readout = memory.read(CAMERA[None], (H, W))
    assert torch.equal(readout.latents, latents)
    torch.testing.assert_close(readout.offset, torch.full_like(readout.offset, -0.5), atol=1e-4, rtol=0)
    points = known_points(readout, CAMERA[None])
    torch.testing.assert_close(points, memory.points.position[readout.index.flatten()], atol=1e-5, rtol=1e-5)
