"""The depth head learns."""

from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.loop import fit
from mirage.training.schedule import Schedule


def test_the_depth_head_learns(model, latents, tmp_path):
    task = DepthHeadTask(model.depth_head, DepthHeadConfig(latents, batch=8, held_out=1))
    task.test = task.maker.paths  # of two clips it learns those two, and not what the third one's scale is
    before = task.evaluate()["absrel"]
    fit(task, Schedule(steps=40, warmup=2, muon_lr=0.01, average=0.8), tmp_path)
    assert task.evaluate()["absrel"] < before
