"""The metrics against definitions and against scikit-image and scipy, which know nothing of ours."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mirage.errors import InputError
from mirage.evaluation.lpips import Lpips
from mirage.evaluation.metrics import (
    PSNR_LIMIT,
    SsimWindow,
    depth_errors,
    frechet_distance,
    hue_distance,
    pose_errors,
    psnr,
    ssim,
    ssim_by_convention,
)
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import make_pose, rotation_about
from mirage.geometry.trajectory import orbit


def pair(
    seed: int = 0, size: tuple[int, int] = (40, 56), lead: tuple[int, ...] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*lead, 3, size[0] // 8, size[1] // 8, generator=generator)
    image = coarse.repeat_interleave(8, -1).repeat_interleave(8, -2)
    return image, (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


@given(seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_psnr_and_ssim_are_scikit_images(seed: int) -> None:
    image, noisy = pair(seed)
    a, b = image.double().numpy(), noisy.double().numpy()
    assert psnr(noisy, image).item() == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)
    windows: dict[SsimWindow, dict[str, Any]] = {
        "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
        "uniform": {},
    }
    for window, options in windows.items():
        expected = structural_similarity(a, b, channel_axis=0, data_range=1, **options)
        assert ssim(noisy, image, window=window).item() == pytest.approx(expected, abs=1e-5)


def test_conventions_differ_and_the_first_is_ours() -> None:
    image, noisy = pair(1, (128, 160))
    scores = ssim_by_convention(noisy, image)
    assert scores["gaussian"].item() == ssim(noisy, image).item()
    values = [score.item() for score in scores.values()]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 0.005


def test_scores_keep_leading_axes_and_equal_images_are_finite() -> None:
    image, noisy = pair(2, lead=(2, 3))
    assert psnr(noisy, image).shape == ssim(noisy, image).shape == hue_distance(noisy, image).shape == (2, 3)
    assert psnr(noisy, image)[1, 2].item() == psnr(noisy[1, 2], image[1, 2]).item()
    assert (psnr(image, image) == PSNR_LIMIT).all()
    assert torch.allclose(ssim(image, image), torch.ones(2, 3))


def test_masked_psnr_sees_only_the_mask() -> None:
    image, noisy = pair(3)
    mask = torch.zeros(image.shape[-2:], dtype=torch.bool)
    mask[:20] = True
    half = noisy.clone()
    half[:, 20:] = 0
    assert psnr(half, image, mask=mask).item() == pytest.approx(psnr(noisy[:, :20], image[:, :20]).item(), abs=1e-4)
    assert math.isnan(psnr(half, image, mask=torch.zeros_like(mask)).item())
    inner = torch.zeros_like(mask)
    inner[5:15, 5:-5] = True  # the windows that a crop of the upper half has inside
    assert ssim(half, image, mask=inner).item() == pytest.approx(ssim(noisy[:, :20], image[:, :20]).item(), abs=1e-5)


def test_refusals_say_what_was_got() -> None:
    image, noisy = pair()
    with pytest.raises(InputError, match=r"\[3, 39, 56\]"):
        psnr(image[:, 1:], noisy)
    with pytest.raises(InputError, match="floating point"):
        psnr(image.byte(), noisy.byte())
    with pytest.raises(InputError, match="11x11"):
        ssim(image[:, :8], noisy[:, :8])


def test_hue_turned_by_a_third_is_a_third_of_a_turn() -> None:
    image, _ = pair(4)
    vivid = (image - image.amin(0)) / (image.amax(0) - image.amin(0))
    assert hue_distance(vivid, vivid).item() == 0
    red = torch.zeros(3, 4, 4)
    red[0] = 1
    assert hue_distance(red.roll(1, 0), red).item() == pytest.approx(1 / 3)
    assert hue_distance(red.roll(2, 0), red).item() == pytest.approx(1 / 3)
    assert math.isnan(hue_distance(torch.full((3, 4, 4), 0.5), red).item())
    assert hue_distance(0.5 * red, red).item() == 0  # brightness is no hue


def test_frechet_distance_against_scipy_and_of_shifted_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(300, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    b = torch.randn(200, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 0.5
    m1, m2, s1, s2 = a.double().mean(0), b.double().mean(0), np.cov(a.double().T), np.cov(b.double().T)
    expected = float((m1 - m2).square().sum()) + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 3) == pytest.approx(6 * 9, rel=1e-6)


def test_pose_errors_of_known_differences() -> None:
    true = orbit(Camera.looking(), 9, degrees=50)
    zero = pose_errors(true, true)
    assert max(zero.rotation, zero.translation_rel, zero.cammc_rel, zero.translation_abs, zero.cammc_abs) < 1e-5
    # Scaled: nothing by its own extent, half an extent by the true one's.
    farther = 1.5 * (true.center - true.center[0]) + true.center[0]
    scaled = Camera(make_pose(true.c2w[:, :3, :3], farther), true.intrinsics)
    errors = pose_errors(scaled, true)
    assert errors.translation_rel == pytest.approx(0, abs=1e-5)
    extent = (true.center - true.center[0]).norm(dim=-1)
    assert errors.translation_abs == pytest.approx(0.5 * float((extent / extent.max()).sum()), rel=1e-4)
    # Turned by 10 degrees in every frame but the first.
    turn = rotation_about("y", torch.tensor([0.0] + [10.0] * 8))
    turned = Camera(make_pose(true.c2w[:, :3, :3] @ turn, true.center), true.intrinsics)
    assert pose_errors(turned, true).rotation == pytest.approx(8 * math.radians(10), rel=1e-4)
    # A rigid motion of the whole world changes nothing.
    moved = turned.moved(make_pose(rotation_about("x", 40.0), torch.tensor([1.0, 2.0, 3.0])))
    assert pose_errors(moved, true).cammc_rel == pytest.approx(pose_errors(turned, true).cammc_rel, rel=1e-3)


def test_depth_errors_align_nothing() -> None:
    z = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1
    true = DepthMap(z, z > 1.2)
    wrong = DepthMap(1.5 * z)
    errors = depth_errors(wrong, true)
    assert (errors.absrel, errors.delta1, errors.known) == (pytest.approx(0.5), 0.0, 1.0)
    half = torch.zeros_like(z, dtype=torch.bool)
    half[:, :4] = True
    assert 0 < depth_errors(DepthMap(z, half), true).known < 1


def test_lpips_without_weights_is_refused_and_with_them_is_a_distance(tmp_path) -> None:
    with pytest.raises(InputError, match="weights missing"):
        Lpips.load(None)
    with pytest.raises(InputError, match="weights missing"):
        Lpips.load(tmp_path)
    torch.manual_seed(0)
    made = Lpips("alex")
    backbone = {f"features.{name}": value for name, value in made.features.state_dict().items()}
    torch.save(backbone, tmp_path / "alexnet-x.pth")
    torch.save(
        {f"lin{i}.model.1.weight": weight.detach().abs() for i, weight in enumerate(made.heads.parameters())},
        tmp_path / "alex.pth",
    )
    lpips = Lpips.load(tmp_path)
    image, noisy = pair(0, (64, 64), lead=(2,))
    assert torch.equal(lpips(image, image), torch.zeros(2))
    assert (lpips(noisy, image) > 0).all()
    assert torch.allclose(lpips(noisy, image), lpips(image, noisy))
    assert lpips(image + 0.5 * (noisy - image), image).sum() < lpips(noisy, image).sum()
    torch.save({"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}, tmp_path / "alex.pth")
    with pytest.raises(InputError, match=r"layer 0\.weight"):
        Lpips.load(tmp_path)


def test_vgg_taps_are_after_rectifiers_of_the_published_widths() -> None:
    lpips = Lpips("vgg")
    taps = lpips._activations(torch.rand(1, 3, 32, 32))
    assert [tap.shape[1] for tap in taps] == [64, 128, 256, 512, 512]
    assert all((tap >= 0).all() for tap in taps)
