"""Walks, branches, saves, loads, kills, full disks and damaged files, for hours; a plain model says what must be there.

    python benchmarks/soak.py --minutes 240 --seed 0 [--folder DIR]        # JSON; the first thing that is lost ends it
    python benchmarks/soak.py --again DIR                                  # the round that it ended with, once more

SIGINT and SIGTERM end it after the round that runs. Its figures are printed however it ends, with why and with what was
lost, if anything was, and are in DIR/figures.json after every round, for ends that print nothing. Where something was
lost the folder is kept: in `now` what is there, in `before` what the round began with. A round's choices are drawn from
the seed and its number, so that `--again` makes the same ones.

Two kinds of rounds, each in a process of its own that may be killed at any moment (SIGKILL, SIGTERM, SIGINT):

walk       a session steps, branches and goes back, saves and loads; in some rounds the disk is full from somewhere on
command    `mirage generate` with a world, taken up again with --resume until it ends by itself

What the model knows is what was promised: a save that was told is there, to the bit; one that was killed leaves what
was there before or the new world; the same walk (its moves, however it was saved, loaded and branched in between) is
the same state; a damaged file is refused; a walk that was resumed ends as if it had not been killed; nothing is left
over; memory is flat. Steps are those of a small model with random weights: nothing here depends on what they draw.
"""

import argparse
import faulthandler
import hashlib
import json
import os
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from mirage.cli import main as mirage
from mirage.cli.stopping import terminable
from mirage.depth.protocol import Views
from mirage.errors import InputError, Terminated
from mirage.files import BESIDE, replacing
from mirage.formats.image import save_image
from mirage.formats.video import load_video
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan, push_in
from mirage.memory import MemoryPolicy
from mirage.models.tiny import tiny_world
from mirage.models.world import WorldModel
from mirage.rollout import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

MOVES = {
    "left": lambda camera: pan(camera, 5, degrees=-20)[1:],
    "right": lambda camera: pan(camera, 5, degrees=20)[1:],
    "on": lambda camera: push_in(camera, 5, distance=0.2)[1:],
    "back": lambda camera: push_in(camera, 5, distance=-0.2)[1:],
}
NAMES = [f"{letter}.safetensors" for letter in "abcdef"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SIZE = (64, 96)
SHORT, LONG, EVERY = (
    30,
    150,
    20,
)  # operations of a round at most, those of every so many'th one, whose memory is looked at
ROOM = 32 * 2**20  # bytes that the last two thirds of a long walk may add: allocators keep some
QUIET = 600  # seconds after which a process that says nothing hangs
Walk = tuple[str, ...]


@dataclass
class Known:
    """What must be there, in plain Python."""

    saved: dict[str, str] = field(default_factory=dict)  # file -> digest of its state
    walks: dict[str, Walk] = field(default_factory=dict)  # digest -> the walk that it is
    states: dict[Walk, str] = field(default_factory=dict)
    whole: dict[int, list[str]] = field(default_factory=dict)  # seed of a command -> what it makes undisturbed
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0  # that a command takes
    grown: list[int] = field(default_factory=list)  # bytes that the last two thirds of long walks have added

    def told(self, digest: str, walk: Walk) -> None:
        """The same walk is the same state, and another walk another one: nothing lost, nothing doubled."""
        assert self.states.setdefault(walk, digest) == digest, f"the walk {walk} has two states"
        assert self.walks.setdefault(digest, walk) == walk, f"{walk} and {self.walks[digest]} are one state"

    def keep(self, path: Path, **more: Any) -> None:
        known = {"saved": self.saved, "walks": self.walks, "whole": self.whole, "seconds": self.seconds}
        path.write_text(json.dumps(known | more))

    @classmethod
    def kept(cls, text: dict[str, Any]) -> "Known":
        walks = {digest: tuple(walk) for digest, walk in text["walks"].items()}
        whole = {int(seed): state for seed, state in text["whole"].items()}
        states = {walk: digest for digest, walk in walks.items()}
        return cls(text["saved"], walks, states, whole, seconds=text["seconds"])


def digest(session: Session) -> str:
    """Of all that a saved session is."""
    tensors, meta = session.memory.state()  # pyright: ignore[reportAttributeAccessIssue] -- latent
    past = session.history
    tensors = tensors | {"latents": past.latents, "z": past.depth.z, "pose": past.camera.c2w, "number": past.number}
    total = hashlib.blake2b(json.dumps([meta, session.index, session.seed, session.prompt]).encode(), digest_size=16)
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def wall(views: Views) -> DepthMap:
    """Every view sees a wall two units away."""
    return DepthMap(torch.full((len(views.latents), *views.grid), 2.0))


def begun(model: WorldModel) -> Session:
    """The one walk that all begin with."""
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    settings = Settings(sampler=Sampler(steps=1), history=24, draft=False)
    policy = MemoryPolicy(max_bytes=2**19)
    session = Session(model, image, camera=Camera.for_image(SIZE), depth=wall, policy=policy, settings=settings)
    session.step(MOVES["on"](session.camera))
    return session


# -- rounds of walking ------------------------------------------------------------------------------------------------


@terminable()
def walking(folder: Path, known: Known, say: Any, *, seed: int, fills: bool, long: bool) -> None:
    """One process's life: its operations, each told before and after."""
    rng, model = random.Random(seed), tiny_world()
    session, walk, held = begun(model), ("on",), []
    for number in range(LONG if long else rng.randrange(5, SHORT)):
        kind = rng.choice(["step", "step", "step", "branch", "back", "save", "save", "load"])
        if kind == "step":
            move = rng.choice(list(MOVES))
            session.step(MOVES[move](session.camera))
            walk = (*walk, move)
        elif kind == "branch":
            held = [*held[-3:], (session, session.snapshot(), walk)]
        elif kind == "back" and held:
            session, moment, walk = rng.choice(held)
            session.restore(moment)
        elif kind == "load" and known.saved:
            name = rng.choice(list(known.saved))
            session = Session.load(folder / name, model, depth=wall)
            walk = known.walks[known.saved[name]]
            say("loaded", name, digest(session))
        elif kind == "save":
            name, state = rng.choice(NAMES), digest(session)
            say("begins", name, state, *walk)
            if fills and rng.random() < 0.5:
                most = rng.choice([0, 1, 100, 5000, 20_000, 40_000])
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            try:
                session.save(folder / name)
                known.saved[name], known.walks[state] = state, walk
                say("saved", name, state)
            except InputError as error:
                if "cannot write" not in str(error):
                    raise
                say("refused", name)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        say("did", kind)
        if number in (LONG // 3, LONG - 1):
            say("holds", str(resident()))


def round_of_walking(folder: Path, known: Known, rng: random.Random, *, long: bool) -> None:
    """A process that walks and may be killed, if it is not a long one; then what it has left is compared with what it
    has told."""
    seed, fills = rng.randrange(2**31), rng.random() < 0.3
    kill = rng.choice(SIGNALS) if rng.random() < 0.6 and not long else None
    child = Child(partial(walking, folder, known, seed=seed, fills=fills, long=long), folder / "log")
    killed, told = child.ended(kill, rng.uniform(0, 0.1), words=rng.randrange(SHORT))
    if not child.disturbed:
        assert child.log.read_text() == "", child.log.read_text()
    known.counts[f"walks ended by {killed.name if killed else 'themselves'}"] += 1
    possible = {name: {state} for name, state in known.saved.items()}
    for word, *rest in told:
        if word == "begins":
            name, state, *walk = rest
            known.told(state, tuple(walk))
            possible.setdefault(name, {""}).add(state)
        elif word == "saved":
            possible[rest[0]] = {rest[1]}
        elif word == "loaded":
            assert rest[1] in possible[rest[0]], f"{rest[0]} was loaded as what nobody saved"
        if word != "holds":
            known.counts[" ".join(rest) if word == "did" else word] += 1
    held = [int(rest[0]) for word, *rest in told if word == "holds"]
    if len(held) == 2:
        known.grown.append(held[1] - held[0])
        assert known.grown[-1] < ROOM, f"a walk's memory grows: {held}"
    there = found(folder, [name for name in possible if (folder / name).exists()])
    for name, states in possible.items():
        if name in there:
            assert there[name] in states, f"{name} is what nobody saved: {there[name]}"
            known.saved[name] = there[name]
        else:
            assert "" in states, f"{name} is lost"
            known.saved.pop(name, None)
    swept(folder, killed)


def found(folder: Path, names: list[str]) -> dict[str, str]:
    """What is in these files: a digest of its state, or why it was refused."""

    def look(say: Any) -> None:
        model = tiny_world()
        for name in names:
            try:
                say(name, digest(Session.load(folder / name, model, depth=wall)))
            except InputError as error:
                say(name, f"refused: {error}")

    return dict(Child(look, folder / "log").ended()[1])


def damaged(folder: Path, known: Known, rng: random.Random) -> None:
    """A file is cut, flipped or written over: it is refused, or it is still the same. Then it is put right."""
    if not known.saved:
        return
    path = folder / rng.choice(list(known.saved))
    right = path.read_bytes()
    data = bytearray(right)
    kind, at = rng.randrange(3), rng.randrange(len(data))
    if kind == 0:
        del data[at:]
    elif kind == 1:
        data[at] ^= 1 << rng.randrange(8)
    else:
        data[at : at + 64] = rng.randbytes(64)
    path.write_bytes(data)
    state = found(folder, [path.name])[path.name]
    assert state == known.saved[path.name] or state.startswith(f"refused: {path}"), state
    known.counts["damage refused" if state.startswith("refused") else "damage that changes nothing"] += 1
    with replacing(path) as beside:
        beside.write_bytes(right)


# -- rounds of the command --------------------------------------------------------------------------------------------


def round_of_the_command(folder: Path, known: Known, rng: random.Random) -> None:
    """`mirage generate` until it ends by itself; the first time of each seed nobody disturbs it."""
    seed = rng.randrange(3)
    place = folder / "command"
    place.mkdir()
    given = f"--model {folder.parent / 'model'} --image {folder.parent / 'image.png'} --seed {seed}"
    walk = "--trajectory orbit --frames 41 --steps 1"
    makes = f"--out {place / 'w.mp4'} --save-world {place / 'w.safetensors'} --overwrite"
    begin = f"generate {given} {walk} {makes}".split()
    killed: signal.Signals | None = None
    for _ in range(12):
        receipt = place / "w.receipt.json"
        going = receipt.exists() and json.loads(receipt.read_text())["resume"]
        asked = ["generate", "--resume", str(receipt)] if going else begin
        kill = rng.choice(SIGNALS) if seed in known.whole and rng.random() < 0.7 else None
        begun, share = time.monotonic(), rng.random()
        child = Child(lambda say, asked=asked: mirage(asked), folder / "log")
        killed, _ = child.ended(kill, share * known.seconds)
        known.counts[f"commands ended by {killed.name if killed else 'themselves'}"] += 1
        if not killed:
            known.seconds = max(known.seconds, time.monotonic() - begun)
            break
    if not killed:
        made = ["w.mp4", "w.receipt.json", "w.safetensors", "w.sheet.png"]
        assert sorted(path.name for path in place.iterdir()) == made, sorted(place.iterdir())
        _, (state,) = Child(lambda say: say(*ending(place)), folder / "log").ended()
        assert known.whole.setdefault(seed, state) == state, "a walk that was resumed is another one"
    shutil.rmtree(place)


def ending(place: Path) -> list[str]:
    """The frames of a finished walk, and its world to the bit."""
    made = [load_video(place / "w.mp4").numpy().tobytes(), (place / "w.safetensors").read_bytes()]
    return [hashlib.blake2b(content).hexdigest() for content in made]


# -- processes --------------------------------------------------------------------------------------------------------


class Child:
    """A process that does `work(say)`. What it says comes back, what it prints goes into `log`.

    The process that forks has one thread and computes nothing, for no child would find the threads and locks of torch
    as they were. Signals wait until the child is ready for them, so that none of them makes it a second soak.
    """

    def __init__(self, work: Any, log: Path) -> None:
        self.log, self.disturbed = log, False
        self.reads, writes = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.process = os.fork()
        if not self.process:
            _live(work, log, writes)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(writes)
        os.set_blocking(self.reads, False)

    def ended(
        self, kill: signal.Signals | None = None, seconds: float = 0.0, *, words: int = 0
    ) -> tuple[signal.Signals | None, list[list[str]]]:
        """Wait for it, and kill it so many seconds after it has said so much: by what it ended, if by that, and what
        it had said."""
        said, heard, due, done, status = b"", time.monotonic(), None, 0, 0
        while not done:
            done, status = os.waitpid(self.process, os.WNOHANG)
            try:
                while more := os.read(self.reads, 2**16):  # as it comes: a pipe that is full stops who writes
                    said, heard = said + more, time.monotonic()
            except BlockingIOError:
                pass  # no more for now
            if due is None and said.count(b"\n") >= words:
                due = time.monotonic() + seconds
            if not done and kill is not None and not self.disturbed and due is not None and time.monotonic() > due:
                os.kill(self.process, kill)
                self.disturbed, heard = True, time.monotonic()
            if not done and time.monotonic() > heard + QUIET:
                os.kill(self.process, signal.SIGABRT)  # its log then says where it hung
                _, status = os.waitpid(self.process, 0)
                raise AssertionError(f"a process did not end: {self.log.read_text()}")
            time.sleep(0.01)
        os.close(self.reads)
        told = [json.loads(line) for line in said.decode().split("\n")[:-1]]
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == kill, f"ended by signal {os.WTERMSIG(status)}: {self.log.read_text()}"
            return kill, told
        code = os.WEXITSTATUS(status)
        expected = code == 0 or (self.disturbed and code == 128 + (kill or 0))
        assert expected, f"exit code {code} (asked: {kill}): {told[-1:]} {self.log.read_text()}"
        return (kill if code else None), told


def _live(work: Any, log: Path, writes: int) -> NoReturn:
    """The child's whole life: whatever happens, it goes nowhere from here."""

    def say(*words: str) -> None:
        os.write(writes, (json.dumps(words) + "\n").encode())

    code = 1
    try:
        try:
            os.setpgid(0, 0)  # Ctrl-C is for the soak, which ends when this round is over
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            faulthandler.disable()  # it may think that it listens where Ray, at its end, took the handlers away
            faulthandler.enable(file)
            torch.set_num_threads(1)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            code = work(say) or 0
        except BaseException as error:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            code = 143 if isinstance(error, Terminated) else 130 if isinstance(error, KeyboardInterrupt) else 1
            if code == 1:
                say("fault", traceback.format_exc())
    finally:
        os._exit(code)


def swept(folder: Path, killed: signal.Signals | None) -> None:
    """Nothing is left over; what SIGKILL has left goes with the next write."""
    left = [path for path in folder.iterdir() if path.name.startswith(".") and BESIDE in path.name]
    assert not left or killed, f"{left} after no kill"
    for path in {folder / path.name[1:].split(f"-{BESIDE}-")[0] for path in left}:
        had = path.read_bytes() if path.exists() else None
        with replacing(path, alone=True) as beside:
            beside.write_bytes(had or b"")
        if had is None:
            path.unlink()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


# -- the soak ---------------------------------------------------------------------------------------------------------


def soak(folder: Path, *, minutes: float, seed: int) -> dict[str, Any]:
    """Rounds until the time is over, a signal comes or something is lost: the figures, and why it ended."""
    known, number, memory, start = Known(), 0, [resident()], time.monotonic()
    asked: list[signal.Signals] = []
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda sign, frame: asked.append(signal.Signals(sign)))

    def figures(end: str, lost: str | None = None) -> dict[str, Any]:
        return {"minutes": round((time.monotonic() - start) / 60, 1), "seed": seed, "rounds": number, "end": end,
                "lost": lost, **counted(known, memory)}  # fmt: skip

    try:
        Child(partial(prepare, folder), folder / "log").ended()
        (folder / "now").mkdir()
        while time.monotonic() < start + 60 * minutes and not asked:
            number += 1
            shutil.rmtree(folder / "before", ignore_errors=True)
            shutil.copytree(folder / "now", folder / "before")
            known.keep(folder / "before.json", seed=seed, number=number)
            one_round(folder / "now", known, seed=seed, number=number)
            memory.append(resident())
            (folder / "figures.json").write_text(json.dumps(figures("it runs"), indent=1))
    except Exception:  # a fault of the soak's own among them: nothing ends it without a word
        return figures(f"something was lost in round {number}", traceback.format_exc())
    return figures(asked[0].name if asked else "its time was over")


def again(folder: Path) -> dict[str, Any]:
    """The last round of a soak that was kept, from what it began with."""
    kept = json.loads((folder / "before.json").read_text())
    known = Known.kept(kept)
    shutil.rmtree(folder / "now")
    shutil.copytree(folder / "before", folder / "now")
    one_round(folder / "now", known, seed=kept["seed"], number=kept["number"])
    return {"seed": kept["seed"], "round": kept["number"], "end": "nothing was lost", "lost": None, **counted(known)}


def prepare(folder: Path, say: Any) -> None:
    """What the command is given."""
    tiny_world().save_pretrained(folder / "model")
    save_image(folder / "image.png", torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1)))


def one_round(folder: Path, known: Known, *, seed: int, number: int) -> None:
    """A process that walks, a file that is damaged, now and then a command."""
    rng = random.Random(f"{seed} {number}")
    round_of_walking(folder, known, rng, long=number % EVERY == 5)
    damaged(folder, known, rng)
    if number % 10 == 0:
        round_of_the_command(folder, known, rng)
    left = sorted(path.name for path in folder.iterdir())
    assert left == sorted({"log", *known.saved}), left


def counted(known: Known, memory: list[int] | None = None) -> dict[str, Any]:
    """Figures; `memory`: bytes that the soak itself has held after each round, of which nine are shown."""
    memory = memory or []
    ends = [f"{what} ended by {sign.name}" for what in ("walks", "commands") for sign in SIGNALS]
    return {
        "operations": sum(known.counts[kind] for kind in ("step", "branch", "back", "save", "load")),
        "kills": sum(known.counts[end] for end in ends),
        "states": len(known.states),
        **dict(sorted(known.counts.items())),
        "grown_MiB": [round(value / 2**20, 1) for value in known.grown],
        "resident_MiB": [round(value / 2**20, 1) for value in memory[:: max(1, len(memory) // 8)]],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def resident() -> int:
    """Bytes of this process's own."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=240.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty one, on the disk to try; default: a temporary one")
    parser.add_argument("--again", type=Path, metavar="DIR", help="the folder of a soak that something was lost in")
    asked = parser.parse_args()
    folder = asked.again or asked.folder or Path(tempfile.mkdtemp(prefix="mirage-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    figures = again(folder) if asked.again else soak(folder, minutes=asked.minutes, seed=asked.seed)
    if not figures["lost"] and not asked.again and not asked.folder:
        shutil.rmtree(folder)
    elif figures["lost"]:
        figures["folder"] = str(folder)
        (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    text = json.dumps(figures, indent=1)
    try:
        print(text, flush=True)
    except OSError:  # nobody reads it, or its disk is full
        print(text, file=sys.stderr)
    if figures["lost"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
