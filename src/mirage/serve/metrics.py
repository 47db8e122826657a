"""What the server counts, as Prometheus reads it: text of one line per number, with what it means above it."""

from collections import Counter
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path

from mirage.errors import InputError
from mirage.rollout import Chunk
from mirage.serve.kept import Kept
from mirage.serve.worker import Cancelled

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Steps by how they ended, and seconds by stage; `text` adds what `kept` is now."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._steps: Counter[str] = Counter({"done": 0, "cancelled": 0, "refused": 0, "failed": 0})
        self._seconds: Counter[str] = Counter()

    def step(self, result: str, seconds: Mapping[str, float]) -> None:
        """A step ended: done, cancelled, refused (it was asked wrongly) or failed."""
        self._steps[result] += 1
        self._seconds.update(seconds)

    def text(self) -> str:
        """All of it."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        awake = self._kept.awake
        yield from _family("mirage_sessions", "gauge", "Sessions in memory, and on disk alone.", {
            '{state="awake"}': len(awake), '{state="asleep"}': self._kept.asleep})  # fmt: skip
        yield from _family("mirage_waiting", "gauge", "Steps and commands that wait for the model.", {
            "": self._kept.sessions.worker.waiting})  # fmt: skip
        yield from _family("mirage_memory_bytes", "gauge", "Spatial memory of the sessions in memory.", {
            "": sum(walker.session.memory.nbytes for walker in awake)})  # fmt: skip
        yield from _family("mirage_steps_total", "counter", "Steps by how they ended.", {
            f'{{result="{result}"}}': count for result, count in self._steps.items()})  # fmt: skip
        yield from _family("mirage_step_seconds_total", "counter", "Seconds of steps by stage.", {
            f'{{stage="{stage}"}}': round(seconds, 6) for stage, seconds in self._seconds.items()})  # fmt: skip
        if (pages := Path("/proc/self/statm")).exists():
            yield from _family("process_resident_memory_bytes", "gauge", "Resident memory of the process.", {
                "": int(pages.read_text().split()[1]) * 4096})  # fmt: skip


async def counted(metrics: Metrics, stepping: Awaitable[Chunk]) -> Chunk:
    """A step, counted by how it ended."""
    result, seconds = "failed", {}
    try:
        chunk = await stepping
        result, seconds = "done", chunk.timings
        return chunk
    except (Cancelled, InputError) as error:
        result = "cancelled" if isinstance(error, Cancelled) else "refused"
        raise
    finally:
        metrics.step(result, seconds)


def _family(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    yield from (f"{name}{labels} {value}" for labels, value in values.items())
