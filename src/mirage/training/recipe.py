"""Running a recipe by name: `train("mini:denoiser", Path("runs"), processes=2)`. What is done already stays.

A recipe is a function that takes the folder of all runs and returns a whole run (runs.py):

    def denoiser(home: Path) -> Denoiser:
        exercises = Exercises(home / "latents", Mix(chunk=0.5, glimpses=0.5))
        return Denoiser(Parts(vae=home / "autoencoder"), DenoiserConfig(exercises), Schedule(steps=600))

Its run lies in `home / "denoiser"`. Ours are in recipes/ beside src/, which a wheel does not have; anybody's are where
Python finds them.
"""

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from mirage.errors import InputError
from mirage.files import replacing
from mirage.training import parallel
from mirage.training.loop import Look
from mirage.training.owner import owned
from mirage.training.runs import Changes, Export, Run
from mirage.version import CHECKOUT

Recipe = Callable[[Path], Run]


def train(
    name: str, home: Path, *, changes: Changes | None = None, processes: int = 1, look: Look | None = None
) -> Path:
    """Run a recipe, going on from where it was killed; the folder of its run, in `home`.

    changes      what is otherwise than the recipe says
    processes    that share the work, of one thread each
    look         what to look at beside the numbers, with every evaluation of a denoiser

    Raises `InputError` for an unknown name, for a change of what a recipe does not have, when what it begins from is
    not there, or when somebody else is at it.
    """
    recipe = found(name)
    run = (changes or Changes()).of(recipe(home), name)
    run.check()
    folder = home / recipe.__name__
    if int(os.environ.get("RANK", "0")) > 0:  # torchrun's others, whose first one owns the run
        parallel.launch(_work, run, folder, look, processes=1)
        return folder
    with owned(folder):
        parallel.launch(_work, run, folder, look, processes=1 if isinstance(run, Export) else processes)
    return folder


def found(name: str) -> Recipe:
    """A recipe by its name: FUNCTION or FILE:FUNCTION of recipes/, or MODULE:FUNCTION of any module that Python finds,
    in the working directory too."""
    ours = recipes()
    if name in ours:
        return ours[name]
    module, _, function = name.rpartition(":")
    if not module:
        named = {full: recipe for full, recipe in ours.items() if full.endswith(f":{name}")}
        if len(named) == 1:
            return next(iter(named.values()))
        if named:
            raise InputError(f"recipe {name!r} is one of several; accepted: {', '.join(named)}")
        raise InputError(f"no recipe {name!r}; accepted: {_accepted(ours)}")
    if module in {full.split(":")[0] for full in ours}:
        raise InputError(f"no recipe {name!r}; accepted: {_accepted(ours)}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        there = _recipes_of(importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it needs is not
        raise InputError(f"no recipe {name!r}: no module {module!r}; accepted: {_accepted(ours)}") from error
    if function not in there:
        here = ", ".join(f"{module}:{one}" for one in there) or "nothing there: no function of it takes `home` alone"
        raise InputError(f"no recipe {name!r}; accepted: {here}")
    return there[function]


def recipes() -> dict[str, Recipe]:
    """All of the checkout's recipes/, by FILE:FUNCTION; none where Mirage is installed as a wheel."""
    folder = CHECKOUT / "recipes"
    if not (folder / "__init__.py").is_file():
        return {}
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    return {
        f"{path.stem}:{name}": recipe
        for path in sorted(folder.glob("[!_]*.py"))
        for name, recipe in _recipes_of(importlib.import_module(f"recipes.{path.stem}")).items()
    }


def _recipes_of(module: ModuleType) -> dict[str, Recipe]:
    """Its public functions that take `home` and nothing else, in the order of the file."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and list(inspect.signature(function).parameters) == ["home"]
    }


def _accepted(ours: dict[str, Recipe]) -> str:
    any_module = "MODULE:FUNCTION of a module that Python finds"
    if not ours:
        return f"{any_module}; Mirage's own recipes are in its repository (recipes/), not in the installed package"
    return f"{', '.join(ours)}, or {any_module}"


def _work(run: Run, folder: Path, look: Look | None) -> None:
    if parallel.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "recipe.json") as beside:
            content = {"kind": type(run).__name__, **asdict(run)}
            beside.write_text(json.dumps(content, indent=1, default=str))
    run.work(folder, look=look)
