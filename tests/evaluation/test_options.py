"""What can be asked of an evaluation: one noun each, checked where it is made, offered whole by the command line."""

import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from mirage.cli import arguments
from mirage.cli.arguments.common import noun_of
from mirage.errors import InputError
from mirage.evaluation import options

OFFERED = {
    arguments.BenchEfficiency: options.EfficiencyOptions,
    arguments.EvaluatePrompted: options.PromptedOptions,
    arguments.EvaluateRe10k: options.Re10kOptions,
    arguments.EvaluateReal: options.RealOptions,
    arguments.EvaluatePhotos: options.PhotosOptions,
    arguments.EvaluateRevisit: options.RevisitOptions,
    arguments.EvaluateSynthetic: options.SyntheticOptions,
    arguments.EvaluateUnseen: options.UnseenOptions,
    arguments.EvaluateWorldScore: options.WorldScoreOptions,
}


@pytest.mark.parametrize(("offered", "noun"), OFFERED.items(), ids=[noun.__name__ for noun in OFFERED.values()])
def test_the_command_line_offers_the_noun_with_its_own_defaults(offered, noun):
    mine = {field.name: field.default for field in fields(offered)}
    for field in fields(noun):
        assert mine[field.name] == field.default, field.name
    needed: dict[str, Any] = {field.name: Path("there") for field in fields(noun) if field.default is MISSING}
    if "rollouts" in needed:
        needed["rollouts"] = (Path("there"),)
    if noun is options.PhotosOptions:
        needed["stills"] = Path("there")  # one of three
    assert noun_of(offered(json=True, **needed), noun) == noun(**needed)
    assert offered.__doc__ == noun.__doc__


def test_options_need_nothing_heavy():
    code = "import mirage.evaluation.options, sys\nprint({'torch', 'numpy', 'diffusers', 'tyro'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_a_record_holds_what_a_result_depends_on_and_not_how_many_there_are(tmp_path):
    def record(**choices):
        return options.SyntheticOptions(out=tmp_path, **choices).record()

    assert record(scenes=3) == record(scenes=5) == record(keep_frames=True)
    assert record() == options.SyntheticOptions(out=tmp_path / "elsewhere").record()
    for other in ({"chunks": 3}, {"seed": 1}, {"memories": ("latent",)}, {"kinds": ("orbit",)}, {"moving": True}):
        assert record(**other) != record()
    assert "out" not in options.RevisitOptions(rollouts=(tmp_path,)).record()


@pytest.mark.parametrize(
    ("noun", "wrong", "words"),
    [
        (options.SyntheticOptions, {"steps": 0}, "steps is 0; accepted: .* 1 to 1000"),
        (options.UnseenOptions, {"steps": 1001}, "steps is 1001"),
        (options.RevisitOptions, {"rollouts": (Path(),), "metres": float("nan")}, "got nan"),
        (options.RevisitOptions, {"rollouts": (Path(),), "max_pairs": 0}, "at least one pair"),
        (options.RealOptions, {"frames": Path(), "gaps": (0,)}, "gaps are frames"),
        (options.Re10kOptions, {"clips": Path(), "frames": 1}, "two frames or more"),
        (options.Re10kOptions, {"clips": Path(), "stride": 0}, "got 0"),
        (options.Re10kOptions, {"clips": Path(), "scale": -1.0}, "above 0, got -1"),
        (options.Re10kOptions, {"clips": Path(), "generated": Path()}, "need the size"),
        (options.Re10kOptions, {"clips": Path(), "size": (0, 8)}, "above 0, got 0x8"),
        (options.WorldScoreOptions, {"dataset": Path(), "frames": 6}, "1 \\+ 4k frames .* got 6"),
        (options.WorldScoreOptions, {"dataset": Path(), "speed": 0.0}, "above 0, got 0"),
        (options.WorldScoreOptions, {"dataset": Path(), "limit": 0}, "got 0"),
        (options.EfficiencyOptions, {"seed": -1}, "got -1"),
        (options.SyntheticOptions, {"out": Path(__file__)}, "is a file"),
    ],
)
def test_a_noun_checks_itself_in_one_line_without_words_of_the_command_line(noun, wrong, words):
    with pytest.raises(InputError, match=words) as caught:
        noun(**wrong)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)
