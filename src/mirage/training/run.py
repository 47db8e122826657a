"""Running a recipe by name: `run("mini_denoiser", home, processes=2)`. Whatever was done already is not done again."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mirage.errors import InputError
from mirage.files import replacing
from mirage.models.depth_head import LatentDepthHead
from mirage.models.fold import fold_time
from mirage.models.loading import load_world_model
from mirage.models.lora import lora_state
from mirage.models.tiny import build_world
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel
from mirage.scenes import vocabulary
from mirage.training import parallel
from mirage.training.autoencoder import AutoencoderTask, dead_channels, measure_latents, start_from_images
from mirage.training.channels import forget_in_denoiser, forget_in_depth_head, hear_words
from mirage.training.clips import clip_paths, draw_stills, render_clips
from mirage.training.decoder import DecoderTask
from mirage.training.denoiser import DenoiserTask
from mirage.training.depth_head import DepthHeadTask
from mirage.training.latents import encode_clip, load_latent_clip
from mirage.training.loop import CHECKPOINT, Look, averaged_weights, finished, fit, put_some, put_weights
from mirage.training.reading import ReadingTask
from mirage.training.recipes import (
    MINI,
    RECIPES,
    AutoencoderRecipe,
    BundledRecipe,
    ClipsRecipe,
    DecoderRecipe,
    DenoiserRecipe,
    DepthHeadRecipe,
    DistilRecipe,
    ExportRecipe,
    FinetuneRecipe,
    ReadingRecipe,
    Recipe,
    StillsRecipe,
)

STATISTICS = "latents.json"
_LATENTS = ("latents_mean", "latents_std")  # as the autoencoder's configuration calls what that file holds


def run(
    name: str,
    home: Path,
    *,
    processes: int = 1,
    steps: int | None = None,
    minutes: float | None = None,
    model: str | None = None,
    data: Path | None = None,
    tensorboard: bool = False,
    look: Look | None = None,
) -> None:
    """Run a recipe in `home`, going on from where it was killed; a recipe is changed where something is given.

    steps, minutes        as many steps; as long at most
    tensorboard           the curve for TensorBoard, too
    model, data           which released model; the folder that `mirage prepare` filled
    look                  what to look at beside the numbers, with every evaluation of a denoiser

    Raises `InputError` for an unknown name, for what a recipe does not have, or when an earlier one has not been run.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}; accepted: {', '.join(RECIPES)}")
    recipe = changed(
        name, RECIPES[name](home), steps=steps, minutes=minutes, model=model, data=data, tensorboard=tensorboard
    )
    if isinstance(recipe, ExportRecipe):
        processes = 1
    parallel.launch(_work, recipe, home, home / run_of(name), look, processes=processes)


def changed(
    name: str,
    recipe: Recipe,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    model: str | None = None,
    data: Path | None = None,
    tensorboard: bool = False,
) -> Recipe:
    """The recipe with other steps, minutes, model or data, where it has such."""
    if isinstance(recipe, ClipsRecipe | StillsRecipe | BundledRecipe | ExportRecipe):
        if steps is not None or tensorboard:
            raise InputError(f"recipe {name} has no steps")
        if minutes is not None:
            if not isinstance(recipe, ClipsRecipe):
                raise InputError(f"recipe {name} takes no minutes")
            recipe = replace(recipe, minutes=minutes)
    else:
        its = recipe.schedule
        schedule = replace(its, steps=steps or its.steps, minutes=minutes or its.minutes, tensorboard=tensorboard)
        recipe = replace(recipe, schedule=schedule)
    if data is not None:
        match recipe:
            case FinetuneRecipe():
                recipe = replace(recipe, config=replace(recipe.config, latents=data))
            case DistilRecipe():
                recipe = replace(recipe, config=replace(recipe.config, latents=data))
            case _:
                raise InputError(f"recipe {name} makes its own data; expected no --data")
    if model is not None:
        if not isinstance(recipe, FinetuneRecipe):
            raise InputError(f"recipe {name} trains no released model; expected no --model")
        recipe = replace(recipe, model=model)
    return recipe


def run_of(name: str) -> str:
    """The folder of a recipe's run: one for a GPU makes what its namesake makes, so whatever comes next finds it."""
    return name.replace("mini_gpu_", "mini_")


def chosen_device() -> torch.device:
    """Where everything runs: this process's GPU, else the CPU. There, float32 products take the tensor cores' TF32."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda", torch.cuda.current_device())


def _work(recipe: Recipe, home: Path, folder: Path, look: Look | None) -> None:
    device = chosen_device()
    match recipe:
        case ClipsRecipe():
            model = assembled(home).to(device) if recipe.latents else None
            kept = None if model is None else partial(encode_clip, model, bf16=recipe.bf16)
            render_clips(
                recipe.folder,
                count=recipe.count,
                size=MINI.size,
                frames=recipe.frames,
                first=recipe.first,
                minutes=recipe.minutes,
                kind=recipe.kind,
                device=device,
                source=recipe.source,
                kept=kept,
            )
        case StillsRecipe():
            draw_stills(recipe.folder, count=recipe.count, each=recipe.each, size=MINI.size)
        case BundledRecipe():
            if parallel.rank() == 0:
                bundled(home)
        case AutoencoderRecipe():
            vae, before = fold_time(_fresh().to(device).vae), None
            if recipe.renewed:
                before = assembled(home, without=folder.name).to(device).vae
                put_weights(vae, dict(before.named_parameters()))
                vae.register_to_config(**{name: before.config[name] for name in _LATENTS})
            elif recipe.start is None:
                start_from_images(vae)
            else:
                _begin(vae, recipe.start, folder)
            fit(AutoencoderTask(vae, recipe.config, before), recipe.schedule, folder, recipe=recipe)
            if parallel.rank() == 0:
                measured = measure_latents(vae, recipe.config.clips, before=before)
                (folder / STATISTICS).write_text(json.dumps(dict(zip(_LATENTS, measured, strict=True))))
        case DecoderRecipe():
            fit(DecoderTask(assembled(home).to(device).vae, recipe.config), recipe.schedule, folder, recipe=recipe)
        case DenoiserRecipe():
            model = assembled(home).to(device)
            if recipe.start is not None:
                _begin(DenoiserTask.modules(model), recipe.start, folder)
            if recipe.renewed and not (folder / CHECKPOINT).is_file():
                forget_in_denoiser(model, _dead(home))
                hear_words(model, generator=torch.Generator(device).manual_seed(0))
            fit(DenoiserTask(model, recipe.config), recipe.schedule, folder, recipe=recipe, look=look)
        case ReadingRecipe():
            fit(ReadingTask(assembled(home).to(device), recipe.config), recipe.schedule, folder, recipe=recipe)
        case DepthHeadRecipe():
            head = assembled(home).to(device).depth_head
            assert head is not None
            if recipe.renewed and not (folder / CHECKPOINT).is_file():
                forget_in_depth_head(head, _dead(home))
            fit(DepthHeadTask(head, recipe.config), recipe.schedule, folder, recipe=recipe)
        case FinetuneRecipe():
            finetune(recipe, folder, look=look)
        case DistilRecipe():
            distil(recipe, folder)
        case ExportRecipe():
            assembled(home).to(torch.float16).save_pretrained(recipe.folder, safe_serialization=True)
        case _:
            assert_never(recipe)


def _begin(module: nn.Module, start: Path, folder: Path) -> None:
    """With the weights of an earlier run, unless this one has its own."""
    if not (folder / CHECKPOINT).is_file():
        put_weights(module, averaged_weights(start))


def finetune(recipe: FinetuneRecipe, folder: Path, *, look: Look | None = None) -> None:
    """Leaves branch/ (and lora.safetensors) in the run's folder, the averaged weights."""
    # what is frozen may be stored in bfloat16; what learns is not, or small steps would be rounded away
    model = load_world_model(recipe.model, dtype=torch.bfloat16 if recipe.config.bf16 else torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same fresh branch in every process
        branch = model.memory_branch or MemoryBranch.from_transformer(model.transformer)
    model.register_modules(memory_branch=branch.float())
    if "text_encoder" in recipe.config.train:
        model.text_encoder.float()
    model.to(chosen_device())
    task = DenoiserTask(model, recipe.config)
    if recipe.start is not None:
        begin = averaged_weights(recipe.start)
        put_some(task.module, begin, source=recipe.start)
    if recipe.schedule.shard and parallel.world_size() > 1:
        task.shard()
    fit(task, recipe.schedule, folder, recipe=recipe, look=look)
    if parallel.rank() == 0:
        _keep(averaged_weights(folder), branch, folder)


def _keep(weights: dict[str, Tensor], branch: MemoryBranch, folder: Path) -> None:
    """What was learnt, as files that a model loads."""
    learnt = {k.removeprefix("memory_branch."): t for k, t in weights.items() if k.startswith("memory_branch.")}
    if learnt:
        fresh: Any = MemoryBranch.from_config(branch.config)
        put_weights(fresh, learnt)
        fresh.save_pretrained(folder / "branch")
    if lora := lora_state({k.removeprefix("transformer."): t for k, t in weights.items()}):
        with replacing(folder / "lora.safetensors") as beside:
            save_file(lora, beside, metadata={"format": "pt"})


def distil(recipe: DistilRecipe, folder: Path) -> None:
    """Leaves depth_head/ in the run's folder."""
    clips = [load_latent_clip(path) for path in clip_paths(recipe.config.latents)[:8]]
    depths = torch.cat([clip.depth.z[clip.depth.valid] for clip in clips])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = LatentDepthHead(clips[0].latents.shape[1], recipe.hidden, float(depths.log().median()))
    task = DepthHeadTask(head, recipe.config)
    task.module.to(chosen_device())
    fit(task, recipe.schedule, folder, recipe=recipe)
    if parallel.rank() == 0:
        head.save_pretrained(folder / "depth_head")


def _dead(home: Path) -> list[int]:
    """The channels of the autoencoder's first run that say nothing."""
    std: list[float] = json.loads((home / "mini_autoencoder" / STATISTICS).read_text())["latents_std"]
    return dead_channels(torch.tensor(std))


def bundled(home: Path) -> None:
    """The weights that ship as finished runs in `home`; what is there stays."""
    model = load_world_model("mini")
    its: Any = model.vae.config
    runs = {
        "mini_autoencoder": model.vae,
        "mini_depth_head": model.depth_head,
        "mini_denoiser": DenoiserTask.modules(model),
    }
    for name, module in runs.items():
        if (home / name / CHECKPOINT).is_file():
            continue
        assert module is not None
        finished(home / name, {key: p.detach() for key, p in module.named_parameters()})
        if name == "mini_autoencoder":
            (home / name / STATISTICS).write_text(json.dumps({key: list(its[key]) for key in _LATENTS}))


def assembled(home: Path, *, without: str = "") -> WorldModel:
    """The bundled model as far as it is trained in `home`: parts whose run is not there yet have fresh weights.
    `without`: a run that does not count."""
    model = _fresh()
    denoiser, backbone, detail, words = (
        DenoiserTask.modules(model, names)
        for names in (("transformer", "memory_branch", "text_encoder"), ("transformer", "memory_branch"),
                      ("detail",), ("words",))
    )  # fmt: skip
    parts = {
        "mini_autoencoder": model.vae,
        "mini_decoder": DecoderTask.modules(model.vae),
        "mini_depth_head": model.depth_head,
        "mini_denoiser": denoiser,
        "mini_memories": denoiser,
        "mini_reading": ReadingTask.modules(model),
        "mini_detail": detail,
    }
    for again in ("renewed", "again", "whole", "joint"):
        parts |= {
            f"mini_{again}_autoencoder": model.vae,
            f"mini_{again}_depth_head": model.depth_head,
            f"mini_{again}_denoiser": backbone,
            f"mini_{again}_detail": detail,
            f"mini_{again}_words": words,
        }
    parts["mini_words"] = DenoiserTask.modules(model, ("words", "text_encoder"))
    for name, module in parts.items():
        if name == "mini_autoencoder" or (name != without and (home / name / CHECKPOINT).is_file()):
            put_weights(module, averaged_weights(home / name))
            if (home / name / STATISTICS).is_file():
                model.vae.register_to_config(**json.loads((home / name / STATISTICS).read_text()))
    fold_time(model.vae)
    return model


def _fresh() -> WorldModel:
    return build_world(MINI, words=vocabulary())
