"""What other people's programs rely on, frozen: names of `mirage`, options of `generate`, keys of receipt and --json.

`make surface` writes tests/surface.txt anew. A change of that file in a review is a change of what people type.
"""

import contextlib
import difflib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import mirage
from mirage.cli import main
from mirage.cli.arguments import COMMANDS, Generate
from mirage.formats.image import save_image
from mirage.models.tiny import tiny_world
from mirage.scenes import Scene

FROZEN = Path(__file__).with_name("surface.txt")
VALUES = {"versions", "settings"}
"""Objects of the receipt whose keys are packages' or the model's own, and may come and go."""


def surface() -> Iterator[str]:
    """One line per name."""
    yield from (f"mirage.{name}" for name in sorted([*mirage.__all__, "__version__"]))
    yield from (f"mirage {module.replace('_', ' ')}" for module in sorted(set(COMMANDS.values())))
    for field in sorted(fields(Generate), key=lambda field: field.name):
        default = "required" if field.default is MISSING else f"default {field.default!r}"
        yield f"mirage generate --{field.name.replace('_', '-')}  {default}"
    receipt, summary = walked()
    yield from (f"receipt {key}" for key in sorted(set(keys(receipt))))
    yield from (f"generate --json {key}" for key in sorted(set(keys(summary))))


def walked() -> tuple[Any, Any]:
    """Receipt and last line of a walk with everything in it: two chunks, saved."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()) as said:
        folder = Path(name)
        tiny_world().save_pretrained(folder / "model")
        scene = Scene.sample(5)
        save_image(folder / "image.png", scene.render(scene.path("walk", 5, seed=0), (96, 144)).rgb[0])
        typed = f"--image {folder}/image.png --model {folder}/model --trajectory orbit --frames 17 --steps 2 --json"
        assert (
            main(["generate", *typed.split(), "--out", f"{folder}/w.mp4", "--save-world", f"{folder}/w.safetensors"])
            == 0
        )
        (receipt,) = folder.glob("w*.json")
        return json.loads(receipt.read_text(encoding="utf-8")), json.loads(said.getvalue().splitlines()[-1])


def keys(value: Any, path: str = "") -> Iterator[str]:
    """ "chunks[].timings.denoise": one path for every leaf; the elements of a list share one."""
    if isinstance(value, dict) and value and path not in VALUES:
        for key, inner in value.items():
            yield from keys(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from keys(inner, f"{path}[]")
    else:
        yield path


def test_the_public_surface_is_what_it_was():
    was, now = FROZEN.read_text(encoding="utf-8").splitlines(), list(surface())
    changed = "\n".join(difflib.unified_diff(was, now, "tests/surface.txt", "now", n=0, lineterm=""))
    if changed:
        pytest.fail(f"the public surface changed; if that is meant, run `make surface` and commit:\n{changed}")


def test_every_key_and_name_is_seen():
    assert set(keys({"a": {"b": [{"c": 1}, {"d": 2}]}, "versions": {"torch": "2"}, "e": []})) == {
        "a.b[].c",
        "a.b[].d",
        "versions",
        "e",
    }


if __name__ == "__main__":
    FROZEN.write_text("".join(f"{line}\n" for line in surface()), encoding="utf-8")
    print(f"wrote {FROZEN}")
