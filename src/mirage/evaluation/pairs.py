"""Which frames of a rollout are compared: returns to where the camera has been, spans without a return, neighbours.

`F`: frames. All from the commanded path alone, places in metres. Two rules, chosen by name (`Rule`):

    r2m     as the code of R2M-Bench does (AMAP-ML/R2MBench, commit 88e0cd9, `sample_pairs`), draw for draw
    paper   as its paper (arXiv 2608.27328) was read here before the code could be
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mirage.geometry.camera import Camera

Rule = Literal["r2m", "paper"]
Pair = tuple[int, int]

NEAREST = 10
"""Frames nearer in time than this are no return."""
STILL_METRES, STILL_DEGREES = 0.01, 0.5
"""A step of less is none: static tails, and what tells the motion segments of a path apart."""
TENTHS, TRIES, FEWEST = 10, 500, 20
"""Base pairs begin in the tenth of the video that their return began in; draws for each; below so many they relax."""


@dataclass(frozen=True)
class Pairs:
    """Frame numbers (earlier, later): returns, the same span of time without a return, and neighbours in time."""

    revisit: tuple[Pair, ...]
    base: tuple[Pair, ...]
    short: tuple[Pair, ...]


def revisit_pairs(
    camera: Camera, *, metres: float = 1.0, max_pairs: int = 100, seed: int = 42, rule: Rule = "r2m"
) -> Pairs:
    """The pairs of a path [F]; one that never returns has no revisits and no base, and by the rule r2m no short pairs
    either. metres: of one of its units."""
    return {"r2m": _r2m, "paper": _paper}[rule](camera, metres, max_pairs, seed)


# -- as the code does -------------------------------------------------------------------------------------------------


def _r2m(camera: Camera, metres: float, max_pairs: int, seed: int) -> Pairs:
    """A static tail is cut. Every later frame is matched to the best frame of every earlier motion segment, at least
    NEAREST frames before it; best by yaw + 10 x distance, in degrees and metres. Those at least a fifth of the walk
    apart count, and above `max_pairs` are drawn from."""
    path = _Path.of(camera, metres)
    found = path.matches()
    far = [(i, j) for i, j in found if j - i >= int(len(path) * 0.2)]
    if not far:
        return Pairs((), (), ())
    if len(far) > max_pairs:
        far = random.Random(seed).sample(far, max_pairs)
    base = _Spans(far, len(path), random.Random(seed)).drawn()
    short = _neighbours(len(path), min(100, max(FEWEST, len(far))), random.Random(seed))
    return Pairs(tuple(far), tuple(base), tuple(short))


@dataclass(frozen=True, eq=False)
class _Path:
    """Places [F,3] in metres and yaws [F] in degrees, without the static tail."""

    place: np.ndarray
    yaw: np.ndarray

    @classmethod
    def of(cls, camera: Camera, metres: float) -> "_Path":
        c2w = camera.c2w.double().cpu().numpy()
        place, rotation = c2w[:, :3, 3] * metres, c2w[:, :3, :3]
        yaw = np.array([math.atan2(r[0, 2], r[0, 0]) * 180.0 / math.pi for r in rotation])
        moved = np.sqrt((np.diff(place, axis=0) ** 2).sum(-1)) > STILL_METRES
        trace = sum((rotation[1:] * rotation[:-1]).reshape(-1, 9).T)  # one after another: a step may be just the limit
        turned = [math.acos(c) * 180.0 / math.pi > STILL_DEGREES for c in np.clip((trace - 1) / 2, -1, 1)]
        last = np.flatnonzero(moved | np.array(turned, bool))
        # a path that never moves keeps its tail, and one of two frames too
        count = last[-1] + 2 if len(last) and len(place) > 2 else len(place)
        return cls(place[:count], yaw[:count])

    def __len__(self) -> int:
        return len(self.place)

    def apart(self, frame: int, others: slice) -> tuple[np.ndarray, np.ndarray]:
        """Metres and degrees between one frame and others."""
        x, y, z = (self.place[frame] - self.place[others]).T
        return np.sqrt(x * x + y * y + z * z), np.abs((self.yaw[frame] - self.yaw[others] + 180) % 360 - 180)

    def thresholds(self) -> tuple[float, float]:
        """Metres and degrees within which two frames show the same place."""
        if len(self) < 2:
            return 0.1, 2.0
        steps = [self.apart(frame, slice(frame - 1, frame)) for frame in range(1, len(self))]
        metres, degrees = (np.percentile(np.concatenate(part), 95) for part in zip(*steps, strict=True))
        return max(0.1, min(2 * float(metres), 1.0)), max(1.0, min(2 * float(degrees), 5.0))

    def matches(self) -> list[Pair]:
        """All returns, by their later frame; where segments give fewer than three, all pairs of near frames if those
        are more."""
        near, facing = self.thresholds()
        found: list[Pair] = []
        segments = self._segments()
        for number, later in enumerate(segments):
            for start, end in segments[:number]:
                for j in range(later[0], later[1] + 1):
                    until = min(end, j - NEAREST)
                    distance, angle = self.apart(j, slice(start, max(until + 1, start)))
                    cost = np.where((distance <= near) & (angle <= facing), angle + distance * 10, np.inf)
                    if len(cost) and np.isfinite(cost.min()):
                        found.append((start + int(cost.argmin()), j))
        if len(found) < 3:
            everywhere = list(self._near(near, facing))
            found = everywhere if len(everywhere) > len(found) else found
        return sorted(found, key=lambda pair: pair[::-1])

    def _near(self, near: float, facing: float) -> Iterator[Pair]:
        for i in range(len(self)):
            distance, angle = self.apart(i, slice(i + NEAREST, None))
            yield from ((i, i + NEAREST + int(k)) for k in np.flatnonzero((distance <= near) & (angle <= facing)))

    def _segments(self) -> list[Pair]:
        """First and last frames of motions of one kind: forward or back along the axis that changes most, or a turn to
        one side. What moves less than a step goes on with the motion before. Turns are told by the plain difference of
        yaws, as the code does: a path that turns through 180 degrees has a segment of its own there."""
        segments: list[Pair] = []
        kind, start = None, 0
        for frame in range(1, len(self)):
            step, turn = self.place[frame] - self.place[frame - 1], self.yaw[frame] - self.yaw[frame - 1]
            distance, _ = self.apart(frame, slice(frame - 1, frame))
            if distance[0] > STILL_METRES and abs(turn) < STILL_DEGREES:
                now = "forward" if step[np.abs(step).argmax()] > 0 else "back"
            elif abs(turn) > STILL_DEGREES:
                now = "right" if turn > 0 else "left"
            else:
                continue
            if now != kind:
                segments += [(start, frame - 1)] if kind is not None else []
                kind, start = now, frame
        return [*segments, (start, len(self) - 1)] if kind is not None else segments


@dataclass(eq=False)
class _Spans:
    """Base pairs: for each return one pair of nearly the same span, forward in time, that is near no return with both
    of its ends. It begins in the same tenth of the video, or in the tenths around it where that has no two free frames;
    of TRIES draws the one whose span is nearest wins. Fewer than FEWEST: more, with half the span as tolerance."""

    returns: Sequence[Pair]
    frames: int
    draws: random.Random

    def __post_init__(self) -> None:
        ends = {frame for pair in self.returns for frame in pair}
        self.free = [frame for frame in range(self.frames) if frame not in ends]
        self.open, self.away = set(self.free), max(NEAREST, self.frames // 20)
        self.used: set[Pair] = set()

    def drawn(self) -> list[Pair]:
        if len(self.free) < 2:
            return []
        base = []
        for i, j in self.returns:
            best = self._best(i, j - i, max(10, round(0.3 * (j - i))))
            if best is not None:
                base.append(best)
                self.used.add(best)
        for i, j in self.returns if len(base) < FEWEST else ():
            first, low, high = self._choices(i, j - i, max(3, round(0.5 * (j - i))))
            for _ in range(TRIES if first and len(base) < FEWEST else 0):
                pair = self._draw(first, low, high)
                if pair is not None:
                    base.append(pair)
                    self.used.add(pair)
                if len(base) >= FEWEST:
                    break
        return base

    def _best(self, i: int, span: int, slack: int) -> Pair | None:
        first, low, high = self._choices(i, span, slack)
        best = None
        for _ in range(TRIES if first else 0):
            pair = self._draw(first, low, high)
            if pair is not None and (best is None or _off(pair, span) < _off(best, span)):
                best = pair
                if _off(pair, span) == 0:
                    break
        return best

    def _choices(self, i: int, span: int, slack: int) -> tuple[list[int], int, int]:
        """Frames that a base pair for a return from i may begin at, and its least and longest span."""
        low, high = max(1, span - slack), min(self.frames - 1, span + slack)
        around = self._around(i)
        first = [frame for frame in around if frame + high < self.frames]
        return first or [frame for frame in around if frame + low < self.frames], low, high

    def _around(self, i: int) -> list[int]:
        """Free frames of the tenth that i lies in, with as many tenths around it as it takes to have two of them."""
        size = max(1, math.ceil(self.frames / TENTHS))
        tenth = [min(frame // size, TENTHS - 1) for frame in range(self.frames)]
        for radius in range(TENTHS + 1):
            found = [frame for frame in self.free if abs(tenth[frame] - tenth[i]) <= radius]
            if len(found) >= 2:
                return found
        return self.free

    def _draw(self, first: list[int], low: int, high: int) -> Pair | None:
        begin = self.draws.choice(first)
        end = begin + self.draws.randint(low, high)
        if end >= self.frames or end not in self.open or (begin, end) in self.used:
            return None
        near = any(abs(begin - i) <= self.away and abs(end - j) <= self.away for i, j in self.returns)
        return None if near else (begin, end)


def _off(pair: Pair, span: int) -> int:
    return abs(pair[1] - pair[0] - span)


def _neighbours(frames: int, count: int, draws: random.Random) -> list[Pair]:
    """Pairs of 2 to max(6, F / 50) frames, begun evenly over the video."""
    longest = max(6, int(0.02 * frames))
    begins = range(max(frames - 2, 0))
    if not begins:
        return []
    spread = np.linspace(0, len(begins) - 1, num=min(count, len(begins)))
    return [(i, i + draws.randint(2, min(longest, frames - 1 - i))) for i in map(round, spread.tolist())]


# -- as the paper was read --------------------------------------------------------------------------------------------


def _paper(camera: Camera, metres: float, max_pairs: int, seed: int) -> Pairs:
    """Revisit: places within tau_p and headings within tau_r, at least max(0.2 F, 10) frames apart; for each later
    frame the best earlier one. tau_p: twice the 95th percentile of a step, in 0.1..1 m; tau_r: so too, in 1..5 degrees.
    Base: per revisit one pair that is none, of nearly the same gap, with both ends farther than max(10, F/20) from both
    ends of the revisit. Short: gaps of 2 to max(6, 0.02 F) frames. `max_pairs` revisits are kept, spread evenly."""
    count = len(camera)
    rng = random.Random(seed)
    place, heading = camera.center.double() * metres, _heading(camera)
    away = torch.cdist(place, place)
    turned = ((heading[:, None] - heading + 180) % 360 - 180).abs()
    near, facing = _threshold(away, 0.1, 1.0), _threshold(turned, 1.0, 5.0)
    same = (away <= near) & (turned <= facing)
    gap = torch.arange(count)[:, None] - torch.arange(count)  # [later, earlier]
    candidate = same & (gap >= max(0.2 * count, NEAREST))
    cost = torch.where(candidate, away / near + turned / facing, torch.inf)
    revisit = [(int(cost[j].argmin()), j) for j in range(count) if candidate[j].any()]
    if len(revisit) > max_pairs:
        revisit = [revisit[round(k * (len(revisit) - 1) / (max_pairs - 1))] for k in range(max_pairs)]
    base = [pair for pair in (_elsewhere(i, j, same.numpy(), rng) for i, j in revisit) if pair]
    longest = max(6, count // 50)
    short = [(i, i + step) for i in range(count) for step in range(2, longest + 1) if i + step < count]
    chosen = rng.sample(short, min(len(short), 100, max(FEWEST, len(revisit))))
    return Pairs(tuple(revisit), tuple(base), tuple(sorted(chosen)))


def _elsewhere(i: int, j: int, same: np.ndarray, rng: random.Random) -> Pair | None:
    count = len(same)
    span, away = j - i, max(NEAREST, count // 20)
    slack = max(10, round(0.3 * span))
    at = np.arange(count)
    free = (np.abs(at - i) > away) & (np.abs(at - j) > away)
    gap = at - at[:, None]  # [earlier, later]
    options = np.argwhere(free & free[:, None] & (gap > 0) & (np.abs(gap - span) <= slack) & ~same)
    if not len(options):
        return None
    earlier, later = options[rng.randrange(len(options))]
    return int(earlier), int(later)


def _threshold(distance: Tensor, low: float, high: float) -> float:
    steps = distance.diagonal(offset=1)
    return float(torch.clamp(2 * torch.quantile(steps, 0.95), low, high)) if len(steps) else low


def _heading(camera: Camera) -> Tensor:
    """[F] in degrees about the first camera's vertical."""
    forward = camera.to(torch.float64).relative_to(camera[0].to(torch.float64)).c2w[:, :3, 2]
    return torch.rad2deg(torch.atan2(forward[:, 0], forward[:, 2]))
