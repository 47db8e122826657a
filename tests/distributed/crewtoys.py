"""Workers of a few lines, for processes that Ray starts: they find this file by its path."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage.errors import InputError


@dataclass(frozen=True)
class Toy:
    """Makes a worker that does what each payload says, and notes in `folder` who did what."""

    folder: Path

    def __call__(self) -> Callable[[Sequence[Any]], list[Any]]:
        (self.folder / f"made-{os.getpid()}").touch()
        return self.work

    def work(self, payloads: Sequence[Any]) -> list[Any]:
        return [self.one(*payload) for payload in payloads]

    def one(self, name: str, how: str) -> Any:
        tries = len(list(self.folder.glob(f"{name}-try-*")))
        (self.folder / f"{name}-try-{tries}-{os.getpid()}").touch()
        match how:
            case "slow":
                time.sleep(1.5)
            case "wrong":
                raise InputError("it cannot be had")
            case "fails once" if tries == 0:
                raise RuntimeError("not yet")
            case "fails":
                raise KeyError("always")
            case "dies once" if tries == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "full":
                raise OSError(28, "No space left on device")
        return name, os.getpid()
