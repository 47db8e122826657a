"""Builds of Mirage to be timed beside each other: this one, and one of another commit in an environment of its own.

with tempfile.TemporaryDirectory() as place:
    builds = [Build.running(), Build.of_commit("v1.2", Path(place))]
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mirage.errors import InputError
from mirage.version import CHECKOUT


@dataclass(frozen=True)
class Build:
    """A Python that has Mirage. `name`: what tables call it."""

    name: str
    python: Path

    @classmethod
    def running(cls) -> "Build":
        """The one that runs now."""
        return cls("this build", Path(sys.executable))

    @classmethod
    def of_commit(cls, commit: str, place: Path) -> "Build":
        """That of a commit (a hash, tag or branch) of this checkout, installed in `place` as its own constraints.txt
        says; one that lies there already is used again. Raises `InputError` where git does not know the commit, and
        where the installation fails."""
        if not (CHECKOUT / ".git").exists():
            raise InputError(f"the Mirage that runs is no checkout, so there is no {commit} to compare with")
        named = ["git", "-C", str(CHECKOUT), "rev-parse", "--short=12", "--verify", "--quiet", f"{commit}^{{commit}}"]
        found = subprocess.run(named, capture_output=True, text=True)
        if found.returncode:
            raise InputError(f"git knows no commit {commit!r}; expected a hash, a tag or a branch of this checkout")
        name = found.stdout.strip()
        tree, environment, whole = place / name, place / f"{name}.venv", place / f"{name}.installed"
        python = environment / "bin" / "python"
        if not whole.exists():
            tree.mkdir(parents=True, exist_ok=True)
            archive = ["git", "-C", str(CHECKOUT), "archive", "--format=tar", "--output", f"{tree}.tar", name]
            _done(archive)
            _done(["tar", "-xf", f"{tree}.tar", "-C", str(tree)])
            Path(f"{tree}.tar").unlink()
            _done([sys.executable, "-m", "venv", "--clear", str(environment)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _done([*pip, "-c", str(tree / "constraints.txt"), str(tree)])
            whole.touch()
        return cls(name, python)

    def command(self, *words: str) -> list[str]:
        """Words behind its `python`; nothing of the folder that it runs in is imported."""
        return [str(self.python), "-P", *words]


def apart(threads: int | None) -> dict[str, str]:
    """The environment for a build's process: none of this one's paths, and so many threads (None: as they come)."""
    its = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    if threads is not None:
        its |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    return its


def _done(command: list[str]) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, env=apart(None))
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip() or "it said nothing").splitlines()[-1]
        raise InputError(f"{' '.join(command[:4])} ... failed with {ran.returncode}: {said}")
