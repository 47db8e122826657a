"""What many GPUs would do, simulated from stage times: walks that are pulled by replicas, and training steps.

    python benchmarks/scale.py check OUT --replicas 2     a batch that has run, by its done.json files, and simulated
    python benchmarks/scale.py worldscore                 3,000 walks on 1, 8 and 64 GPUs, of 40 steps (--steps 4)
    python benchmarks/scale.py training                   steps on 1, 8 and 64 GPUs

A replica loads its model once, one at a time from a storage that all share, and then pulls walks: fetch, make, store.
What a GPU has been timed at comes from `results/gpu/`: seconds of a chunk of Wan2.2-TI2V-5B by its steps, and of one
pass of network and branch. All else is assumed or computed (ASSUMED, PASSES), and can be given on the command line.
"""

import argparse
import json
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simpy

WALKS = 3000
RECORD = Path(__file__).resolve().parents[1] / "results" / "gpu" / "nvidia-h100-80gb-hbm3.json"
ASSUMED = {
    "chunks": 2,  # of a walk of one move
    "long": 0.33,  # of the walks have three moves
    "encode": 3.0,  # a walk's first frame and words
    "spread": 0.05,  # of a walk's seconds
    "load": 40.0,  # once the weights are there
    "weights": 28e9,  # computed: 5.0 + 2.6 billion in bfloat16, and 12.8 GB of text encoder, autoencoder, depth head
    "input": 1e6,
    "output": 5e6,
    "rate": 2e9,  # of the storage
}
PASSES = 4.0
"""Of a training sample, in forward passes: itself, again for the gradient checkpoints, and two of a backward pass."""


def measured(steps: int) -> dict[str, float]:
    """Seconds of a chunk of so many steps, end to end, and of a training sample."""
    tables = json.loads(RECORD.read_text())["tables"]
    chunks = tables["Seconds per chunk, end to end, worked out from a step's time"]
    (chunk,) = [row["latent"] for row in chunks if row["steps"] == steps]
    step = next(
        row for row in tables["One denoising step"] if (row["weights"], row["blocks"]) == ("bf16", "as they are")
    )
    return {"chunk": chunk, "sample": PASSES * step["s"]["value"]}


@dataclass(frozen=True)
class Stages:
    """Seconds of one walk: `made` of each, in the order of the manifest; `load`: until a replica has its model once its
    bytes are there; and what goes over the storage, which gives `rate` bytes a second to all together."""

    made: Sequence[float]
    load: float
    weights: float = 0.0
    input: float = 0.0
    output: float = 0.0
    rate: float = float("inf")


@dataclass(frozen=True)
class Outcome:
    """When all is done, in seconds; how much of that the replicas were at work; when the first walk began."""

    seconds: float
    busy: float
    first: float


def pulled(stages: Stages, replicas: int, late: Sequence[float] = ()) -> Outcome:
    """Replicas that each load and then take the next walk, until none is left. `late`: seconds that each of them began
    after the others."""
    world = simpy.Environment()
    storage = simpy.PriorityResource(world, capacity=1)  # what is small goes first, as where all share its rate
    left = list(reversed(stages.made))
    work: list[float] = []
    begun: list[float] = []

    def moved(size: float) -> Generator[Any, Any, None]:
        if size and stages.rate != float("inf"):
            with storage.request(priority=round(size)) as turn:
                yield turn
                yield world.timeout(size / stages.rate)

    def replica(number: int) -> Generator[Any, Any, None]:
        yield world.timeout(late[number] if late else 0.0)
        yield from moved(stages.weights)
        yield world.timeout(stages.load)
        while left:
            seconds = left.pop()
            begun.append(world.now)
            yield from moved(stages.input)
            yield world.timeout(seconds)
            yield from moved(stages.output)
            work.append(seconds)

    for number in range(replicas):
        world.process(replica(number))
    world.run()
    return Outcome(world.now, sum(work) / (world.now * replicas), min(begun, default=0.0))


def check(out: Path, replicas: int) -> dict[str, Any]:
    """From each walk's own seconds: how long the whole takes, as it was and as simulated."""
    done = [json.loads(path.read_text()) | {"end": path.stat().st_mtime} for path in out.glob("*/done.json")]
    done.sort(key=lambda one: one["end"] - one["seconds"]["total"])
    begun: dict[int, float] = {}
    for one in done:
        begun.setdefault(one["process"], one["end"] - one["seconds"]["total"])
    start = min(begun.values())
    measured = max(one["end"] for one in done) - start
    late = [moment - start for moment in begun.values()] + [measured] * (replicas - len(begun))
    simulated = pulled(Stages([one["seconds"]["total"] for one in done], load=0.0), replicas, late).seconds
    return {"walks": len(done), "measured": measured, "simulated": simulated, "ratio": simulated / measured}


def worldscore(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Walks that differ in length as WorldScore's do: one move (2,000 static ones and 1,000 dynamic) or three."""
    chance = random.Random(0)
    rows = []
    for gpus in (1, 8, 64):
        made = []
        for _ in range(WALKS):
            chunks = asked.chunks * (3 if chance.random() < asked.long else 1)
            made.append((chunks * asked.chunk + asked.encode) * chance.lognormvariate(0, asked.spread))
        stages = Stages(made, asked.load, asked.weights, asked.input, asked.output, asked.rate)
        one = pulled(stages, gpus)
        row = {"gpus": gpus, "hours": one.seconds / 3600, "busy": one.busy, "first_walk_after": one.first}
        rows.append(row | {"speedup": sum(made) / one.seconds})
    return rows


def training(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A step: forward and backward of each sample, beside which weights are gathered and gradients reduced."""
    rows = []
    for gpus in (1, 8, 64):
        nodes = -(-gpus // 8)
        rate = asked.inside if nodes == 1 else asked.between / 8  # each of the 8 GPUs of a machine shares its network
        moved = (
            2 * asked.network * 2 + asked.learning * 4 if gpus > 1 else 0.0
        )  # gathered twice in bf16, reduced in f32
        talk = moved * (gpus - 1) / gpus / rate
        accumulate = max(1, asked.batch // gpus)
        step = accumulate * max(asked.sample, talk) + (min(asked.sample, talk) / 45)
        rows.append({"gpus": gpus, "seconds_a_step": step, "samples_a_second": max(asked.batch, gpus) / step,
                     "talk": talk, "bound": "network" if talk > asked.sample else "compute"})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    one = kinds.add_parser("check")
    one.add_argument("out", type=Path)
    one.add_argument("--replicas", type=int, default=2)
    two = kinds.add_parser("worldscore")
    two.add_argument("--steps", type=int, default=40)
    two.add_argument("--chunk", type=float, help="seconds of a chunk; as measured for --steps, if left out")
    for name, value in ASSUMED.items():
        two.add_argument(f"--{name}", type=type(value), default=value)
    three = kinds.add_parser("training")
    for name, value in {
        "sample": measured(40)["sample"], "batch": 64,
        "network": 7.6e9, "learning": 2.6e9, "inside": 300e9, "between": 50e9,
    }.items():  # fmt: skip
        three.add_argument(f"--{name}", type=type(value), default=value)
    asked = parser.parse_args()
    if asked.what == "check":
        print(json.dumps(check(asked.out, asked.replicas), indent=1))
        return
    if asked.what == "worldscore" and asked.chunk is None:
        asked.chunk = measured(asked.steps)["chunk"]
    for row in worldscore(asked) if asked.what == "worldscore" else training(asked):
        print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}))


if __name__ == "__main__":
    main()
