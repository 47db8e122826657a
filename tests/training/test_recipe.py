"""Recipes by name: ours in recipes/, anybody's in a module; each begins from what an earlier one leaves."""

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch

from mirage.cli import main
from mirage.errors import InputError
from mirage.models.loading import load_world_model
from mirage.training import recipe as recipes_by_name
from mirage.training.owner import owned
from mirage.training.recipe import found, recipes, train
from mirage.training.runs import Changes, Denoiser, chosen_device
from recipes import mini
from toys import SIZE, SMALL


def paths_in(value):
    """Every path in a run, however deep."""
    if isinstance(value, Path):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from paths_in(getattr(value, field.name))


@pytest.mark.parametrize("file", ["mini", "ninth", "wan"])
def test_a_recipe_needs_only_what_an_earlier_one_of_its_file_leaves(file, tmp_path):
    given = {tmp_path / name for name in ("shards", "photographs", "vace.safetensors", "eighth")}  # by people
    ours = {name: recipe for name, recipe in recipes().items() if name.startswith(f"{file}:")}
    assert ours
    for name, recipe in ours.items():
        run = recipe(tmp_path)
        assert run == recipe(tmp_path), name
        assert all({path, *path.parents} & given for path in paths_in(run)), name
        given.add(tmp_path / recipe.__name__)


def small(run):
    """A run of `mini`, of a model of toy size, for a moment."""
    if hasattr(run, "sizes"):
        run = replace(run, sizes=SMALL)
    if hasattr(run, "size"):
        run = replace(run, size=SIZE)
    if hasattr(run, "hidden"):
        run = replace(run, hidden=SMALL.depth_hidden)
    match type(run).__name__:
        case "Clips":
            return replace(run, count=3, doors=1, frames=33)
        case "Encode":
            return replace(run, count=3, doors=1)
        case "Stills":
            return replace(run, count=2, each=2)
        case "Autoencoder":
            mix = ((1, 32, 2),) if len(run.config.mix) == 1 else ((1, 32, 2), (9, 32, 1))
            run = replace(run, config=replace(run.config, mix=mix, held_out=1, bf16=False))
        case "Reading":
            run = replace(run, config=replace(run.config, captions=4))
        case "DepthHead":
            run = replace(run, config=replace(run.config, held_out=1, batch=4))
        case "Denoiser":
            exercises = replace(run.config.exercises, batch=1, frames=5, held_out=1, bf16=False)
            run = replace(run, config=replace(run.config, exercises=exercises, bf16=False))
    return replace(run, schedule=replace(run.schedule, steps=2, muon_bf16=False)) if hasattr(run, "schedule") else run


def test_all_of_mini_from_nothing_to_a_model_that_loads(tmp_path):
    """At toy size, two steps each, in the order of the file."""
    for name, recipe in recipes().items():
        if name.startswith("mini:"):
            run = small(recipe(tmp_path))
            run.check()
            run.work(tmp_path / recipe.__name__)
    model = load_world_model(tmp_path / "export" / "model", dtype=torch.float32)
    assert model.transformer.config["num_layers"] == SMALL.layers
    taught = mini.detail(tmp_path).start
    assert taught.memory_branch == tmp_path / "denoiser"
    assert any(abs(value - 1) > 1e-3 for value in model.vae.config["latents_std"])


def test_a_run_says_what_it_was_and_does_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes_by_name, "found", lambda name: small_recipe("stills"))
    folder = train("mini:stills", tmp_path)
    assert folder == tmp_path / "stills"
    assert json.loads((folder / "recipe.json").read_text()) == {
        "kind": "Stills",
        "count": 2,
        "each": 2,
        "size": [*SIZE],
    }
    before = {path: path.stat().st_mtime_ns for path in folder.glob("clip-*")}
    assert len(before) == 2
    train("mini:stills", tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("clip-*")}
    with owned(tmp_path / "stills"), pytest.raises(InputError, match=r"is being trained by process \d+ on"):
        train("mini:stills", tmp_path)


def small_recipe(name):
    def recipe(home):
        return small(getattr(mini, name)(home))

    recipe.__name__ = name
    return recipe


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("denoisr", "no recipe 'denoisr'; accepted: mini:clips, mini:stills, .*wan:published, or MODULE:FUNCTION"),
        ("mini:denoisr", "no recipe 'mini:denoisr'; accepted: mini:clips, "),
        (
            "depth_head",
            "recipe 'depth_head' is one of several; accepted: mini:depth_head, ninth:depth_head, ",
        ),
        ("no.such:thing", r"no recipe 'no\.such:thing': no module 'no\.such'; accepted: mini:clips"),
        ("mirage.errors:InputError", "no recipe .*; accepted: nothing there: no function of it takes `home` alone"),
    ],
)
def test_a_mistyped_name_is_one_line_with_the_names_accepted(name, words, tmp_path, capsys):
    with pytest.raises(InputError, match=words):
        found(name)
    assert main(["train", "--recipe", name, "--out", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_name_is_found_however_it_is_written():
    assert found("reading") is found("mini:reading") is found("recipes.mini:reading") is mini.reading


def test_a_recipe_of_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_variants.py").write_text(
        "from dataclasses import replace\nfrom recipes import mini\n\n\n"
        "def shorter(home):\n    few = mini.denoiser(home)\n"
        "    return replace(few, schedule=replace(few.schedule, steps=7))\n\n\n"
        "def of(home, more):\n    return None\n"
    )
    monkeypatch.chdir(tmp_path)
    shorter = found("my_variants:shorter")(tmp_path)
    assert isinstance(shorter, Denoiser)
    assert shorter.schedule.steps == 7
    with pytest.raises(InputError, match=r"no recipe 'my_variants:of'; accepted: my_variants:shorter$"):
        found("my_variants:of")
    (tmp_path / "my_needs.py").write_text("import no_such_package\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        found("my_needs:any")  # that is the module's fault, and no mistyped name


def test_a_wheel_says_where_the_recipes_are(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes_by_name, "CHECKOUT", tmp_path)
    said = (
        r"no recipe 'mini:denoiser': no module 'mini'; accepted: MODULE:FUNCTION of a module that Python finds; "
        r"Mirage's own recipes are in its repository \(recipes/\), not in the installed package"
    )
    with pytest.raises(InputError, match=said):
        found("mini:denoiser")


def test_what_must_be_run_first_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(InputError, match=r"clips holds no clips; make them first"):
        train("mini:latents", tmp_path / "runs")
    with pytest.raises(InputError, match=r"autoencoder has no vae; run the recipe that makes it first"):
        train("mini:denoiser", tmp_path / "runs")
    with pytest.raises(InputError, match="has no steps"):
        train("mini:clips", tmp_path / "runs", changes=Changes(steps=3))
    assert not (tmp_path / "runs").exists()  # a mistyped folder is not left behind


def test_the_device_is_the_gpu_if_there_is_one(monkeypatch):
    before = torch.get_float32_matmul_precision()
    try:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert chosen_device() == torch.device("cpu")
        assert torch.get_float32_matmul_precision() == before
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        assert chosen_device() == torch.device("cuda", 1)
    finally:
        torch.set_float32_matmul_precision(before)
