"""Training parts of a released model, at toy size: what is frozen stays, a kill changes nothing, one process or two."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from helpers import random_image, same
from mirage.cli import main
from mirage.errors import InputError
from mirage.evaluation.validation import look, walked
from mirage.formats.image import load_image, save_image
from mirage.formats.trajectories import load_trajectory
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.depth_head import LatentDepthHead
from mirage.models.loading import load_world_model
from mirage.models.tiny import tiny_world
from mirage.models.transformer import MemoryBranch
from mirage.rollout import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler
from mirage.training import parallel
from mirage.training.checkpoints import averaged_weights
from mirage.training.clips import ReadyChunk, clip_path, load_latents, save_chunk
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.depth_head import DepthHeadConfig
from mirage.training.exercises import Exerciser, Exercises, Mix
from mirage.training.loop import fit, put_weights
from mirage.training.objective import LastStep, Objective
from mirage.training.past import Augment
from mirage.training.render import encode_clips, render_clips
from mirage.training.runs import Changes, DepthHead, Finetune
from mirage.training.schedule import Schedule
from recipes import mini, wan
from toys import SIZE, at, batch_of, curve

SCHEDULE = Schedule(
    steps=4, warmup=1, adamw=".", adamw_lr=2e-3, log_every=2, evaluate_every=4, checkpoint_seconds=0, accumulate=2
)


def small(latents, **changes):
    """Everything that the recipe of the branch has, at toy size."""
    config = DenoiserConfig(
        Exercises(latents, Mix(chunk=0.5, relived=0.5), batch=1, frames=3, preceding=1, references=1, held_out=1),
        Objective(per_frame=True, last_step=LastStep(steps=(2,)), min_sigma=1e-3),
        train=("memory_branch",),
        checkpoint=True,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def latents(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    encode_clips(tiny_world(), clips, folder, count=3)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    world = tiny_world()
    world.register_modules(memory_branch=None)  # a stock release has none
    world.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def stages(model, latents, tmp_path_factory):
    """A home with the runs of both stages, and the second one's recipe."""
    home = tmp_path_factory.mktemp("stages")
    first = Finetune(model, small(latents), SCHEDULE)
    first.work(home / "one", look=look)
    second = replace(
        first,
        config=small(latents, train=("transformer", "memory_branch"), lora_rank=4),
        branch=home / "one" / "memory_branch",
    )
    second.work(home / "two")
    return home, second


def test_the_two_stages(stages):
    home, _ = stages
    weights = averaged_weights(home / "one")
    assert all(name.startswith("memory_branch.") for name in weights)
    branch = MemoryBranch.from_pretrained(home / "one" / "memory_branch")
    assert any(block.get_parameter("proj_out.weight").any() for block in branch.blocks)
    evaluation = curve(home / "one")[-1]["evaluation"]
    assert evaluation.keys() == {"loss_memory", "loss_none", "walk_error", "return_error"}
    assert (home / "one" / "validation" / "step-000004.png").is_file()

    lora = load_file(home / "two" / "lora.safetensors")
    assert len(lora) == 2 * 4 * 4  # A and B of q, k, v, o in four layers
    assert all(".attn1." in name for name in lora)
    assert any(value.any() for name, value in lora.items() if "lora_B" in name)
    learnt = averaged_weights(home / "two")
    moved = [name for name, value in weights.items() if not torch.equal(value, learnt[name])]
    assert len(moved) > len(weights) / 2


def test_what_was_learnt_acts_when_it_is_loaded(stages, tmp_path, capsys):
    """A walk with the files of both stages is that of the world as trained; without one of them it is another."""
    home, recipe = stages
    picture = random_image(SIZE, seed=0)
    save_image(tmp_path / "picture.png", picture)

    def walk(*files):
        argv = [
            "generate",
            "--model",
            recipe.model,
            *map(str, files),
            "--image",
            str(tmp_path / "picture.png"),
            "--trajectory",
            "pan",
            "--frames",
            "9",
            "--steps",
            "2",
            "--out",
            str(tmp_path / "w.mp4"),
            "--save-world",
            str(tmp_path / "w.safetensors"),
            "--overwrite",
        ]
        assert main(argv) == 0, capsys.readouterr().err
        return Session.load(tmp_path / "w.safetensors", model).history.latents

    model = load_world_model(recipe.model)
    model.register_modules(memory_branch=MemoryBranch.from_transformer(model.transformer))
    put_weights(DenoiserTask(model, recipe.config).module, averaged_weights(home / "two"))
    path = load_trajectory("pan", start=Camera.looking(horizontal_fov=65, aspect=1.5), frames=9)
    session = Session(
        model.eval(), load_image(tmp_path / "picture.png"), camera=path[0], settings=Settings(sampler=Sampler(steps=2))
    )
    list(session.follow(path))

    branch, lora = home / "two" / "memory_branch", home / "two" / "lora.safetensors"
    both = walk("--branch", branch, "--lora", lora)
    torch.testing.assert_close(both, session.history.latents, atol=1e-5, rtol=1e-5)
    apart = [
        (walk(*files) - both).abs().max().item()
        for files in (("--branch", branch), ("--branch", home / "one" / "memory_branch", "--lora", lora))
    ]
    print("apart by", apart)
    assert min(apart) > 1e-4


def test_what_is_frozen_stays_and_the_rest_gets_a_gradient(latents):
    model = tiny_world()
    kept = {k: v.clone() for k, v in model.transformer.state_dict().items()}
    task = DenoiserTask(model, small(latents, train=("transformer", "memory_branch"), lora_rank=2))
    learning = [name for name, p in task.module.named_parameters() if p.requires_grad]
    assert {name.split(".")[0] for name in learning} == {"transformer", "memory_branch"}
    assert all("lora_" in name for name in learning if name.startswith("transformer"))
    at(task, 0).backward()
    silent = [n for n, p in task.module.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    after = {k.replace(".base_layer", ""): v for k, v in model.transformer.state_dict().items() if "lora_" not in k}
    assert same(kept, after)


class Dying(DenoiserTask):
    calls = 0

    def loss(self, batch, generator):
        self.calls += 1
        if self.calls == 6:
            raise KeyboardInterrupt
        return super().loss(batch, generator)


def train(task_type, latents, folder, *, shard=False):
    task = task_type(tiny_world(), small(latents))
    if shard:
        task.shard()
    fit(task, SCHEDULE, folder, look=look if shard else None)
    return averaged_weights(folder)


def test_a_killed_run_leaves_the_same_curve(latents, tmp_path):
    whole = train(DenoiserTask, latents, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Dying, latents, tmp_path / "cut")
    assert same(train(DenoiserTask, latents, tmp_path / "cut"), whole)
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


def test_bfloat16_trains(model, latents, tmp_path):
    Finetune(model, small(latents, bf16=True), replace(SCHEDULE, steps=2)).work(tmp_path, look=look)
    weights = averaged_weights(tmp_path)
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert all(torch.isfinite(value).all() for value in weights.values())


def _two(latents, folder):
    plain = train(DenoiserTask, latents, folder / "plain")
    parallel.wait()
    shared = train(DenoiserTask, latents, folder / "shared", shard=True)
    with pytest.raises(KeyboardInterrupt):
        train(Dying, latents, folder / "cut", shard=True)
    parallel.wait()
    resumed = train(DenoiserTask, latents, folder / "cut", shard=True)
    if parallel.rank() == 0:
        assert same(shared, resumed)
        for name, value in plain.items():
            torch.testing.assert_close(shared[name], value, atol=2e-4, rtol=1e-3)
        (folder / "done").touch()


def test_two_processes_share_the_weights_out(latents, tmp_path):
    parallel.launch(_two, latents, tmp_path, processes=2)
    assert (tmp_path / "done").is_file()
    told = [curve(tmp_path / name) for name in ("plain", "shared", "cut")]
    assert told[1] == told[2]
    for plain, shared in zip(told[0], told[1], strict=True):
        assert plain.get("loss", 0) == pytest.approx(shared.get("loss", 0), rel=1e-3)
    assert (tmp_path / "shared" / "validation" / "step-000004.png").is_file()
    alone = train(DenoiserTask, latents, tmp_path / "shared")  # one process reads what two have written
    assert same(alone, averaged_weights(tmp_path / "shared"))


def test_ready_made_chunks_train(model, tmp_path):
    g = torch.Generator().manual_seed(0)

    def latents(n: int) -> torch.Tensor:
        return torch.randn(n, 48, 4, 6, generator=g)

    chunks = [ReadyChunk(latents(3), latents(3), latents(1), latents(2), "a room") for _ in range(2)]
    for i, chunk in enumerate(chunks):
        save_chunk(tmp_path / f"chunk-{i}.safetensors", chunk)
    exercises = Exercises(tmp_path, augment=Augment(no_memory=0), batch=1, frames=3, held_out=1)
    maker = Exerciser(exercises, Objective(), [tmp_path / "chunk-0.safetensors"], 48)
    sample = maker.chunk(maker.paths[0], 2, 1, g)
    condition = sample.condition
    target = chunks[0].target.half().float()
    assert (condition.preceding.shape[2], condition.references.shape[2]) == (2, 1)
    assert torch.equal(condition.preceding[0, :, 0], target[0])  # one preceding frame was there, two were asked
    assert torch.equal(sample.target[0].transpose(0, 1), target)
    Finetune(model, small(tmp_path, exercises=exercises), replace(SCHEDULE, steps=1)).work(tmp_path / "run")
    assert (tmp_path / "run" / "memory_branch" / "config.json").is_file()
    with pytest.raises(InputError, match=r"are ready-made; expected a mix of chunk=1 alone"):
        batch_of(Exerciser(replace(exercises, mix=Mix(chunk=0, words=1)), Objective(), maker.paths, 48), 0)


def test_one_clip_can_be_learnt_by_heart_and_walked_back_through(tmp_path):
    """Backbone and branch on one clip that goes out and back: 200 steps."""
    model = tiny_world(layers=2, branch_layers=(0, 1), detail_channels=32, prediction="sample")
    render_clips(tmp_path / "pixels", count=1, size=SIZE, frames=17)
    encode_clips(model, tmp_path / "pixels", tmp_path, count=1)
    held = load_latents(clip_path(tmp_path, 0))
    augment = Augment(fresh=0.5, no_memory=0, no_prompt=0, latent_noise=0.05)
    exercises = Exercises(tmp_path, augment=augment, batch=2, frames=3, preceding=1, references=0, held_out=0)
    task = DenoiserTask(model, DenoiserConfig(exercises))
    before, start = task.evaluate()["loss_memory"], walk_error(model, held)
    fit(
        task,
        Schedule(
            steps=200,
            warmup=10,
            muon_lr=0.02,
            adamw_lr=3e-3,
            average=0.9,
            log_every=100,
            evaluate_every=200,
            checkpoint_seconds=1e9,
        ),
        tmp_path / "run",
    )
    after, end = task.evaluate()["loss_memory"], walk_error(model, held)
    print(f"loss {before:.3f} -> {after:.3f}, walk {start} -> {end}")
    assert after < before / 10  # measured: 0.75 to 0.017
    assert end[0] < start[0] / 2  # measured: 3.3 to 0.63 deviations of the clip, and 3.2 to 1.0 on return
    assert end[1] < start[1] / 2


def walk_error(model, clip):
    """Distance of a walk through the clip from the clip, and of where it returns from where it began."""
    out, back = walked(model, clip)
    scale = clip.latents.std()
    return (
        float((out[1:] - clip.latents[1:]).square().mean().sqrt() / scale),
        float((back[-1] - out[0]).square().mean().sqrt() / scale),
    )


def test_a_depth_head_is_distilled(latents, tmp_path):
    schedule = Schedule(steps=20, warmup=2, average=0.8)
    run = DepthHead(DepthHeadConfig(latents, batch=4, held_out=1), schedule, hidden=16)
    run.work(tmp_path)
    head = LatentDepthHead.from_pretrained(tmp_path / "depth_head")
    clip = load_latents(clip_path(latents, 0))
    camera = Camera(clip.camera.c2w, clip.camera.intrinsics)
    found = head.depth(clip.latents, camera, torch.zeros(len(clip.latents), dtype=torch.bool))
    assert isinstance(found, DepthMap)
    assert found.shape == clip.depth.shape
    numbers = [line["evaluation"]["absrel"] for line in curve(tmp_path) if "evaluation" in line]
    assert 0 < numbers[-1] < 1


def test_the_recipes_are_as_published(tmp_path):
    one, two = wan.branch(tmp_path), wan.lora(tmp_path)
    assert (one.config.train, one.config.lora_rank) == (("memory_branch",), 0)
    assert (two.config.train, two.config.lora_rank) == (("transformer", "memory_branch"), 64)
    assert two.branch == tmp_path / "branch" / "memory_branch"
    exercises, objective = one.config.exercises, one.config.objective
    assert (exercises.augment.no_prompt, objective.shift, objective.per_frame) == (0.1, 5.0, True)
    assert (exercises.clips, one.config.bf16, one.schedule.shard) == (tmp_path / "shards", True, True)


def test_what_a_recipe_does_not_have_is_refused(tmp_path, latents):
    run = Changes(steps=7, minutes=2, model="mini", data=latents, workers=3).of(wan.branch(tmp_path), "wan:branch")
    assert isinstance(run, Finetune)
    assert (run.schedule.steps, run.schedule.minutes, run.schedule.workers) == (7, 2, 3)
    assert (run.model, run.config.exercises.clips) == ("mini", latents)
    assert Changes().of(wan.lora(tmp_path), "wan:lora") == wan.lora(tmp_path)
    with pytest.raises(InputError, match="trains no released model"):
        Changes(model="mini").of(wan.depth_head(tmp_path), "wan:depth_head")
    with pytest.raises(InputError, match="has no steps"):
        Changes(steps=3).of(mini.clips(tmp_path), "mini:clips")
    with pytest.raises(InputError, match="takes no minutes"):
        Changes(minutes=3).of(mini.export(tmp_path), "mini:export")
    with pytest.raises(InputError, match="does not learn from latent clips"):
        Changes(data=latents).of(mini.images(tmp_path), "mini:images")
    with pytest.raises(InputError, match=r"no clip of .* is longer than a chunk"):
        DenoiserTask(tiny_world(), small(latents, exercises=replace(small(latents).exercises, frames=5)))


def test_the_command(latents, tmp_path, capsys):
    assert (
        main(
            [
                "train",
                "--recipe",
                "wan:branch",
                "--out",
                str(tmp_path),
                "--data",
                str(latents),
                "--model",
                str(tmp_path / "none"),
            ]
        )
        == 2
    )
    assert "no model" in capsys.readouterr().err
    command = ["train", "--recipe", "wan:depth_head", "--out", str(tmp_path / "home"), "--data", str(latents)]
    assert main([*command, "--steps", "1"]) == 0
    assert (tmp_path / "home" / "depth_head" / "depth_head" / "config.json").is_file()


def test_torchrun_starts_it_too(latents, tmp_path):
    """Two processes over gloo: one of them tells, and both learn from their own batches."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "mirage",
        "train",
        "--recipe",
        "wan:depth_head",
        "--out",
        str(tmp_path),
        "--data",
        str(latents),
        "--steps",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "depth_head" / "depth_head" / "config.json").is_file()
    assert [line["step"] for line in curve(tmp_path / "depth_head") if "evaluation" in line] == [2]
    finished = load_file(tmp_path / "depth_head" / "checkpoint.safetensors")
    assert (
        main(
            [
                "train",
                "--recipe",
                "wan:depth_head",
                "--out",
                str(tmp_path / "alone"),
                "--data",
                str(latents),
                "--steps",
                "2",
            ]
        )
        == 0
    )
    alone = load_file(tmp_path / "alone" / "depth_head" / "checkpoint.safetensors")
    assert finished.keys() == alone.keys()
    assert any(not torch.equal(finished[name], alone[name]) for name in alone)


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(latents, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    task = DenoiserTask(tiny_world(), small(latents))
    with pytest.raises(InputError, match="pip install tensorboard"):
        fit(task, replace(SCHEDULE, tensorboard=True), tmp_path)
