"""R2M-Bench's pairs, frame by frame: its rule said again in plain loops, on paths of its three kinds and others.

Written from what the code does (AMAP-ML/R2MBench: `eval_revisit`, `pair_sampling`, `sample_pairs`), sharing nothing
with src/: numbers of frames, tuples and `random.Random` in the order in which it draws.
"""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.evaluation.pairs import revisit_pairs
from mirage.formats.cameras import load_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose, rotation_about

Pose = tuple[float, tuple[float, float, float]]  # yaw in degrees, place in metres


def camera(poses: list[Pose]) -> Camera:
    angle = torch.tensor([yaw for yaw, _ in poses], dtype=torch.float64)
    place = torch.tensor([at for _, at in poses], dtype=torch.float64)
    c2w = make_pose(rotation_about("y", angle), place)
    return Camera(c2w, torch.tensor([0.8, 1.4, 0.5, 0.5], dtype=torch.float64))


def read_back(poses: list[Pose], file: Path) -> Camera:
    """From a file as R2M's trajectories are, with rotations in the arithmetic of Python."""
    frames = {}
    for number, (yaw, (x, y, z)) in enumerate(poses):
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        extrinsic = [[c, 0.0, s, x], [0.0, 1.0, 0.0, y], [-s, 0.0, c, z], [0.0, 0.0, 0.0, 1.0]]
        frames[str(number)] = {"extrinsic": extrinsic, "K": [[970.0, 0.0, 960.0], [0.0, 970.0, 540.0], [0.0, 0.0, 1.0]]}
    file.write_text(json.dumps(frames))
    return load_cameras(file)


def out_and_back(frames: int = 240, tail: int = 0) -> list[Pose]:
    """R2M's DDDAAA: to the right and back, with a soft start; then perhaps it stands still."""
    x, places = 0.0, [0.0]
    for frame in range(1, frames):
        step = 1 / 60 if frame % (frames // 2) < 12 else 1 / 30
        x += step if frame < frames // 2 else -step
        places.append(x)
    return [(0.0, (x, 0.0, 0.0)) for x in [*places, *[places[-1]] * tail]]


def move_and_turn(length: int = 34) -> list[Pose]:
    """R2M's WSLRRLL: forward, back, then to the left, to the right twice as far, and back."""
    yaw, z, poses = 0.0, 0.0, [(0.0, (0.0, 0.0, 0.0))]
    for key in "WSLRRLL":
        for _ in range(length):
            z += {"W": 1 / 30, "S": -1 / 30}.get(key, 0.0)
            yaw += {"R": 0.9, "L": -0.9}.get(key, 0.0)
            poses.append((yaw, (0.0, 0.0, z)))
    return poses


def loop(frames: int = 240) -> list[Pose]:
    """R2M's revisit loop: round a place, looking ahead, to where it began."""
    around = [2 * math.pi * frame / (frames - 1) for frame in range(frames)]
    return [(math.degrees(a), (2 - 2 * math.cos(a), 0.0, 2 * math.sin(a))) for a in around]


PATHS = {
    "out and back": out_and_back(),
    "out, back, and still": out_and_back(160, tail=40),
    "move and turn": move_and_turn(),
    "loop": loop(),
    "loop, short": loop(60),
    "a turn of which too little is far apart": [(0.6 * i, (0.0, 0.0, 0.0)) for i in [*range(30), *range(30, 0, -1)]],
}


def steps(*yaws: float) -> list[Pose]:
    return [(yaw, (0.0, 0.0, 0.0)) for yaw in yaws]


GIVEN: dict[str, tuple[list[Pose], list[tuple[int, int]], list[tuple[int, int]]]] = {
    "too short": ([(0.0, (0.0, 0.0, z / 10)) for z in [0, 1, 2, 3, 4, 3, 2, 1, 0]], [], []),
    "never back": ([(0.0, (0.0, 0.0, z / 10)) for z in range(40)], [], []),
    "there and back": (
        [(0.0, (0.0, 0.0, z / 5)) for z in [0, 1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1, 0]],
        [(1, 11), (1, 12), (1, 13)],
        [],
    ),
    "back at the end alone": (
        [(0.0, (5 * math.cos(a) - 5, 0.0, 5 * math.sin(a))) for a in (2 * math.pi * i / 15 for i in range(16))],
        [(0, 15)],
        [],
    ),
    "through 180 degrees": (
        steps(*range(150, 211, 5), *range(205, 149, -5)),
        [(6, 17), (7, 17), (6, 18), (7, 18), (5, 19), (4, 20), (3, 21), (2, 22), (1, 23), (1, 24)],
        [],
    ),
    "steps of just the limit": (
        steps(*(i / 2 for i in [*range(16), *range(16, 0, -1)])),
        [(10, 20), (11, 21), (10, 22), (9, 23), (8, 24), (7, 25), (7, 26), (7, 27)],
        [(4, 6), (4, 5)],
    ),
}
"""A path, the returns and the base pairs that its code, run on the path as its JSON, gave."""


@pytest.mark.parametrize("name", GIVEN)
def test_the_pairs_are_those_that_its_code_gave(name: str, tmp_path: Path) -> None:
    poses, revisit, base = GIVEN[name]
    pairs = revisit_pairs(read_back(poses, tmp_path / "path.json"))
    assert (list(pairs.revisit), list(pairs.base)) == (revisit, base)
    assert bool(pairs.short) == bool(revisit)


TURN, STEP = st.sampled_from([0.5, 0.9, 2.0, 5.0]), st.sampled_from([0.01, 1 / 60, 1 / 30, 0.1, 0.3])
KEYS = st.lists(st.tuples(st.sampled_from("WSLRWSLR."), st.integers(1, 24)), min_size=1, max_size=7)


@settings(max_examples=25, deadline=None)
@given(KEYS, TURN, STEP, st.sampled_from([0.0, 170.0, -179.0]), st.sampled_from([100, 7]))
def test_the_pairs_of_any_keys_are_those_of_its_rule(keys, turn, step, yaw, most) -> None:
    """Ties, steps of just the limit, turns through 180 degrees and static tails among them."""
    poses, at = [(yaw, (0.0, 0.0, 0.0))], 0.0
    for key, times in keys:
        for _ in range(times):
            at += {"W": step, "S": -step}.get(key, 0.0)
            yaw += {"R": turn, "L": -turn}.get(key, 0.0)
            poses.append((yaw, (0.0, 0.0, at)))
    pairs = revisit_pairs(camera(poses), max_pairs=most)
    assert tuple(map(list, (pairs.revisit, pairs.base, pairs.short))) == restated(camera(poses), most, 42)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("most", "seed"), [(100, 42), (7, 0)])
def test_the_pairs_are_those_of_its_code(name: str, most: int, seed: int) -> None:
    pairs = revisit_pairs(camera(PATHS[name]), max_pairs=most, seed=seed)
    revisit, base, short = restated(camera(PATHS[name]), most, seed)
    assert revisit
    assert list(pairs.revisit) == revisit
    assert list(pairs.base) == base
    assert list(pairs.short) == short
    assert all(i < j for kind in (pairs.revisit, pairs.base, pairs.short) for i, j in kind)


def test_the_rules_differ_and_are_called_by_name() -> None:
    path = camera(PATHS["move and turn"])
    ours, paper = revisit_pairs(path), revisit_pairs(path, rule="paper")
    assert set(ours.revisit) != set(paper.revisit)
    later = [j for _, j in paper.revisit]
    assert len(later) == len(set(later))  # one earlier frame for each later one, and not one of every segment
    still = camera(PATHS["out, back, and still"])
    assert (
        max(j for _, j in revisit_pairs(still).revisit)
        < 160
        <= max(j for _, j in revisit_pairs(still, rule="paper", max_pairs=1000).revisit)
    )


def test_a_path_in_other_units_has_the_same_pairs() -> None:
    path = camera(PATHS["move and turn"])
    scaled = Camera(make_pose(path.c2w[:, :3, :3], path.center * 64), path.intrinsics)
    assert revisit_pairs(scaled, metres=1 / 64) == revisit_pairs(path)


def test_a_path_that_does_not_return_or_has_hardly_a_frame() -> None:
    away = camera([(0.0, (0.0, 0.0, i / 10)) for i in range(40)])
    pairs = revisit_pairs(away)
    assert pairs.revisit == pairs.base == pairs.short == ()
    for frames in (1, 2, 3):
        assert revisit_pairs(away[:frames]).revisit == ()


# -- its code, said again ---------------------------------------------------------------------------------------------


def restated(path: Camera, most: int, seed: int):
    poses = {}
    for number, c2w in enumerate(path.c2w.tolist()):
        poses[number] = (math.atan2(c2w[0][2], c2w[0][0]) * 180.0 / math.pi, (c2w[0][3], c2w[1][3], c2w[2][3]))
    rotations = [[row[:3] for row in c2w[:3]] for c2w in path.c2w.tolist()]

    n = len(poses)
    last = n - 1
    for frame in range(n - 1, 0, -1):
        trace = sum(a * b for one, two in zip(rotations[frame], rotations[frame - 1], strict=True)
                    for a, b in zip(one, two, strict=True))  # fmt: skip
        turned = math.acos(max(-1.0, min(1.0, (trace - 1) / 2))) * 180 / math.pi
        if distance(poses[frame], poses[frame - 1]) > 0.01 or turned > 0.5:
            last = frame
            break
    n = last + 1

    near = 2 * float(np.percentile([distance(poses[i], poses[i - 1]) for i in range(1, n)], 95))
    facing = 2 * float(np.percentile([angle(poses[i], poses[i - 1]) for i in range(1, n)], 95))
    near, facing = max(0.1, min(near, 1.0)), max(1.0, min(facing, 5.0))

    found = by_segments(poses, segments(poses, n), near, facing)
    if len(found) < 3:
        pairs = [(i, j) for i in range(n) for j in range(i + 10, n)
                 if distance(poses[i], poses[j]) <= near and angle(poses[i], poses[j]) <= facing]  # fmt: skip
        found = pairs if len(pairs) > len(found) else found
    found = sorted(dict.fromkeys(found), key=lambda pair: (pair[1], pair[0]))
    revisit = [pair for pair in found if pair[1] - pair[0] >= int(n * 0.2)]
    if len(revisit) > most:
        revisit = random.Random(seed).sample(revisit, most)
    if not revisit:
        return [], [], []
    return revisit, spans(revisit, n, random.Random(seed)), neighbours(n, len(revisit), random.Random(seed))


def distance(a: Pose, b: Pose) -> float:
    x, y, z = (p - q for p, q in zip(a[1], b[1], strict=True))
    return math.sqrt(x**2 + y**2 + z**2)


def angle(a: Pose, b: Pose) -> float:
    return abs((a[0] - b[0] + 180.0) % 360.0 - 180.0)


def segments(poses: dict[int, Pose], n: int) -> list[tuple[int, int]]:
    phases, kind, start = [], None, 0
    for i in range(1, n):
        turn = poses[i][0] - poses[i - 1][0]
        moved = [p - q for p, q in zip(poses[i][1], poses[i - 1][1], strict=True)]
        if distance(poses[i], poses[i - 1]) > 0.01 and abs(turn) < 0.5:
            motion = "W" if max(moved, key=abs) > 0 else "S"
        elif abs(turn) > 0.5:
            motion = "R" if turn > 0 else "L"
        else:
            motion = "."
        if motion not in (kind, "."):
            if kind is not None:
                phases.append((start, i - 1))
            kind, start = motion, i
    return phases if kind is None else [*phases, (start, n - 1)]


def by_segments(poses: dict[int, Pose], phases: list[tuple[int, int]], near: float, facing: float):
    pairs = []
    for number in range(1, len(phases)):
        for start, end in phases[:number]:
            for later in range(phases[number][0], phases[number][1] + 1):
                best, least = None, math.inf
                for earlier in range(start, end + 1):
                    if later - earlier < 10:
                        continue
                    turned, moved = angle(poses[later], poses[earlier]), distance(poses[later], poses[earlier])
                    if turned <= facing and moved <= near and turned + moved * 10 < least:
                        best, least = earlier, turned + moved * 10
                if best is not None:
                    pairs.append((best, later))
    return pairs


def spans(revisit: list[tuple[int, int]], n: int, draws: random.Random) -> list[tuple[int, int]]:
    ends = {frame for pair in revisit for frame in pair}
    free = [frame for frame in range(n) if frame not in ends]
    if len(free) < 2:
        return []
    size, radius = max(1, math.ceil(n / 10)), max(10, n // 20)
    bins = [[frame for frame in free if min(frame // size, 9) == b] for b in range(10)]
    used, chosen = set(), []

    def candidates(anchor: int) -> list[int]:
        its = min(anchor // size, 9)
        for reach in range(11):
            some = [frame for b in range(max(0, its - reach), min(10, its + reach + 1)) for frame in bins[b]]
            if len(some) >= 2:
                return some
        return free

    def drawn(first: list[int], low: int, high: int):
        u = draws.choice(first)
        v = u + draws.randint(low, high)
        if v >= n or v in ends or any(abs(u - i) <= radius and abs(v - j) <= radius for i, j in revisit):
            return None
        return None if (u, v) in used else (u, v)

    def begins(anchor: int, low: int, high: int) -> list[int]:
        fits = [frame for frame in candidates(anchor) if frame + high < n]
        return fits or [frame for frame in candidates(anchor) if frame + low < n]

    for i, j in revisit:
        gap = j - i
        slack = max(10, round(0.3 * gap))
        low, high = max(1, gap - slack), min(n - 1, gap + slack)
        first = begins(i, low, high)
        if not first:
            continue
        best, least = None, math.inf
        for _ in range(500):
            pair = drawn(first, low, high)
            if pair is not None and abs(pair[1] - pair[0] - gap) < least:
                best, least = pair, abs(pair[1] - pair[0] - gap)
                if least == 0:
                    break
        if best is not None:
            chosen.append(best)
            used.add(best)
    if len(chosen) < 20:
        for i, j in revisit:
            slack = max(3, round(0.5 * (j - i)))
            low, high = max(1, j - i - slack), min(n - 1, j - i + slack)
            first = begins(i, low, high)
            for _ in range(500 if first else 0):
                if len(chosen) >= 20:
                    break
                pair = drawn(first, low, high)
                if pair is not None:
                    chosen.append(pair)
                    used.add(pair)
    return chosen


def neighbours(n: int, revisits: int, draws: random.Random) -> list[tuple[int, int]]:
    longest, anchors = max(6, int(0.02 * n)), [frame for frame in range(n) if frame + 2 < n]
    count = min(min(100, max(20, revisits)), len(anchors))
    places = [anchors[round(x)] for x in np.linspace(0, len(anchors) - 1, num=count)]
    return [(anchor, anchor + draws.randint(2, min(longest, n - 1 - anchor))) for anchor in places]
