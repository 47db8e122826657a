"""How a scene is drawn from one seed: rooms, doors, streets and furniture as boxes, with their finishes and lights.

Scene axes and letters as in scene.py. What is rolled, and in which order, decides every scene of every seed: a change
here makes other scenes of the same seeds.
"""

import math
import random
from itertools import pairwise
from typing import Any, Literal

import torch

from mirage.scenes import words
from mirage.scenes.finishes import Finish, Light, added, lamp, plain
from mirage.scenes.render import FLOOR, ROWS, SPANS
from mirage.scenes.textures import FAMILIES

Difficulty = Literal["standard", "hard"]
_INF = 1e3
_LIVELY = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
_WALL = ("flat", "flat", "stripes", "checker", "dots", "blotches", "gradient", "bricks", "tiles")


class Builder:
    """Puts boxes, finishes and lights down one after another; `built` makes a scene's tensors of them."""

    def __init__(self, rng: random.Random, difficulty: Difficulty):
        self.rng, self.difficulty = rng, difficulty
        self.boxes: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
        self.faces: list[list[float]] = []
        self.group: list[int] = []
        self.motion: list[tuple[float, ...]] = []
        self.standing: list[tuple[float, ...]] = []
        self.areas: list[tuple[float, float, float, float]] = []
        self.things: list[tuple[float, float, float]] = []
        self.taken: list[tuple[float, float, float, float]] = []
        self.sky = words.SKIES["clear"]

    def built(self) -> dict[str, Any]:
        """The fields of a `Scene`, but for its caption and seed."""
        fx = 0.5 / math.tan(math.radians(self.rng.uniform(60, 75)) / 2)
        motion = torch.tensor(self.motion)
        sky = torch.zeros(3, 4)
        sky[:, :3] = torch.tensor(self.sky[:3])
        sky[2, 3] = self.sky[3]
        return {
            "boxes": torch.tensor(self.boxes),
            "material": torch.tensor(self.faces).T.contiguous(),
            "group": torch.tensor(self.group),
            "motion": motion,
            "motion_boxes": (motion[:, :3] != 0).any(1),
            "moves": bool((motion[:, :3] != 0).any()),
            "standing": tuple(self.standing),
            "sky": sky,
            "areas": tuple(self.areas),
            "things": tuple(self.things),
            "intrinsics": (fx, fx * 4 / 3, 0.5, 0.5),
        }

    # -- indoors ---------------------------------------------------------------------------------------------------

    def rooms(self, moving: bool) -> str:
        """One to three rooms in a row along x, joined by doors; the middle one of three may be a corridor."""
        rng, thick = self.rng, 0.2
        count = rng.choice((1, 2, 2, 3))
        height = rng.uniform(2.6, 3.3)
        name = rng.choice(tuple(words.LIGHTS))
        plans, x = [], 0.0
        for i in range(count):
            corridor = count == 3 and i == 1 and rng.random() < 0.5
            width = rng.uniform(3.0, 4.5) if corridor else rng.uniform(4.4, 7.0)
            depth = rng.uniform(2.0, 2.5) if corridor else rng.uniform(4.4, 7.0)
            z = rng.uniform(-0.5, 0.5)
            plans.append((x, z - depth / 2, x + width, z + depth / 2))
            x += width + thick
        doors = []
        for a, b in pairwise(plans):
            lowest, highest = max(a[1], b[1]) + 0.85, min(a[3], b[3]) - 0.85
            doors.append((rng.uniform(lowest, highest), rng.uniform(1.25, 1.6)))
        finishes = []
        for _ in plans:
            wall = rng.choice((*_LIVELY, "beige", "white", "grey"))
            floor = rng.choice([c for c in words.COLOURS if c not in (wall, "pink", "white")])
            finishes.append(
                (
                    self.finish(wall, _WALL, 1.0, soft=True, extent=(0.0, -height)),
                    self.finish(floor, ("flat", "checker", "stripes", "blotches", "tiles", "tiles"), 1.0, soft=True),
                    self.finish(rng.choice(("white", "white", "beige", "grey")), ("flat",), 1.0),
                )
            )
        lights = [lamp(rng, name, plan, height) for plan in plans]
        frame = plain(words.shade(rng.choice(("white", "brown", "dark")), rng), "plain")

        for i, (x0, z0, x1, z1) in enumerate(plans):
            wall, floor, ceiling = finishes[i]
            light, room = lights[i], (x0, x1, -height, 0.0, z0, z1)
            half = thick / 2
            self.box((x0 - half, 0, z0 - half), (x1 + half, thick, z1 + half), floor, light, around=room)
            self.box(
                (x0 - half, -height - thick, z0 - half), (x1 + half, -height, z1 + half), ceiling, light, around=room
            )
            self.box((x0 - half, -height, z0 - thick), (x1 + half, 0, z0), wall, light, around=room)
            self.box((x0 - half, -height, z1), (x1 + half, 0, z1 + thick), wall, light, around=room)
            self.areas.append((x0, z0, x1, z1))
        for x, i in ((plans[0][0] - thick, 0), (plans[-1][2], -1)):
            z0, z1 = plans[i][1], plans[i][3]
            room = (plans[i][0], plans[i][2], -height, 0.0, z0, z1)
            self.box((x, -height, z0), (x + thick, 0, z1), finishes[i][0], lights[i], around=room)
        for i, (at, wide) in enumerate(doors):
            self.partition(
                plans[i],
                plans[i + 1],
                at,
                wide,
                height,
                (finishes[i][0], finishes[i + 1][0]),
                frame,
                (lights[i], lights[i + 1]),
            )

        named = []
        for i, plan in enumerate(plans):
            self.decorate(plan, height, lights[i], i == 0, i == len(plans) - 1)
            narrow = plan[3] - plan[1] < 3
            named.append(self.furnish(plan, height, lights[i], 1 if narrow else rng.randint(2, 4)))
        if moving:
            self.movers(plans[rng.randrange(len(plans))], lights[0])
        parts = []
        for i, (wall, floor, _) in enumerate(finishes):
            clauses = [f"{wall.words} walls", words.article(f"{floor.words} floor"), *named[i]]
            parts.append(("a room with " if i == 0 else "the next room has ") + words.listed(clauses))
        parts.append(f"{name} light")
        return "; ".join(parts) + ("; with moving boxes" if moving else "")

    def partition(self, a, b, at, wide, height, finish, frame, light) -> None:
        """The wall between rooms `a` and `b` (x0, z0, x1, z1) around a door `wide` metres wide at z = `at`."""
        x0, x1, top = a[2], b[0], -2.15
        low, high = min(a[1], b[1]) - 0.2, max(a[3], b[3]) + 0.2
        left, right = at - wide / 2, at + wide / 2
        for z0, z1, y1 in ((low, left, 0.0), (right, high, 0.0), (left, right, top)):
            self.box(
                (x0, -height, z0),
                (x1, y1, z1),
                frame,
                light[0],
                sides={0: (finish[0], light[0], a), 1: (finish[1], light[1], b)},
                ceiling=height,
            )
        for x, lit in ((x0, light[0]), (x1, light[1])):
            for z in (left - 0.12, right):
                self.box((x - 0.03, top - 0.12, z), (x + 0.03, 0, z + 0.12), frame, lit)
            self.box((x - 0.03, top - 0.12, left), (x + 0.03, top, right), frame, lit)
        self.areas.append((x0 - 0.5, left, x1 + 0.5, right))
        self.taken.append((x0 - 1.2, left - 0.2, x1 + 1.2, right + 0.2))

    def decorate(self, plan, height, light, first, last) -> None:
        """Pictures and windows on the outer walls."""
        rng = self.rng
        x0, z0, x1, z1 = plan
        walls = [(2, z0, 1, x0, x1), (2, z1, -1, x0, x1)]
        walls += [(0, x0, 1, z0, z1)] if first else []
        walls += [(0, x1, -1, z0, z1)] if last else []
        for axis, at, inward, low, high in walls:
            if rng.random() < 0.3 or high - low < 2.4:
                continue
            wide, tall = rng.uniform(1.0, min(2.0, (high - low) / 2)), rng.uniform(0.8, 1.2)
            mid, up = rng.uniform(low + wide / 2 + 0.4, high - wide / 2 - 0.4), -rng.uniform(1.45, 1.7)
            finish = self.panel(wide, tall, mid - wide / 2, up - tall / 2)
            near, far = sorted((at, at + 0.05 * inward))
            deep, along = (near, far), (mid - wide / 2, mid + wide / 2)
            (xa, xb), (za, zb) = (deep, along) if axis == 0 else (along, deep)
            self.box((xa, up - tall / 2, za), (xb, up + tall / 2, zb), finish, light)

    def panel(self, wide: float, tall: float, u: float, v: float) -> Finish:
        """A picture or a window, spread over its box, whose low corner is (u, v)."""
        rng = self.rng
        if rng.random() < 0.5:
            chosen = rng.sample([c for c in words.COLOURS if c != "dark"], 2)
            colours = (words.shade(rng.choice(("dark", "brown", "white")), rng), *(words.shade(c, rng) for c in chosen))
            return Finish("frame", added(*colours, spread=True), (wide, tall), 0.1, f"{u} {v}")
        colours = (words.shade("white", rng), (0.42, 0.66, 0.92), (0.92, 0.95, 0.96))
        return Finish("windows", added(*colours), (wide / 2, tall / 2), 0.14, f"{u} {v}")

    def furnish(self, plan, height, light, count: int) -> list[str]:
        """Boxes, pillars, cabinets and tables where they leave room; their words."""
        rng, named = self.rng, []
        for _ in range(count):
            kind = rng.choice(("box", "box", "pillar", "cabinet", "table"))
            w, tall, d = {
                "box": (rng.uniform(0.6, 1.1), rng.uniform(0.5, 1.1), rng.uniform(0.6, 1.1)),
                "pillar": (rng.uniform(0.4, 0.6), height, rng.uniform(0.4, 0.6)),
                "cabinet": (rng.uniform(0.9, 1.5), rng.uniform(1.2, 2.0), rng.uniform(0.45, 0.6)),
                "table": (rng.uniform(1.0, 1.6), rng.uniform(0.65, 0.8), rng.uniform(0.7, 1.0)),
            }[kind]
            if rng.random() < 0.5:
                w, d = d, w
            spot = self.spot(plan, w, d, against=kind == "cabinet" or rng.random() < 0.5)
            if spot is None:
                continue
            x, z = spot
            colour = rng.choice([c for c in words.COLOURS if c != "dark"])
            finish = self.finish(
                colour, ("flat", "stripes", "checker", "dots", "gradient", "blotches"), 0.9, extent=(0.0, -tall)
            )
            self.stand(x, z, w, tall, d, finish, light, table=kind == "table")
            named.append(words.article(f"{finish.words} {kind}"))
        return named

    def stand(self, x, z, w, tall, d, finish, light, *, table=False) -> None:
        """A piece of furniture on the floor; a table is a top on a narrower foot."""
        around = (-_INF, _INF, -_INF, 0.0, -_INF, _INF)
        low, high = (x - w / 2, -tall, z - d / 2), (x + w / 2, 0.0, z + d / 2)
        if table:
            self.box(low, (high[0], -tall + 0.1, high[2]), finish, light)
            foot = plain(tuple(0.6 * c for c in finish.colours[0]), "plain")
            self.box((x - w / 4, -tall + 0.1, z - d / 4), (x + w / 4, 0.0, z + d / 4), foot, light, around=around)
        else:
            self.box(low, high, finish, light, around=around)
        shrink = 4 if table else 2
        self.standing.append((x, z, w / shrink, d / shrink, 0.7 if table else 0.5))
        self.taken.append((low[0], low[2], high[0], high[2]))
        self.things.append((x, -min(tall / 2, 1.2), z))

    def movers(self, plan, light) -> None:
        """Boxes that glide or bob to and fro."""
        for _ in range(self.rng.randint(1, 3)):
            rng = self.rng
            side, reach = rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.7)
            axis = rng.choice((0, 1, 2))
            sweep = [side + 2 * reach * (axis == 0), side + 2 * reach * (axis == 2)]
            spot = self.spot(plan, *sweep, against=False)
            if spot is None:
                continue
            x, z = spot
            y = -side / 2 - 0.02 - (reach if axis == 1 else 0)
            colour = rng.choice([c for c in words.COLOURS if c != "dark"])
            finish = self.finish(colour, ("flat", "stripes", "checker", "dots"), 0.8)
            amplitude = [0.0, 0.0, 0.0]
            amplitude[axis] = reach
            low, high = (x - side / 2, y - side / 2, z - side / 2), (x + side / 2, y + side / 2, z + side / 2)
            self.box(low, high, finish, light, motion=(*amplitude, rng.uniform(50, 110), rng.random()))
            self.taken.append((x - sweep[0] / 2, z - sweep[1] / 2, x + sweep[0] / 2, z + sweep[1] / 2))
            self.things.append((x, y, z))

    def spot(self, plan, w, d, *, against: bool) -> tuple[float, float] | None:
        """A free place for a footprint w x d in a room, against a wall or anywhere; None after some tries."""
        rng = self.rng
        x0, z0, x1, z1 = plan
        if w + 1.2 > x1 - x0 or d + 1.2 > z1 - z0:
            return None
        for _ in range(10):
            x, z = rng.uniform(x0 + w / 2, x1 - w / 2), rng.uniform(z0 + d / 2, z1 - d / 2)
            if against:
                left, right, front, back = x0 + w / 2 + 0.06, x1 - w / 2 - 0.06, z0 + d / 2 + 0.06, z1 - d / 2 - 0.06
                x, z = rng.choice(((left, z), (right, z), (x, front), (x, back)))
            apart = 0.35
            if all(
                x + w / 2 + apart < a or x - w / 2 - apart > c or z + d / 2 + apart < b or z - d / 2 - apart > e
                for a, b, c, e in self.taken
            ):
                return x, z
        return None

    # -- outdoors --------------------------------------------------------------------------------------------------

    def street(self, moving: bool) -> str:
        """Two rows of buildings along a street under the sky, with boxes and pillars on the ground."""
        rng = self.rng
        sky = rng.choice(tuple(words.SKIES))
        self.sky = words.SKIES[sky]
        tint, strength, ambient = words.LIGHTS[words.SKY_LIGHT[sky]]
        sun = (rng.choice((-1, 1)) * rng.uniform(25, 60), -60.0, rng.choice((-1, 1)) * rng.uniform(25, 50))
        light = Light(sun, 0.0, tuple(0.62 * strength * c for c in tint), tuple((ambient + 0.05) * c for c in tint))
        ground = self.finish(
            rng.choice(("grey", "beige", "green", "brown", "teal", "orange")),
            ("flat", "blotches", "tiles", "checker"),
            1.6,
            soft=True,
        )
        self.box((-40, 0, -40), (40, 0.2, 40), ground, light)
        half = rng.uniform(3.4, 5.0)
        around = (-_INF, _INF, -_INF, 0.0, -_INF, _INF)
        named = []
        for side in (-1, 1):
            z = -13.0 + rng.uniform(-1, 1)
            while z < 12:
                long = rng.uniform(4.0, 7.5)
                tall, deep = rng.uniform(3.0, 8.0), rng.uniform(4.0, 7.0)
                name = rng.choice((*_LIVELY, "beige", "white", "brown"))
                back = rng.uniform(0, 0.8)
                x0, x1 = sorted((side * (half + back), side * (half + back + deep)))
                walls = (
                    self.facade(name)
                    if rng.random() < 0.6
                    else self.finish(name, ("bricks", "stripes", "tiles", "flat", "gradient"), 1.3, extent=(0.0, -tall))
                )
                self.box((x0, -tall, z), (x1, 0, z + long), walls, light, around=around)
                self.standing.append(((x0 + x1) / 2, z + long / 2, deep / 2, long / 2, 0.8))
                self.taken.append((x0, z, x1, z + long))
                named.append(name)
                z += long + rng.choice((0.0, 0.0, rng.uniform(0.8, 2.0)))
        for end in (-1, 1):
            if rng.random() < 0.6:
                name = rng.choice(("red", "yellow", "green", "blue", "purple", "white"))
                tall, at = rng.uniform(3.0, 6.0), end * rng.uniform(11.0, 13.0)
                z0, z1 = sorted((at, at + end * 4))
                self.box((-half + 0.4, -tall, z0), (half - 0.4, 0, z1), self.facade(name), light, around=around)
                self.taken.append((-half, z0, half, z1))
        plan = (-half, -8.0, half, 8.0)
        self.areas.append(plan)
        things = self.furnish(plan, rng.uniform(2.4, 3.6), light, rng.randint(3, 6))
        if moving:
            self.movers(plan, light)
        names = list(dict.fromkeys(named))[:3]
        clauses = [f"{words.listed(names)} buildings", words.article(f"{ground.words} ground"), *things]
        ending = "; with moving boxes" if moving else ""
        return f"a street under {words.article(sky)} sky with {words.listed(clauses)}{ending}"

    def facade(self, name: str) -> Finish:
        rng = self.rng
        day, evening = ((0.25, 0.36, 0.52), (0.55, 0.74, 0.9)), ((0.32, 0.28, 0.3), (0.98, 0.84, 0.5))
        glass = day if rng.random() < 0.6 else evening
        period = (rng.uniform(1.5, 2.2), rng.uniform(1.6, 2.1))
        return Finish("windows", added(words.shade(name, rng), *glass), period, rng.uniform(0.42, 0.55), name)

    # -- finishes, lights, boxes -----------------------------------------------------------------------------------

    def finish(
        self,
        colour: str,
        families: tuple[str, ...],
        scale: float,
        *,
        soft: bool = False,
        extent: tuple[float, float] = (0.0, 1.0),
    ) -> Finish:
        """A pattern of a named colour and a second one; `soft`: nearer tones; a gradient runs over `extent`."""
        rng = self.rng
        family = rng.choice(families)
        base = words.shade(colour, rng)
        partner = rng.choice(("white", "white", "dark", "beige", *(c for c in words.COLOURS if c != colour)))
        other = words.shade(partner if partner != colour else "white", rng)
        mix = rng.uniform(0.3, 0.6) if soft else rng.uniform(0.7, 1.0)
        other = tuple(a + mix * (b - a) for a, b in zip(base, other, strict=True))
        period, duty = (1.0, 1.0), 0.5
        fine = 1.0 if self.difficulty == "standard" else rng.uniform(0.15, 0.45)
        size = scale * fine * rng.uniform(0.9, 1.5)
        if family == "stripes":
            period, duty = rng.choice(((size, _INF), (size, size))), rng.uniform(0.4, 0.6)
        elif family in ("checker", "dots"):
            period, duty = (size * 1.15,) * 2, rng.uniform(0.5, 0.65)
        elif family == "blotches":
            period = (size * 2.2, size * 2.2)
        elif family == "gradient":
            period = (1.0, extent[1] - extent[0])
        elif family in ("bricks", "tiles"):
            period = (size * 1.1, size * (0.55 if family == "bricks" else 1.1))
            duty = 0.07
            joint = tuple(0.55 * a + 0.4 for a in base) if rng.random() < 0.6 else tuple(0.6 * a for a in base)
            colours = added(joint, base, tuple(0.72 * a for a in base))
            return Finish(family, colours, period, duty, f"{colour} {words.PATTERNS[family]}")
        colours = added(base, other, base)
        name = colour if family == "flat" else f"{colour} {words.PATTERNS[family]}"
        return Finish(family, colours, period, duty, name)

    def box(
        self,
        low,
        high,
        finish: Finish,
        light: Light,
        *,
        around=None,
        sides=None,
        ceiling=0.0,
        motion=(0.0, 0.0, 0.0, 1.0, 0.0),
    ) -> None:
        """One box. `around` (x0, x1, y0, y1, z0, z1): where its surroundings darken its faces; `sides`: other finishes
        for its two x faces, each with its light and its room."""
        self.boxes.append((tuple(map(float, low)), tuple(map(float, high))))
        self.motion.append(tuple(map(float, motion)))
        moves = any(motion[:3])
        for axis in range(3):
            b, c = SPANS[axis]
            for side in range(2):
                look, lit = finish, light
                bounds = around or (-_INF, _INF, -_INF, _INF, -_INF, _INF)
                if sides and axis == 0:
                    look, lit, (_, z0, _, z1) = sides[side]
                    bounds = (-_INF, _INF, -ceiling, 0.0, z0, z1)
                family = look.family
                anchor = (0.0, 0.0)
                if moves or (around and around[2] == -_INF):  # furniture carries its pattern with it
                    anchor = (low[b], 0.0 if axis != 1 else low[c])
                if family in ("frame", "windows") and look.words[-1].isdigit():
                    anchor = tuple(map(float, look.words.split()))
                    if high[axis] - low[axis] > 0.06:  # the rim of a panel
                        family = "flat"
                if family in ("windows", "gradient") and axis == 1:  # roofs and tops are plain
                    family = "flat"
                near = 1.0 if side else -1.0
                bounds = (*bounds[2 * b : 2 * b + 2], *bounds[2 * c : 2 * c + 2])
                self.faces.append(
                    [
                        *(v for colour in look.colours for v in colour),
                        1 / look.period[0],
                        1 / look.period[1],
                        *anchor,
                        look.duty,
                        *lit.position,
                        lit.falloff,
                        *lit.colour,
                        *lit.ambient,
                        *bounds,
                        near,
                    ]
                )
                assert len(self.faces[-1]) == len(ROWS)
                kind = FLOOR if axis == 1 and low[1] == 0 else axis
                self.group.append(kind * len(FAMILIES) + FAMILIES.index(family))
