"""Estimators of other people see the camera that we have, and what they cut off comes back as a hole in its place.

Depth Anything 3 and MapAnything are stand-ins here, which answer as their published interfaces do: they render a tilted
plane through the very intrinsics that they say they looked through.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from helpers import views_of, walls
from mirage.depth.adapters.depth_anything_3 import DepthAnything3Depth
from mirage.depth.adapters.files import DepthFiles
from mirage.depth.adapters.map_anything import MapAnythingDepth
from mirage.depth.protocol import uncropped
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import dolly, orbit, pan

FRAMES, NUMBER = torch.rand(2, 3, 60, 90), torch.tensor([4, 8])
CAMERA = Camera(torch.eye(4).expand(2, 4, 4), torch.tensor([0.8, 1.2, 0.5, 0.5]))
NORMAL = torch.tensor([0.2, -0.3, 1.0])


def plane(k: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """z-depth [H,W] of the plane n.p = 2 through a pixel matrix [3,3]."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    ray = torch.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], torch.ones_like(x)], -1)
    return 2 / (ray @ NORMAL)


def truth(size: tuple[int, int]) -> torch.Tensor:
    return plane(CAMERA[0].pixel_matrix(size), size)


def cut(k: torch.Tensor, size: tuple[int, int], by: int) -> torch.Tensor:
    """The matrix after `by` pixels went at the left and at the top."""
    k = k.clone()
    k[:2, 2] -= by
    return k


def test_a_crop_comes_back_where_it_was() -> None:
    k = cut(CAMERA[0].pixel_matrix((60, 90)), (60, 90), 9)
    seen = torch.tensor([k[0, 0] / 72, k[1, 1] / 42, k[0, 2] / 72, k[1, 2] / 42]).expand(2, 4)
    depth = uncropped(DepthMap(plane(k, (42, 72)).expand(2, 42, 72)), seen, CAMERA)
    assert depth.shape == (2, 60, 90)
    inside = torch.zeros(60, 90, dtype=torch.bool)
    inside[9:51, 9:81] = True
    assert torch.equal(depth.valid[0], inside)
    torch.testing.assert_close(depth.z[0][inside], truth((60, 90))[inside])
    with pytest.raises(InputError, match="are of no part of the camera"):
        uncropped(walls(2, (4, 4), 1.0), CAMERA.intrinsics.expand(2, 4) / 2, CAMERA)


class GeometryException(Exception):
    pass


class FakeDA3:
    """Resizes to 56x84; says the depth of its plane and the intrinsics it saw it through. Given cameras it aligns
    places that it finds itself to theirs, as the published class does by evo's Umeyama, which refuses lines."""

    def __init__(self, *, encodes=True, found=None):
        self.model = SimpleNamespace(cam_enc=object() if encodes else None)
        self.found, self.asked = found, []

    def inference(self, image, extrinsics=None, intrinsics=None, process_res_method="upper_bound_resize"):
        assert process_res_method == "upper_bound_resize"
        assert all(one.dtype == np.uint8 and one.shape == (60, 90, 3) for one in image)
        assert (extrinsics is None) == (intrinsics is None)
        self.asked.append(extrinsics is not None)
        if extrinsics is not None:
            if self.model.cam_enc is None:
                raise TypeError("'NoneType' object is not callable")
            places = -np.einsum("tji,tj->ti", extrinsics[:, :3, :3], extrinsics[:, :3, 3])
            places = places - places.mean(0)
            mine = places if self.found is None else self.found - self.found.mean(0)
            spread = np.linalg.svd(places.T.astype(float) @ mine / len(places))[1]
            if np.count_nonzero(spread > np.finfo(float).eps) < 2:
                raise GeometryException("Degenerate covariance rank, Umeyama alignment is not possible")
        k = torch.tensor([[0.8 * 84, 0, 42], [0, 1.2 * 56, 28], [0, 0, 1]])
        depth = plane(k, (56, 84)).expand(len(image), 56, 84).numpy()
        told = None
        if intrinsics is not None:
            scale = np.array([84 / 90, 56 / 60, 1])[:, None]
            told = intrinsics * scale
            assert np.allclose(told[0], k, atol=1e-4)
        return SimpleNamespace(depth=depth.copy(), intrinsics=told)


@pytest.mark.parametrize("count", [1, 2])
def test_depth_anything_3(count) -> None:
    depth = DepthAnything3Depth(FakeDA3())(views_of(FRAMES[:count], CAMERA[:count], NUMBER[:count]))
    assert depth.valid.all()
    torch.testing.assert_close(depth.z[0], truth((56, 84)), rtol=1e-4, atol=1e-4)
    canonical = DepthAnything3Depth(FakeDA3(), canonical=True)(views_of(FRAMES[:count], CAMERA[:count], NUMBER[:count]))
    focal = (0.8 * 84 + 1.2 * 56) / 2
    torch.testing.assert_close(canonical.z, depth.z * focal / 300)


WAYS = {
    "dolly": dolly(CAMERA[0], 9, distance=2.0),
    "pan": pan(CAMERA[0], 9, degrees=40),
    "two views": orbit(CAMERA[0], 9, degrees=40)[[0, 8]],
    "a line, turning": Camera(pan(CAMERA[0], 9, degrees=40).c2w + dolly(CAMERA[0], 9, distance=2.0).c2w
                              - CAMERA[0].c2w, CAMERA[0].intrinsics),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_depth_anything_3_is_given_no_poses_that_it_refuses(way) -> None:
    """Straight paths, turns on the spot and two views have no places to align by."""
    path = WAYS[way]
    model = FakeDA3()
    DepthAnything3Depth(model)(views_of(torch.rand(len(path), 3, 60, 90), path, torch.arange(len(path))))
    assert model.asked == [False]


def test_depth_anything_3_is_given_poses_that_span_a_plane_unless_its_network_takes_none() -> None:
    path = orbit(CAMERA[0], 9, degrees=40)
    views = views_of(torch.rand(9, 3, 60, 90), path, torch.arange(9))
    model = FakeDA3()
    DepthAnything3Depth(model)(views)
    assert model.asked == [True]
    mono = FakeDA3(encodes=False)
    DepthAnything3Depth(mono, posed=False)(views)
    assert mono.asked == [False]
    lost = FakeDA3(found=np.outer(np.arange(9.0), np.ones(3)))  # places that the network finds, on a line
    DepthAnything3Depth(lost)(views)
    assert lost.asked == [True, False]


REAL = {name: path[:: max(1, len(path) // 3)] for name, path in {**WAYS, "an orbit": orbit(CAMERA[0], 9)}.items()}


@pytest.mark.slow
@pytest.mark.parametrize("way", REAL)
@pytest.mark.parametrize("network", ["small", "metric"])
def test_the_real_class_takes_every_way(way, network, tmp_path) -> None:
    """Random weights; the published metric network is large, so a small one of its kind stands in its place."""
    api = pytest.importorskip("depth_anything_3.api", exc_type=ImportError)
    from depth_anything_3.model.da3 import DepthAnything3Net  # pyright: ignore[reportMissingImports]
    from depth_anything_3.model.dinov2.dinov2 import DinoV2  # pyright: ignore[reportMissingImports]
    from depth_anything_3.model.dpt import DPT  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    model = api.DepthAnything3("da3-small")
    if network == "small":
        model.save_pretrained(tmp_path)
        estimator = DepthAnything3Depth.load(str(tmp_path))
    else:
        net = DinoV2("vits", [5, 7, 9, 11], alt_start=-1, qknorm_start=-1, rope_start=-1, cat_token=False)
        head = DPT(384, features=64, out_channels=(48, 96, 192, 384))
        model.model = DepthAnything3Net(net, head).eval()
        estimator = DepthAnything3Depth(model, canonical=True, posed=False)
    assert estimator.posed == (network == "small")
    path = REAL[way]
    count = len(path)
    depth = estimator(views_of(torch.rand(count, 3, 60, 90), path, torch.arange(count)))
    assert len(depth.z) == count
    assert bool(depth.valid.any())
    assert depth.z[depth.valid].isfinite().all()


class FakeMapAnything:
    """What `preprocess` below makes of a view is what it sees; one pixel of each is not trusted."""

    def infer(self, views, apply_mask):
        assert apply_mask
        told = []
        for view in views:
            z = plane(view["intrinsics"], tuple(view["img"].shape[:2]))
            mask = torch.ones(z.shape, dtype=torch.bool)
            mask[0, 0] = False
            told.append({"depth_z": z[None, ..., None], "mask": mask[None, ..., None]})
        return told


def preprocess(views):
    """Cuts 8 pixels at each side, as a crop to a multiple of the patch does."""
    assert all(view["img"].shape == (60, 90, 3) and view["camera_poses"].shape == (4, 4) for view in views)
    return [{**view, "img": view["img"][8:-8, 8:-8], "intrinsics": cut(view["intrinsics"], (60, 90), 8)}
            for view in views]  # fmt: skip


def test_map_anything_crops_and_the_crop_is_honoured() -> None:
    depth = MapAnythingDepth(FakeMapAnything(), preprocess)(views_of(FRAMES, CAMERA, NUMBER))
    assert depth.shape == (2, 60, 90)
    assert not depth.valid[:, 8, 8].any()
    assert int(depth.valid[0].sum()) == 44 * 74 - 1
    torch.testing.assert_close(depth.z[0][depth.valid[0]], truth((60, 90))[depth.valid[0]])


def test_a_package_that_is_not_there_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "depth_anything_3", None)
    monkeypatch.setitem(sys.modules, "mapanything", None)
    with pytest.raises(InputError, match="da3 needs the package depth_anything_3"):
        DepthAnything3Depth.load()
    with pytest.raises(InputError, match="mapanything needs the package mapanything"):
        MapAnythingDepth.load()


def test_packages_are_asked_for_what_they_publish(monkeypatch) -> None:
    asked = []

    class Published(FakeDA3):
        model_name = ""

        @classmethod
        def from_pretrained(cls, name):
            asked.append(name)
            found = cls(encodes="metric" not in name)
            found.model_name = "da3metric-large" if "metric" in name else "da3nested-giant-large"
            return found

        def to(self, device):
            asked.append(device)
            return self

    api = ModuleType("depth_anything_3.api")
    api.DepthAnything3 = Published  # pyright: ignore
    monkeypatch.setitem(sys.modules, "depth_anything_3", ModuleType("depth_anything_3"))
    monkeypatch.setitem(sys.modules, "depth_anything_3.api", api)
    metric, nested = (
        DepthAnything3Depth.load("a folder with the metric network", device="cpu"),
        DepthAnything3Depth.load(),
    )
    assert (metric.canonical, metric.posed, nested.canonical, nested.posed) == (True, False, False, True)
    assert asked[:2] == ["a folder with the metric network", "cpu"]


def test_maps_from_files_belong_to_frames_by_number(tmp_path) -> None:
    maps = (torch.arange(9.0) + 1)[:, None, None].expand(9, 6, 9).clone()
    maps[8, 0, 0] = torch.nan
    np.savez(tmp_path / "maps.npz", depth=maps.numpy())
    np.savez(tmp_path / "geometry.npz", depths=maps.numpy(), poses_c2w=np.eye(4)[None].repeat(9, 0))
    folder = tmp_path / "folder"
    folder.mkdir()
    for n, one in enumerate(maps):
        np.save(folder / f"{n:04}.npy", one.numpy())
    for source in (tmp_path / "maps.npz", tmp_path / "geometry.npz", folder):
        depth = DepthFiles(source)(views_of(FRAMES, CAMERA, NUMBER))
        assert depth.z[0].unique().tolist() == [5.0]
        assert not depth.valid[1, 0, 0]
        with pytest.raises(InputError, match="has 9 depth maps; the walk needs one of frame 9"):
            DepthFiles(source)(views_of(FRAMES, CAMERA, torch.tensor([8, 9])))
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", poses=np.eye(4))
    for wrong in ("empty", "other.npz", "nothing"):
        with pytest.raises(InputError, match="accepted: a folder of depth maps"):
            DepthFiles(tmp_path / wrong)
