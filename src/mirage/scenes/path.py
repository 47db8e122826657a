"""Camera walks inside a scene: smooth, at eye height, clear of everything, at the pace of a slow walk.

The floor is a grid of 12 cm cells, free where a body fits. A route is the shortest one over free cells, straightened,
rounded as far as it stays free, and walked at constant pace; where the eyes look is smoothed apart from where the
feet go. Angles: yaw about scene y (0 looks along +z, positive to the right), radians.
"""

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import torch

from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.scenes.kinds import EVERY_KIND

if TYPE_CHECKING:
    from mirage.scenes.scene import Scene

LEG = 48
"""Frames of one way of a back_and_forth: it stands where it began at 0, 96, 192, ..., as after 3 chunks of 33."""
_CELL, _BODY = 0.12, 0.45  # metres


def path(scene: "Scene", kind: str, frames: int = 97, *, seed: int = 0) -> Camera:
    """A walk of `kind` as `Camera [frames]`. All but walk, roam and still_look end exactly where they began;
    back_and_forth does so after every `2 * LEG` frames.

    32 frames move 0.5 to 1.5 m or turn 20 to 45 degrees, whatever `frames` is.
    """
    if kind not in EVERY_KIND:
        raise InputError(f"a path is one of {', '.join(EVERY_KIND)}, got {kind!r}")
    if frames < 1:
        raise InputError(f"a path has at least one frame, got {frames}")
    rng = random.Random(f"{scene.seed} {kind} {seed}")
    floor = _Floor(scene)
    position, yaw, pitch = _WALKS[kind](scene, floor, frames, rng)
    eye = -rng.uniform(1.4, 1.6)
    pitch = pitch + math.radians(rng.uniform(-9, -2))
    center = np.stack([position[:, 0], np.full(frames, eye), position[:, 1]], 1)
    return Camera(_poses(center, yaw, pitch), torch.tensor(scene.intrinsics))


def _poses(center: np.ndarray, yaw: np.ndarray, pitch: np.ndarray) -> torch.Tensor:
    """Poses [F,4,4] at `center` [F,3] looking along yaw, then up by pitch."""
    ahead = np.stack([np.cos(pitch) * np.sin(yaw), -np.sin(pitch), np.cos(pitch) * np.cos(yaw)], 1)
    right = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], 1)
    down = np.cross(ahead, right)
    rotation = torch.from_numpy(np.stack([right, down, ahead], 2))
    return pose.make_pose(rotation, torch.from_numpy(center)).float()


class _Floor:
    """Which cells of the floor are free for a body, and how far it is over them."""

    def __init__(self, scene: "Scene"):
        areas = np.array(scene.areas)
        self.origin = areas[:, :2].min(0)
        self.shape = tuple(np.ceil((areas[:, 2:].max(0) - self.origin) / _CELL).astype(int) + 1)
        x, z = (self.origin[i] + (np.arange(self.shape[i]) + 0.5) * _CELL for i in range(2))
        inside = np.zeros(self.shape, bool)
        for x0, z0, x1, z1 in areas:
            inside |= ((x >= x0) & (x <= x1))[:, None] & ((z >= z0) & (z <= z1))
        self.clearance = np.full(self.shape, 9.0)
        for x0, z0, x1, z1 in _obstacles(scene):
            dx, dz = np.maximum(np.maximum(x0 - x, x - x1), 0), np.maximum(np.maximum(z0 - z, z - z1), 0)
            self.clearance = np.minimum(self.clearance, np.hypot(dx[:, None], dz))
        self.clearance[~inside] = 0
        self.free = self.clearance > _BODY
        if not self.free.any():
            self.free = self.clearance >= 0.9 * self.clearance.max()

    def cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = ((points - self.origin) / _CELL).astype(int)
        return index[..., 0].clip(0, self.shape[0] - 1), index[..., 1].clip(0, self.shape[1] - 1)

    def point(self, i: int, j: int) -> np.ndarray:
        return self.origin + (np.array([i, j]) + 0.5) * _CELL

    def open(self, points: np.ndarray) -> bool:
        """Whether all points [N,2] (x, z) are free."""
        return bool(self.free[self.cells(points)].all())

    def straight(self, a: np.ndarray, b: np.ndarray) -> bool:
        steps = max(2, int(np.linalg.norm(b - a) / (_CELL / 3)))
        return self.open(a + np.linspace(0, 1, steps)[:, None] * (b - a))

    def distances(self, start: np.ndarray) -> np.ndarray:
        """Steps over free cells from `start` (-1: out of reach), as waves of eight neighbours and four in turn."""
        steps = np.full(self.shape, -1)
        i, j = self.cells(start)
        steps[i, j] = 0
        wave = steps == 0
        count = 0
        while wave.any():
            count += 1
            grown = np.zeros_like(wave)
            grown[1:] |= wave[:-1]
            grown[:-1] |= wave[1:]
            grown[:, 1:] |= wave[:, :-1]
            grown[:, :-1] |= wave[:, 1:]
            wave = grown & self.free & (steps < 0)
            steps[wave] = count
        return steps

    def sight(self, at: np.ndarray, yaw: np.ndarray, reach: float = 8.0) -> np.ndarray:
        """How far one sees from `at [N,2]` along `yaw [N]` before something is in the way, in metres."""
        s = np.arange(0.1, reach, 0.15)
        points = at[:, None] + s[:, None] * np.stack([np.sin(yaw), np.cos(yaw)], 1)[:, None]
        blocked = self.clearance[self.cells(points)] <= 0.01
        return np.where(blocked.any(1), s[blocked.argmax(1)], reach)


def _obstacles(scene: "Scene") -> list[tuple[float, float, float, float]]:
    """Footprints (x0, z0, x1, z1) of all that stands between knee and head, with the room that a mover needs."""
    boxes = scene.boxes.cpu()
    reach = scene.motion[:, :3].abs().cpu()
    low, high = boxes[:, 0] - reach, boxes[:, 1] + reach
    body = (high[:, 1] > -1.9) & (low[:, 1] < -0.05)
    return torch.stack([low[:, 0], low[:, 2], high[:, 0], high[:, 2]], 1)[body].tolist()


def _start(scene: "Scene", floor: _Floor, rng: random.Random) -> tuple[np.ndarray, float]:
    """A free place and a yaw with something to see: a long view with things in it, no wall before the nose."""
    cells = np.argwhere(floor.free)
    count = 40
    at = np.stack([floor.point(*cells[rng.randrange(len(cells))]) for _ in range(count)])
    yaw = np.array([rng.uniform(-math.pi, math.pi) for _ in range(count)])
    views = [floor.sight(at, yaw + turn) for turn in (-0.4, 0.0, 0.4)]
    score = np.minimum(views[1], 5) + 0.5 * np.minimum(views[0], 4) + 0.5 * np.minimum(views[2], 4)
    for x, _, z in scene.things:
        offset = np.array([x, z]) - at
        away = np.hypot(*offset.T)
        angle = np.abs(_wrapped(np.arctan2(offset[:, 0], offset[:, 1]) - yaw))
        score += 0.8 * ((angle < 0.45) & (away > 1.3) & (away < 6))
    best = int(score.argmax())
    return at[best], float(yaw[best])


def _walk(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    start, yaw = _start(scene, floor, rng)
    length = _pace(rng) * max(frames - 1, 1)
    position = _route(floor, start, yaw, length, frames, rng)
    return position, _looking(position, yaw, rng), np.zeros(frames)


def _there_and_back(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    half = (frames + 1) // 2
    position, yaw, pitch = _walk(scene, floor, half, rng)
    return tuple(_mirrored(v, frames) for v in (position, yaw, pitch))


def _back_and_forth(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    """The same way there and back, again and again."""
    way = _walk(scene, floor, LEG + 1, rng)
    at = (np.arange(frames) + LEG) % (2 * LEG) - LEG
    return tuple(values[np.abs(at)] for values in way)


def _roam(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    """One walk after another, from where the last one ended: as long as one likes, through all there is."""
    start, yaw = _start(scene, floor, rng)
    position, heading = start[None], yaw
    while len(position) < frames:
        count = rng.randint(2, 6) * LEG
        leg = _route(floor, position[-1], heading, _pace(rng) * (count - 1), count, rng)
        position, heading = np.concatenate([position, leg[1:]]), rng.uniform(-math.pi, math.pi)
    return position[:frames], _looking(position[:frames], yaw, rng), np.zeros(frames)


def _orbit(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    """Once around a small loop in the free floor, eyes on one thing or place beyond it, with a slow swing."""
    start, yaw = _start(scene, floor, rng)
    turn = np.linspace(0, 2 * math.pi, frames)
    turn[-1] = 0.0 if frames > 1 else turn[-1]
    circumference = _pace(rng) * max(frames - 1, 1)
    side = rng.choice((-1, 1))
    for shrink in (1.0, 0.75, 0.55, 0.4, 0.25, 0.1, 0.0):
        radius = shrink * circumference / (2 * math.pi)
        # Starts at `start`, leaves to the side, so that near things pass before far ones.
        across, along = radius * side * np.sin(turn), radius * (1 - np.cos(turn))
        position = start + across[:, None] * _heading(yaw + math.pi / 2) + along[:, None] * _heading(yaw)
        if floor.open(position):
            break
    target = start + (min(float(floor.sight(start[None], np.array([yaw]))[0]), 5.0) + 0.8) * _heading(yaw)
    swing = math.radians(rng.uniform(8, 18)) * rng.choice((-1, 1))
    offset = target - position
    look = np.arctan2(offset[:, 0], offset[:, 1]) + swing * np.sin(turn)
    return position, np.unwrap(look), np.zeros(frames)


def _pan_and_return(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    start, yaw = _start(scene, floor, rng)
    half = (frames + 1) // 2
    rate = math.radians(rng.uniform(28, 42)) / 32 * rng.choice((-1, 1))
    look = yaw + rate * (half - 1) * _eased(half)
    drift = rng.uniform(-0.3, 0.3) * _eased(half)[:, None] * _heading(yaw + math.pi / 2)
    position = start + drift
    if not floor.open(position):
        position = np.repeat(start[None], half, 0)
    return _mirrored(position, frames), _mirrored(look, frames), np.zeros(frames)


def _approach(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    """Straight towards a thing as far as it is clear, then back."""
    half = (frames + 1) // 2
    length = _pace(rng) * max(half - 1, 1)
    start, yaw = _start(scene, floor, rng)
    target = start + 4 * _heading(yaw)
    cells = np.argwhere(floor.free)
    things = list(scene.things)
    rng.shuffle(things)
    for x, _, z in things[:4]:
        thing = np.array([x, z])
        options = np.stack([floor.point(*cells[rng.randrange(len(cells))]) for _ in range(24)])
        away = np.linalg.norm(options - thing, axis=1)
        order = np.argsort(np.abs(away - (length + 1.6)))[:6]
        clear = [
            i
            for i in order
            if away[i] > 1.5
            and floor.straight(
                options[i], options[i] + (thing - options[i]) * max(0.0, (min(length, away[i] - 1.4)) / away[i])
            )
        ]
        if clear:
            start, target = options[clear[0]], thing
            break
    offset = target - start
    away = float(np.linalg.norm(offset))
    step = min(length, max(away - 1.4, 0.0))
    for shrink in (1.0, 0.75, 0.5, 0.25, 0.0):
        end = start + offset / away * step * shrink
        if floor.straight(start, end):
            break
    position = start + _eased(half)[:, None] * (end - start)
    aim = np.arctan2(*(target - position).T)
    swing = math.radians(rng.uniform(-18, 18)) * (1 - _eased(half))
    return _mirrored(position, frames), _mirrored(np.unwrap(aim) + swing, frames), np.zeros(frames)


def _still_look(scene: "Scene", floor: _Floor, frames: int, rng: random.Random):
    start, yaw = _start(scene, floor, rng)
    time = np.arange(frames) / 32
    sway = [math.radians(rng.uniform(9, 16)), math.radians(rng.uniform(1, 3))]
    phase = [rng.uniform(0, 2 * math.pi) for _ in range(3)]
    slow, quick = np.sin(2 * math.pi * time / 2.8 + phase[0]), np.sin(2 * math.pi * time / 1.3 + phase[1])
    look = yaw + sway[0] * slow + sway[1] * quick
    pitch = math.radians(3) * np.sin(2 * math.pi * time / 2 + phase[2])
    return np.repeat(start[None], frames, 0), look, pitch


_WALKS = {
    "there_and_back": _there_and_back,
    "back_and_forth": _back_and_forth,
    "roam": _roam,
    "orbit": _orbit,
    "pan_and_return": _pan_and_return,
    "walk": _walk,
    "approach": _approach,
    "still_look": _still_look,
}


def _pace(rng: random.Random) -> float:
    """Metres per frame: 0.6 to 1.3 metres in 32 frames."""
    return rng.uniform(0.6, 1.3) / 32


def _heading(yaw: float) -> np.ndarray:
    return np.array([math.sin(yaw), math.cos(yaw)])


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _eased(count: int) -> np.ndarray:
    """0 to 1 over `count` frames, gentle at both ends, at most a fifth faster than even in between."""
    t = np.linspace(0, 1, count)
    return t - 0.2 * np.sin(2 * math.pi * t) / (2 * math.pi) if count > 1 else np.zeros(count)


def _mirrored(values: np.ndarray, frames: int) -> np.ndarray:
    """The way there, then the same way back."""
    return np.concatenate([values, values[: frames - len(values)][::-1]])


def _route(floor: _Floor, start: np.ndarray, yaw: float, length: float, frames: int, rng: random.Random) -> np.ndarray:
    """Positions [frames,2] along a rounded route of `length` metres (less where the floor ends) from `start`."""
    steps = floor.distances(start)
    reached = np.argwhere(steps >= 0)
    far = steps[steps >= 0] * _CELL
    # Far enough, and rather ahead than behind: the first frame's view is where the walk leads.
    offset = floor.origin + (reached + 0.5) * _CELL - start
    ahead = np.cos(_wrapped(np.arctan2(offset[:, 0], offset[:, 1]) - yaw))
    taste = np.array([rng.random() for _ in range(len(far))])
    score = -np.abs(far - 1.3 * length) + 0.8 * ahead * np.minimum(far, 3) + taste
    corners = _straightened(floor, _downhill(floor, steps, reached[int(score.argmax())]))
    line = _resampled(np.concatenate([start[None], corners[1:]]), 0.03)
    for width in (17, 9, 5, 1):
        smooth = _smoothed(line, width)
        if floor.open(smooth):
            break
    gone = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(smooth, axis=0), axis=1))])
    at = _eased(frames) * min(length, gone[-1])
    return np.stack([np.interp(at, gone, smooth[:, i]) for i in range(2)], 1)


def _downhill(floor: _Floor, steps: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Cell centres from the start (step 0) to the goal."""
    i, j = map(int, goal)
    cells = [(i, j)]
    while steps[i, j] > 0:
        i, j = next(
            (a, b)
            for a, b in ((i + 1, j), (i, j + 1), (i - 1, j), (i, j - 1))
            if 0 <= a < floor.shape[0] and 0 <= b < floor.shape[1] and steps[a, b] == steps[i, j] - 1
        )
        cells.append((i, j))
    return np.stack([floor.point(*cell) for cell in reversed(cells)])


def _straightened(floor: _Floor, points: np.ndarray) -> np.ndarray:
    """Keep only the corners that sight lines need."""
    kept, at = [points[0]], 0
    while at < len(points) - 1:
        ahead = len(points) - 1
        while ahead > at + 1 and not floor.straight(points[at], points[ahead]):
            ahead = at + max(1, (ahead - at) * 3 // 4)
        at = ahead
        kept.append(points[at])
    return np.stack(kept)


def _resampled(points: np.ndarray, step: float) -> np.ndarray:
    gone = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, gone[-1], max(2, int(gone[-1] / step)))
    return np.stack([np.interp(at, gone, points[:, i]) for i in range(2)], 1)


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Twice a running mean over 2 * width - 1 samples; the ends stay where they are (odd reflection)."""
    for _ in range(2):
        n = min(width - 1, len(values) - 1)
        if n > 0:
            head = 2 * values[:1] - values[n:0:-1]
            tail = 2 * values[-1:] - values[-2 : -n - 2 : -1]
            padded = np.concatenate([head, values, tail])
            total = np.cumsum(np.concatenate([np.zeros_like(padded[:1]), padded]), axis=0)
            values = (total[2 * n + 1 :] - total[: -2 * n - 1]) / (2 * n + 1)
    return values


def _looking(position: np.ndarray, yaw: float, rng: random.Random) -> np.ndarray:
    """Yaw [F]: begins at `yaw`, turns towards where the feet go, never faster than 42 degrees in 32 frames."""
    frames = len(position)
    ahead = position[np.minimum(np.arange(frames) + 24, frames - 1)] - position[np.maximum(np.arange(frames) - 4, 0)]
    wanted = np.arctan2(ahead[:, 0], ahead[:, 1])
    moving = np.linalg.norm(ahead, axis=1) > 0.05
    sway = math.radians(rng.uniform(6, 14)) * np.sin(2 * math.pi * np.arange(frames) / rng.uniform(60, 100))
    limit, pull, look, speed = math.radians(42) / 32, 0.05, yaw, 0.0
    looks = []
    for i in range(frames):
        looks.append(look)
        error = float(_wrapped(np.array(wanted[i] + sway[i] - look))) if moving[i] else 0.0
        speed += 0.15 * (max(-limit, min(limit, pull * error)) - speed)
        look += speed
    return np.array(looks)
