"""On a real rollout of the bundled model: still pictures win the raw closed loop, and gain nothing."""

import torch

from mirage.evaluation.folder import Rollout
from mirage.evaluation.revisit import APPEARANCE, score_families, score_rollout
from mirage.evaluation.walk import generator
from mirage.models.loading import load_world_model
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler
from mirage.scenes import Scene

SIZE = (96, 128)  # half the model's sides: a quarter of the time, and it walks all the same


def test_still_pictures_win_the_closed_loop_and_gain_nothing() -> None:
    model, scene = load_world_model("mini"), Scene.sample(5)
    path = scene.path("pan_and_return", 65, seed=5)
    image = scene.render(path[:1], SIZE).rgb[0]
    walk = generator(model, settings=Settings(sampler=Sampler(steps=2)))(image, path, [scene.caption])
    rollout = Rollout("mini", (walk.frames * 255).round().to(torch.uint8), path)
    scored = score_rollout(rollout, score_families(geometry=False))
    assert scored["pairs"]["revisit"] > 0 < scored["pairs"]["base"]
    own = scored["systems"]["rollout"]
    for name in ("copy first", "repeat last"):
        still = scored["systems"][name]
        assert still["psnr_c"] == 100 > own["psnr_c"]
        assert still["mirror_psnr"] == 100 > own["mirror_psnr"]
        for metric, gain in still["gain"][APPEARANCE].items():
            assert gain["gain"] == gain["range"] == 0 < own["gain"][APPEARANCE][metric]["gain"]
