"""Do words act? One walk, turning to the next room, again and again with another colour of that room's walls in the
prompt: do the walls that were never seen take it, and does what the first image showed stay as it is?

    "...; the next room has red walls, ..."     "...; the next room has blue walls, ..."

A generated wall's hues are compared with those of the same wall truly painted so and drawn by the scenes' own renderer;
the nearest colour is its answer. The other way round, of all walks the one that was asked for red should be nearest to
the red wall: a scene whose own colours are strong hides the first, not the second. Chance is one in as many as there
are colours, for both. `F` frames, `H W` pixels, `N` pixels.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirage.errors import InputError
from mirage.evaluation.metrics import hue_distance, psnr
from mirage.evaluation.options import SEEDS, PromptedOptions, Subject
from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.evaluation.truth import GroundTruth, seen_pixels
from mirage.evaluation.variants import MakeSession, session_maker
from mirage.evaluation.walk import subject_of
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.models.world import WorldModel
from mirage.scenes import Scene
from mirage.scenes.doors import has_door, repainted, turn_to_door, walls_of_next_room

CHUNKS = 2
MEMORY = "latent"


def run_prompted(
    model: WorldModel,
    options: PromptedOptions,
    *,
    name: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`evaluate_prompted` of a model, at its own size and chunk length, with its latent memory; `name` is the model's,
    for the record."""
    make = session_maker(model, (MEMORY,), steps=options.steps)
    return evaluate_prompted(make, options, subject=subject_of(model, name, options.steps), progress=progress)


def evaluate_prompted(
    make_session: MakeSession, options: PromptedOptions, *, subject: Subject, progress: Progress | None = None
) -> dict[str, Any]:
    """Walk every scene with every colour; writes results.json, report.md and a contact sheet per scene.

    Returns {"accuracy": {share, low, high (95 %, Wilson), right, n, chance}, "picked": the same for the walk that is
    nearest to each colour (one of equals is wrong), "answers": {ASKED: {ANSWER: count}},
    "hue": {asked, others: mean turn to the hues of the colour asked for and of the others, 0 to 1/2}, "kept_psnr" and
    "changed_psnr": dB between walks of two colours, where the first image showed the place and on the unseen walls,
    "tasks", "failures"}. `make_session` gets scenes whose caption is the prompt.
    """
    frames = 1 + CHUNKS * (subject.chunk_frames - 1)

    def work(seed: int) -> Callable[[Path], dict[str, Any]]:
        return lambda folder: score_prompted(
            Scene.sample(seed),
            make_session,
            options.colours,
            frames=frames,
            size=subject.size,
            grid=subject.grid,
            folder=folder,
        )

    tasks, seed = [], options.seed * SEEDS
    while len(tasks) < options.scenes:
        if has_door(Scene.sample(seed)):
            tasks.append(Task(f"scene-{seed:06d}", work(seed)))
        seed += 1
    outcome = run_tasks(tasks, options.out, options=options.record() | subject.record(), progress=progress)
    summary = summarise(list(outcome.results.values()), options.colours)
    return write_results(
        options.out,
        outcome,
        summary,
        title="Prompts",
        tables={"Colour of the next room's walls": prompted_table(summary), "Answers": answer_table(summary)},
    )


def score_prompted(
    scene: Scene,
    make_session: MakeSession,
    colours: Sequence[str],
    *,
    frames: int,
    size: tuple[int, int],
    grid: tuple[int, int],
    folder: Path,
) -> dict[str, Any]:
    """One scene's walks, the answer of each, and how much each pair of them differs."""
    path, walls = turn_to_door(scene, frames), walls_of_next_room(scene)
    truth = GroundTruth.of(scene, "turn_to_door", path, size=size)
    kept = pad(seen_pixels(truth, grid, chunk_frames=frames), (0, 0, 0, 0, 1, 0))  # by the first image, for it is one
    wall = torch.isin(scene.render(path, size).surface, walls.int()) & ~kept  # chunk that has nothing before it
    wall[0] = False
    if float(wall.float().mean()) < 0.01:
        raise InputError(f"scene {scene.seed} hides the next room's walls from this path; expected them in view")
    true, made = {}, {}
    for colour in colours:
        true[colour] = repainted(scene, walls, colour).render(path, size).rgb
        asked = replace(truth, caption=prompt(scene.caption, colour))
        made[colour] = torch.cat([chunk.frames.float().cpu() for chunk in make_session(MEMORY, asked).follow(path)])
    rows = {
        f"{what} {colour}": videos[colour]
        for colour in colours
        for what, videos in (("true", true), ("asked for", made))
    }
    save_image(folder / "sheet.png", contact_sheet(rows, columns=9, title=f"scene {scene.seed}: the next room's walls"))
    turns = {colour: wall_hues(made[colour], true, wall) for colour in colours}
    pairs = list(combinations(colours, 2))
    return {
        "seed": scene.seed,
        "walls": float(wall.float().mean()),
        "turns": turns,
        "answers": {colour: answer(turns[colour]) for colour in colours},
        "kept_psnr": [_between(made[a], made[b], kept) for a, b in pairs],
        "changed_psnr": [_between(made[a], made[b], wall) for a, b in pairs],
    }


def prompt(caption: str, colour: str) -> str:
    """The caption, its next room with plain walls of this colour."""
    changed, count = re.subn(r"the next room has [a-z ]+? walls", f"the next room has {colour} walls", caption, count=1)
    if not count:
        raise InputError(f"caption {caption!r} has no next room")
    return changed


def wall_hues(video: Tensor, true: Mapping[str, Tensor], wall: Tensor) -> dict[str, float | None]:
    """How far the hues of a video [F,3,H,W] on the `wall` bool [F,H,W] must be turned to become those of the truly
    painted ones: {COLOUR: turns in [0, 1/2]}; None where the video's wall is grey."""
    own = _pixels(video, wall)
    turns = {colour: float(hue_distance(own, _pixels(frames, wall))) for colour, frames in true.items()}
    return {colour: turn if math.isfinite(turn) else None for colour, turn in turns.items()}


def answer(turns: Mapping[str, float | None]) -> str:
    """The colour that the wall is nearest to; "grey" if it has none."""
    found = {colour: turn for colour, turn in turns.items() if turn is not None}
    return min(found, key=found.__getitem__) if found else "grey"


def summarise(results: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> dict[str, Any]:
    """Over scenes; see `evaluate_prompted`."""
    answers = {
        asked: {given: sum(result["answers"][asked] == given for result in results) for given in (*colours, "grey")}
        for asked in colours
    }
    n = len(results) * len(colours)
    turns = [
        (asked, given, turn)
        for result in results
        for asked, row in result["turns"].items()
        for given, turn in row.items()
    ]
    return {
        "accuracy": _share(sum(answers[colour][colour] for colour in colours), n, chance=1 / len(colours)),
        "picked": _share(
            sum(nearest(result["turns"], colour) == colour for result in results for colour in colours),
            n,
            chance=1 / len(colours),
        ),
        "answers": answers,
        "hue": {
            "asked": Summary.of(turn for asked, given, turn in turns if asked == given),
            "others": Summary.of(turn for asked, given, turn in turns if asked != given),
        },
        **{
            key: Summary.of(value for result in results for value in result[key])
            for key in ("kept_psnr", "changed_psnr")
        },
    }


def nearest(turns: Mapping[str, Mapping[str, float | None]], colour: str) -> str | None:
    """Of the walks, by what they were asked for, the one whose wall is nearest to this colour; None if several are."""
    all_turns = {asked: row[colour] for asked, row in turns.items()}
    least = min((turn for turn in all_turns.values() if turn is not None), default=None)
    found = [asked for asked, turn in all_turns.items() if turn is not None and turn == least]
    return found[0] if len(found) == 1 else None


def wilson(right: int, n: int, *, z: float = 1.96) -> tuple[float | None, float | None]:
    """The 95 % interval of a share, `right` of `n`."""
    if n == 0:
        return None, None
    share, square = right / n, z * z / n
    middle, half = share + square / 2, z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def prompted_table(summary: Mapping[str, Any]) -> str:
    """The one row that says whether words act."""
    hue, chance = summary["hue"], summary["accuracy"]["chance"]
    row = {
        "right": _with_interval(summary["accuracy"]),
        "picked": _with_interval(summary["picked"]),
        "chance": chance,
        "hue turn to asked": hue["asked"],
        "to others": hue["others"],
        "remembered, dB": summary["kept_psnr"],
        "unseen walls, dB": summary["changed_psnr"],
    }
    return markdown_table([row]) + (
        "\n`right`: walls nearest to the colour asked for; `picked`: colours to which, of all walks, the one asked for "
        "is nearest; 95 % intervals. `dB`: between walks with two different colours; high where nothing changed. "
        "`hue turn`: part of the colour circle between the wall's hues and those of the wall truly painted so.\n"
    )


def answer_table(summary: Mapping[str, Any]) -> str:
    """What was asked for, against what the walls are nearest to."""
    return markdown_table([{"asked for": asked, **row} for asked, row in summary["answers"].items()])


# -- helpers ------------------------------------------------------------------------------------------------------


def _share(right: int, n: int, *, chance: float) -> dict[str, float | None]:
    low, high = wilson(right, n)
    return {"share": right / n if n else None, "low": low, "high": high, "right": right, "n": n, "chance": chance}


def _with_interval(share: Mapping[str, Any]) -> str:
    interval = "" if share["low"] is None else f" ({share['low']:.2f} to {share['high']:.2f})"
    return f"{share['right']} of {share['n']}{interval}"


def _pixels(video: Tensor, mask: Tensor) -> Tensor:
    """The pixels of [F,3,H,W] in mask [F,H,W], as one picture of one row: [3,1,N]."""
    return video.movedim(1, 0)[:, mask][:, None]


def _between(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """dB between two videos over all pixels of a mask, frame 0 (which is given) left out."""
    return float(psnr(_pixels(a[1:], mask[1:]), _pixels(b[1:], mask[1:])))
