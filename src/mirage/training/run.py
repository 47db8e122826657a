"""Running a recipe by name: `run("mini_denoiser", home, processes=2)`. Whatever was done already is not done again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import torch

from mirage.errors import InputError
from mirage.models.fold import fold_time
from mirage.models.tiny import build_world
from mirage.models.world import WorldModel
from mirage.training import parallel
from mirage.training.autoencoder import AutoencoderTask, measure_latents, start_from_images
from mirage.training.clips import render_clips
from mirage.training.denoiser import DenoiserTask
from mirage.training.depth_head import DepthHeadTask
from mirage.training.latents import encode_clips
from mirage.training.loop import averaged_weights, fit, put_weights
from mirage.training.recipes import (
    MINI,
    RECIPES,
    AutoencoderRecipe,
    ClipsRecipe,
    DenoiserRecipe,
    DepthHeadRecipe,
    ExportRecipe,
    Recipe,
)
from mirage.worlds import vocabulary

STATISTICS = "latents.json"


def run(name: str, home: Path, *, processes: int = 1, steps: int | None = None) -> None:
    """Run a recipe in `home`, going on from where it was killed. `steps`: train for as many instead of the recipe's.

    Raises `InputError` for an unknown name or when an earlier recipe has not been run.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}; accepted: {', '.join(RECIPES)}")
    recipe = RECIPES[name](home)
    if steps is not None:
        if isinstance(recipe, ClipsRecipe | ExportRecipe):
            raise InputError(f"recipe {name} has no steps")
        recipe = replace(recipe, schedule=replace(recipe.schedule, steps=steps))
    home.mkdir(parents=True, exist_ok=True)
    if isinstance(recipe, ExportRecipe):
        processes = 1
    parallel.launch(_work, recipe, home, home / name, processes=processes)


def _work(recipe: Recipe, home: Path, folder: Path) -> None:
    match recipe:
        case ClipsRecipe(latents=False):
            render_clips(recipe.folder, count=recipe.count, size=MINI.size, frames=recipe.frames)
        case ClipsRecipe():
            encode_clips(assembled(home), recipe.folder, count=recipe.count, size=MINI.size, frames=recipe.frames)
        case AutoencoderRecipe():
            vae = fold_time(_fresh().vae)
            if recipe.start is None:
                start_from_images(vae)
            else:
                put_weights(vae, averaged_weights(recipe.start))
            fit(AutoencoderTask(vae, recipe.config), recipe.schedule, folder, recipe=recipe)
            if parallel.rank() == 0:
                mean, std = measure_latents(vae, recipe.config.clips)
                (folder / STATISTICS).write_text(json.dumps({"latents_mean": mean, "latents_std": std}))
        case DenoiserRecipe():
            world = assembled(home)
            if recipe.start is not None:
                put_weights(DenoiserTask.modules(world), averaged_weights(recipe.start))
            fit(DenoiserTask(world, recipe.config), recipe.schedule, folder, recipe=recipe)
        case DepthHeadRecipe():
            fit(DepthHeadTask(assembled(home), recipe.config), recipe.schedule, folder, recipe=recipe)
        case ExportRecipe():
            assembled(home).to(torch.float16).save_pretrained(recipe.folder, safe_serialization=True)
        case _:
            assert_never(recipe)


def assembled(home: Path) -> WorldModel:
    """The bundled model as far as it is trained in `home`: parts whose run is not there yet have fresh weights."""
    world = _fresh()
    autoencoder = home / "mini_autoencoder"
    put_weights(world.vae, averaged_weights(autoencoder))
    world.vae.register_to_config(**json.loads((autoencoder / STATISTICS).read_text()))
    fold_time(world.vae)
    denoiser = DenoiserTask.modules(world)
    parts = {"mini_denoiser": denoiser, "mini_memories": denoiser, "mini_depth_head": world.depth_head}
    for name, module in parts.items():
        if (home / name / "checkpoint.safetensors").is_file():
            put_weights(module, averaged_weights(home / name))
    return world


def _fresh() -> WorldModel:
    return build_world(MINI, words=vocabulary())
