"""Real Kinect frames: depth, pose and intrinsics read with the right conventions carry one frame onto another.

7-Scenes, frames 4 and 60 apart: the depth of frame B takes each of its pixels to frame A; the colours found there
must match B far better than A as it stands does, by the factors measured when the data were chosen (8.0 against 19.8,
and 28.1 against 53.2 of 255). Read as world-to-camera the warp is worse than doing nothing.
"""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import grid_sample

from mirage.formats.cameras import load_cameras
from mirage.formats.depth import load_depth
from mirage.formats.image import load_image
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers

SIZE = (480, 640)


def errors(folder: Path, cameras: Camera, a: int, b: int, *, size: tuple[int, int] = SIZE) -> tuple[float, float]:
    """Mean absolute difference, of 255, between frame b and frame a: carried over, and as it stands. Frames by number;
    the depth map is used at `size`."""
    image_a, image_b = (load_image(folder / f"frame-{n:06d}.color.jpg") * 255 for n in (a, b))
    depth = load_depth(folder / f"frame-{b:06d}.depth.png", size=SIZE).resized(size)
    return compare(image_a, image_b, depth, cameras[a // 4], cameras[b // 4])


def compare(image_a: torch.Tensor, image_b: torch.Tensor, depth: DepthMap, a: Camera, b: Camera) -> tuple[float, float]:
    h, w = depth.z.shape[-2:]
    uv = cell_centers((h, w))
    points = b.unproject(uv, depth.z)[depth.valid]
    there, z = a.project(points)
    seen = (z > 0) & ((there > 0) & (there < 1)).all(-1)
    assert seen.float().mean() > 0.2
    here, there = uv[depth.valid][seen], there[seen]

    def colours(image: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return grid_sample(image[None], at[None, None] * 2 - 1, align_corners=False)[0, :, 0]

    target = colours(image_b, here)
    carried, still = colours(image_a, there) - target, colours(image_a, here) - target
    return carried.abs().mean().item(), still.abs().mean().item()


@pytest.mark.parametrize(("gap", "warped", "identity"), [(4, 8.0, 19.8), (60, 28.1, 53.2)])
def test_frames_carry_over(data_dir: Path, gap: int, warped: float, identity: float) -> None:
    folder = data_dir / "rgbd_7scenes"
    cameras = load_cameras(folder, dtype=torch.float32)
    pairs = [errors(folder, cameras, a, a + gap) for a in range(0, 420, 84)]
    carried, still = torch.tensor(pairs).mean(0).tolist()
    print(f"gap {gap}: carried {carried:.1f}, as it stands {still:.1f} (published with the data: {warped}, {identity})")
    assert carried / still < 1.15 * warped / identity


def test_read_the_wrong_way_it_is_worse_than_nothing(data_dir: Path) -> None:
    folder = data_dir / "rgbd_7scenes"
    right, wrong = (load_cameras(folder, said, dtype=torch.float32) for said in (None, "w2c"))
    worse = errors(folder, wrong, 0, 4)
    assert worse[0] > worse[1]
    assert errors(folder, right, 0, 4)[0] < 0.6 * worse[0]


def test_a_coarse_grid_carries_over_too(data_dir: Path) -> None:
    """The same cameras serve a 30 x 40 grid of the depth map: nothing is rescaled."""
    folder = data_dir / "rgbd_7scenes"
    carried, still = errors(folder, load_cameras(folder, dtype=torch.float32), 0, 4, size=(30, 40))
    assert carried < 0.6 * still


def test_tum_poses_and_pgm_depth(data_dir: Path) -> None:
    folder = data_dir / "rgbd_slambook/ch5"
    K = torch.tensor([[518.0, 0, 325.5], [0, 519.0, 253.5], [0, 0, 1]])
    intrinsics = Camera.from_pixels(torch.eye(4), K, SIZE, pixel_centers="integer").intrinsics
    cameras = load_cameras(folder / "pose.txt", intrinsics=intrinsics, dtype=torch.float32)
    pairs = []
    for i in range(4):
        a, b = (load_image(folder / f"color/{n + 1}.png") * 255 for n in (i, i + 1))
        depth = load_depth(folder / f"depth/{i + 2}.pgm")
        pairs.append(compare(a, b, depth, cameras[i], cameras[i + 1]))
    carried, still = torch.tensor(pairs).mean(0).tolist()
    print(f"slambook: carried {carried:.1f}, as it stands {still:.1f}")
    assert carried < 0.6 * still
