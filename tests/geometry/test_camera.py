"""Cameras: a law for every convention of docs/conventions.md."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from helpers import refusal
from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera, check_cameras
from mirage.geometry.grid import cell_centers

angles = st.floats(-60, 60)
sizes = st.tuples(st.integers(2, 40), st.integers(2, 40))
seeds = st.integers(0, 10_000)


def some_camera(seed, *, lead=()):
    """A random but reasonable camera, in float64."""
    generator = torch.Generator().manual_seed(seed)
    rotation = pose.exp_rotation(torch.randn(*lead, 3, generator=generator, dtype=torch.float64))
    center = torch.randn(*lead, 3, generator=generator, dtype=torch.float64)
    focal = 0.5 + torch.rand(*lead, 2, generator=generator, dtype=torch.float64)
    middle = 0.4 + 0.2 * torch.rand(*lead, 2, generator=generator, dtype=torch.float64)
    return Camera(pose.make_pose(rotation, center), torch.cat([focal, middle], dim=-1))


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.sampled_from([(), (3,), (2, 3)]))
def test_project_undoes_unproject_over_any_leading_axes(seed, size, lead):
    camera = some_camera(seed, lead=lead)
    uv = cell_centers(size, dtype=torch.float64).flatten(0, 1).expand(*lead, -1, 2)
    z = 0.5 + torch.rand(uv.shape[:-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, depth = camera.project(camera.unproject(uv, z))
    torch.testing.assert_close(found, uv)
    torch.testing.assert_close(depth, z)


@settings(max_examples=30, deadline=None)
@given(seeds, sizes)
def test_rays_reach_what_unproject_reaches(seed, size):
    camera = some_camera(seed, lead=(2,))
    z = 0.5 + torch.rand(2, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    origin, direction = camera.rays(size)
    uv = cell_centers(size, dtype=torch.float64).expand(2, *size, 2)
    torch.testing.assert_close(origin[:, None, None] + z[..., None] * direction, camera.unproject(uv, z))


@pytest.mark.parametrize(("coarse", "fine"), [((11, 20), (176, 320)), ((44, 80), (704, 1280))])
def test_two_resolutions_agree_on_where_a_point_is(coarse, fine):
    """A latent cell's centre is the mean of its pixels' centres: half a cell off would be a miss of 8 pixels."""
    camera, stride = some_camera(3), fine[0] // coarse[0]
    points = [
        camera.unproject(cell_centers(size, dtype=torch.float64), torch.full(size, 2.0, dtype=torch.float64))
        for size in (coarse, fine)
    ]
    blocks = points[1].unflatten(0, (coarse[0], stride)).unflatten(2, (coarse[1], stride)).mean((1, 3))
    torch.testing.assert_close(points[0], blocks)


@settings(max_examples=40, deadline=None)
@given(angles, angles, angles)
def test_a_plane_is_seen_where_geometry_says(yaw, pitch, roll):
    """The plane z = 5 in the world, from a turned and moved camera: every cell's ray meets it at a depth that, lifted,
    lies on the plane, and seen from the first camera falls where the homography of the plane puts it."""
    first = Camera(torch.eye(4, dtype=torch.float64), torch.tensor([0.8, 1.1, 0.5, 0.5], dtype=torch.float64))
    turn = (
        pose.rotation_about("y", yaw / 3, dtype=torch.float64)
        @ pose.rotation_about("x", pitch / 3, dtype=torch.float64)
        @ pose.rotation_about("z", roll, dtype=torch.float64)
    )
    moved = Camera(pose.make_pose(turn, torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64)), first.intrinsics)
    origin, direction = moved.rays((9, 12))
    z = (5 - origin[2]) / direction[..., 2]
    points = moved.unproject(cell_centers((9, 12), dtype=torch.float64), z)
    torch.testing.assert_close(points[..., 2], torch.full((9, 12), 5.0, dtype=torch.float64))
    uv, depth = first.project(points.flatten(0, 1))
    # the homography of the plane, from pixel matrices of a 90 x 120 image: another road to the same place
    K = first.pixel_matrix((90, 120))
    relative = moved.w2c
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    homography = K @ (relative[:3, :3] + torch.outer(relative[:3, 3], normal) / 5) @ torch.linalg.inv(K)
    pixels = torch.cat(
        [uv * torch.tensor([120.0, 90.0], dtype=torch.float64), torch.ones(108, 1, dtype=torch.float64)], 1
    )
    mapped = pixels @ homography.T
    expected = cell_centers((9, 12), dtype=torch.float64).flatten(0, 1) * torch.tensor(
        [120.0, 90.0], dtype=torch.float64
    )
    torch.testing.assert_close(mapped[:, :2] / mapped[:, 2:], expected, atol=1e-6, rtol=0)
    assert (depth > 0).all()


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.6, 1), st.floats(0.6, 1))
def test_a_crop_sees_the_same_world(seed, left, top, right, bottom):
    camera = some_camera(seed)
    uv = cell_centers((5, 7), dtype=torch.float64).flatten(0, 1)
    z = torch.full((35,), 3.0, dtype=torch.float64)
    inside = uv * uv.new_tensor([right - left, bottom - top]) + uv.new_tensor([left, top])
    torch.testing.assert_close(camera.cropped(left, top, right, bottom).unproject(uv, z), camera.unproject(inside, z))


@pytest.mark.parametrize("centers", ["half", "integer"])
def test_pixel_matrices_come_back(centers):
    camera = some_camera(1, lead=(4,))
    K = camera.pixel_matrix((480, 640), pixel_centers=centers)
    again = Camera.from_pixels(camera.c2w, K, (480, 640), pixel_centers=centers)
    torch.testing.assert_close(again.intrinsics, camera.intrinsics)


def test_the_two_pixel_conventions_differ_by_half_a_pixel():
    camera = Camera.looking(horizontal_fov=90.0, aspect=4 / 3)
    half, integer = (camera.pixel_matrix((480, 640), pixel_centers=c) for c in ("half", "integer"))
    assert half[0, 2] == 320
    assert integer[0, 2] == 319.5
    assert half[0, 0] == pytest.approx(320)


def test_axes_are_those_of_opencv():
    camera = Camera.looking()
    ahead = torch.tensor([[0.0, 0.0, 2.0], [0.5, 0.0, 2.0], [0.0, 0.5, 2.0]])
    uv, z = camera.project(ahead)
    assert (z == 2).all()
    assert uv[1, 0] > uv[0, 0]  # x is right
    assert uv[2, 1] > uv[0, 1]  # y is down
    assert camera.project(torch.tensor([[0.0, 0.0, -1.0]]))[1] < 0  # behind


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_relative_to_makes_the_reference_the_origin_and_keeps_distances(seed):
    path = some_camera(seed, lead=(5,))
    relative = path.relative_to(path[2])
    torch.testing.assert_close(relative.c2w[2], torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(torch.cdist(relative.center, relative.center), torch.cdist(path.center, path.center))


def test_indexing_and_joining_are_those_of_arrays():
    path = some_camera(0, lead=(6,))
    assert len(path) == 6
    assert path[2].shape == torch.Size([])
    assert path[1:4].shape == torch.Size([3])
    joined = Camera.concatenate([path[:2], path[2:]])
    assert torch.equal(joined.c2w, path.c2w)
    with pytest.raises(TypeError):
        len(path[0])


def broken(what):
    camera = some_camera(0, lead=(4,))
    c2w, intrinsics = camera.c2w.clone(), camera.intrinsics.clone()
    match what:
        case "nan":
            c2w[2, 0, 3] = float("nan")
        case "mirror":
            c2w[2, :3, 0] *= -1
        case "scale":
            c2w[2, :3, :3] *= 1.1
        case "focal":
            intrinsics[2, 0] = 0
    return Camera(c2w, intrinsics)


@pytest.mark.parametrize(
    ("what", "words"), [("nan", "NaN"), ("mirror", "rotation"), ("scale", "rotation"), ("focal", "focal")]
)
def test_wrong_cameras_are_refused_by_frame(what, words):
    with pytest.raises(InputError, match=rf"frame 2 .*{words}"):
        check_cameras(broken(what))


def test_rounded_rotations_are_mended():
    camera = some_camera(0, lead=(4,))
    rounded = Camera((camera.c2w * 1e4).round() / 1e4, camera.intrinsics)
    mended = check_cameras(rounded)
    rotation = mended.c2w[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert (mended.c2w - camera.c2w).abs().max() < 1e-3


@pytest.mark.parametrize("bad", [
    lambda: Camera(torch.eye(3), torch.ones(4)),
    lambda: Camera(torch.eye(4), torch.ones(3)),
    lambda: Camera(torch.eye(4, dtype=torch.bool), torch.ones(4)),
    lambda: Camera.looking().cropped(0.5, 0, 0.5, 1),
    lambda: Camera.from_pixels(torch.eye(4), torch.tensor([[1.0, 0.3, 0], [0, 1, 0], [0, 0, 1]]), (4, 4)),
])  # fmt: skip
def test_nonsense_is_refused_in_one_line(bad):
    refusal(bad)


FORMS = {
    "tensor": lambda h, w: torch.zeros(3, h, w),
    "batch": lambda h, w: torch.zeros(2, 3, h, w),
    "array": lambda h, w: np.zeros((h, w, 3), dtype=np.uint8),
    "grey": lambda h, w: np.zeros((h, w)),
    "pillow": lambda h, w: Image.new("RGB", (w, h)),
    "size": lambda h, w: (h, w),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(40, 60), (60, 40), (33, 33)])
def test_the_camera_of_a_picture_has_square_pixels(form, size):
    image, (height, width) = FORMS[form](*size), size
    for options in ({}, {"fov": 50}, {"focal_mm": 26}):
        fx, fy, cx, cy = Camera.for_image(image, **options).intrinsics.tolist()
        assert fx * width == pytest.approx(fy * height, rel=1e-5)
        assert (cx, cy) == (0.5, 0.5)
    longer = max(size) / min(size)
    fx, fy = Camera.for_image(image).intrinsics[:2].tolist()
    assert min(fx, fy) == pytest.approx(0.5 / math.tan(math.radians(32.5)), rel=1e-5)  # 65 degrees on the longer side
    assert max(fx, fy) == pytest.approx(min(fx, fy) * longer, rel=1e-5)
    K = torch.tensor([[50.0, 0, 20], [0, 55, 25], [0, 0, 1]])
    for matrix in (K, K.numpy(), K.tolist()):
        assert_close(Camera.for_image(image, K=matrix).pixel_matrix(size), K)


def test_26_millimetres_are_69_degrees_on_film():
    fx = Camera.for_image((24, 36), focal_mm=26).intrinsics[0].item()
    assert 2 * math.degrees(math.atan(0.5 / fx)) == pytest.approx(69.39, abs=0.01)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        ((40, 60), {"fov": 50, "focal_mm": 26}, "got fov and focal_mm"),
        ((40, 60), {"fov": 0}, "field of view"),
        ((40, 60), {"fov": 200}, "field of view"),
        ((40, 60), {"fov": float("nan")}, "field of view"),
        ((40, 60), {"fov": "wide"}, "field of view"),
        ((40, 60), {"focal_mm": -26}, "focal length"),
        ((40, 60), {"K": torch.eye(4)}, "pixel matrix"),
        ((40, 60), {"K": [[0.8, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]}, "fractions"),
        ((40, 60), {"K": "K"}, "pixel matrix"),
        ((0, 60), {}, "pixels"),
        ("picture.jpg", {}, "type str"),
        (None, {}, "NoneType"),
        (torch.zeros(3), {}, "shape"),
    ],
)
def test_a_camera_of_no_picture_is_refused(image, options, words):
    with pytest.raises(InputError, match=words):
        Camera.for_image(image, **options)
