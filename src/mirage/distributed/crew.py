"""Work given out to replicas of one worker, each in a process of its own: pulled, retried, and survived.

    for report in drive(turns, make, crew=Crew(replicas=2)):
        report.job.name, report.result, report.error

A worker is what `make()` returns: a function of a list of payloads that returns a list of results. It is made once in
each process, which is where a model is loaded, and made again where Ray had to start the process again. Whoever is free
takes the next turn, so a slow one holds nobody up. A turn that fails goes to the end of the queue, its jobs one by one
from then on; one whose process was killed, or whose machine is gone, is given to the next replica that is free.
"""

import contextlib
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mirage.distributed.cluster import LOCAL, joined
from mirage.errors import InputError, check_number
from mirage.files import FULL

Work = Callable[[Sequence[Any]], Sequence[Any]]
PAUSE = 1.0
"""Seconds until a job that failed is tried again, twice as many each time: a server may come back."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the work.

    ray                 "local": a Ray that is started for it; else the address of one that runs
    replicas            None: one a GPU (or share of one), or on a machine without GPUs one a core
    gpus_per_replica    below 1 several share a GPU
    retries             how often a job that failed is tried again
    """

    ray: str = LOCAL
    replicas: int | None = None
    gpus_per_replica: float = 1.0
    retries: int = 2

    def __post_init__(self) -> None:
        if self.replicas is not None:
            check_number("replicas", self.replicas, kind=int, low=1)
        check_number("GPUs per replica", self.gpus_per_replica, low=0.01, high=64)
        check_number("retries", self.retries, kind=int, low=0)


@dataclass(frozen=True)
class Job:
    """One piece of work. `payload` is what the worker gets: it must pickle."""

    name: str
    payload: Any


@dataclass(frozen=True)
class Report:
    """A job that is over: its result, or after all tries the error, in one line, and where it was raised."""

    job: Job
    result: Any = None
    error: str | None = None
    trace: str = ""


@dataclass(frozen=True)
class Turn:
    """Jobs that are done in one go; `tries` so far, and the moment from when on they may be tried again."""

    jobs: Sequence[Job]
    tries: int = 0
    after: float = 0.0


Take = Callable[[Job], bool]
"""Whether a job is ours to do now; False: somebody else is at it, and it is asked again later."""
Follow = Callable[[Report], Iterable[Job]]
"""Jobs that there are now that one has ended."""


def drive(
    turns: Iterable[Sequence[Job]],
    make: Callable[[], Work],
    *,
    crew: Crew,
    take: Take = lambda job: True,
    follow: Follow = lambda report: (),
) -> Iterator[Report | None]:
    """Reports as jobs end, in whatever order; None about every second, for who shows that time passes.

    Raises `InputError` where a worker cannot be made, and where a disk is full: nothing else can be done then.
    """
    waiting = deque(Turn(jobs) for jobs in turns)
    if not waiting:
        return
    with joined(crew.ray) as ray, contextlib.closing(_Floor(ray, make, crew)) as floor:
        while waiting or floor.busy:
            for _ in range(len(waiting) if floor.free else 0):
                turn = waiting.popleft()
                if turn.after > time.monotonic():
                    waiting.append(turn)
                    continue
                ours = [job for job in turn.jobs if take(job)]
                waiting.extend(replace(turn, jobs=[job]) for job in turn.jobs if job not in ours)
                if ours:
                    floor.start(replace(turn, jobs=ours))
                if not floor.free:
                    break
            for turn, said in floor.ended(timeout=1.0 if floor.busy else 0.2):
                for report in _reports(turn, said, waiting, crew.retries):
                    waiting.extend(Turn([job]) for job in follow(report))
                    yield report
            yield None


def _reports(turn: Turn, said: "Sequence[Any] | Failure", waiting: deque[Turn], retries: int) -> Iterator[Report]:
    """What is to be told of a turn that has ended; what is to be tried again waits."""
    if not isinstance(said, Failure):
        yield from (Report(job, result) for job, result in zip(turn.jobs, said, strict=True))
        return
    if said.kind == "full":
        raise InputError(said.line)
    alone = len(turn.jobs) == 1
    if alone and (said.kind == "wrong" or turn.tries >= retries):
        yield Report(turn.jobs[0], error=said.line, trace=said.trace)
        return
    tries = turn.tries + alone  # of those that were done together each gets all its tries
    after = time.monotonic() + PAUSE * 2**turn.tries if alone else 0.0
    waiting.extend(Turn([job], tries, after) for job in turn.jobs)


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker, without its exception, which may not pickle. wrong: what was asked cannot be had,
    now or later; full: a disk is; lost: the process or its machine is gone."""

    kind: Literal["wrong", "full", "failed", "lost"]
    line: str
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Of an exception, where it was raised."""
        causes = [error, error.__cause__]
        full = any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes)
        kind = "full" if full else "wrong" if isinstance(error, InputError) else "failed"
        said = " ".join(str(error).split())[:500]
        line = said if isinstance(error, InputError) else f"{type(error).__name__}: {said}"
        return cls(kind, line, "".join(traceback.format_exception(error)))


@dataclass
class _Floor:
    """The replicas: `free` ones, and what each of the others does (None: it makes its worker)."""

    ray: Any
    make: Callable[[], Work]
    crew: Crew
    free: list[Any] = field(default_factory=list)
    busy_with: dict[Any, tuple[Any, Turn | None]] = field(default_factory=dict)
    _lost: int = 0  # replicas that ended before they had made their worker, since the last one that had

    def __post_init__(self) -> None:
        has = self.ray.cluster_resources()
        gpus, cores = has.get("GPU", 0.0), int(has.get("CPU", 1))
        each = self.crew.gpus_per_replica
        count = self.crew.replicas or (int(gpus / each) if gpus else cores)
        if gpus and each > gpus:
            raise InputError(f"{each:g} GPUs per replica, and Ray has {gpus:g}; accepted: at most so many")
        threads = max(1, cores // max(count, 1))
        share = {"num_gpus": each} if gpus else {"num_cpus": min(1.0, cores / count)}
        kind = self.ray.remote(max_restarts=-1, max_task_retries=0, **share)(_Replica)
        self.all = [kind.remote(self.make, None if gpus else threads) for _ in range(max(count, 1))]
        for replica in self.all:
            self._prepare(replica)

    @property
    def busy(self) -> bool:
        """Somebody is at a turn."""
        return any(turn is not None for _, turn in self.busy_with.values())

    def start(self, turn: Turn) -> None:
        """Give a turn to a free replica."""
        replica = self.free.pop()
        self.busy_with[replica.do.remote([job.payload for job in turn.jobs])] = replica, turn

    def ended(self, *, timeout: float) -> Iterator[tuple[Turn, Sequence[Any] | Failure]]:
        """Turns that have ended, with what came of them; waits for one as long as `timeout`."""
        if not self.busy_with:
            time.sleep(timeout)
            return
        ready, _ = self.ray.wait(list(self.busy_with), num_returns=1, timeout=timeout)
        for reference in ready:
            replica, turn = self.busy_with.pop(reference)
            try:
                said = self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                said = Failure("lost", f"its process has ended ({' '.join(str(error).split())[:300]})")
            if isinstance(said, Failure) and said.kind == "lost":
                self._restart(replica, said, made=turn is not None)
            else:
                self.free.append(replica)
            if turn is not None:
                yield turn, said
            elif not isinstance(said, Failure):
                self._lost = 0
            elif said.kind != "lost":
                raise InputError(f"no worker can be made: {said.line}")

    def close(self) -> None:
        """Nobody works any more; on a Ray that stays, others may have their places."""
        for replica in self.all:
            self.ray.kill(replica, no_restart=True)

    def _prepare(self, replica: Any) -> None:
        # these calls wait for the process to be there again, however often it has to be started
        self.busy_with[replica.prepare.options(max_task_retries=-1).remote()] = replica, None

    def _restart(self, replica: Any, why: Failure, *, made: bool) -> None:
        self._lost = 0 if made else self._lost + 1
        if self._lost > self.crew.retries + len(self.all):
            raise InputError(f"{self._lost} processes in a row ended before they had a worker; the last: {why.line}")
        self._prepare(replica)


class _Replica:
    """In a process of its own."""

    def __init__(self, make: Callable[[], Work], threads: int | None) -> None:
        self.make, self.threads, self.work = make, threads, None

    def prepare(self) -> Failure | None:
        """Make the worker, if it is not there."""
        try:
            self._made()
        except Exception as error:
            return Failure.of(error)

    def do(self, payloads: Sequence[Any]) -> Sequence[Any] | Failure:
        """One turn. What is wrong with it is told, and the next one comes."""
        try:
            return self._made()(payloads)
        except Exception as error:
            return Failure.of(error)

    def _made(self) -> Work:
        if self.work is None:
            if self.threads is not None:  # read by torch when it is imported
                os.environ["OMP_NUM_THREADS"] = str(self.threads)
            self.work = self.make()
        return self.work
