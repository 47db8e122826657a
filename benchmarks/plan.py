"""Is `mirage plan` right? The bundled model walks two chunks on a CPU; what that held, against the plan.

    python benchmarks/plan.py            # planned, the tensors alive at once, and what the process grew by

resident   the most memory that the process ever had, less what it had before the model was loaded, and with the
           libraries' own first calls (a walk of a toy model) behind it. Linux. glibc by itself keeps freed pieces of up
           to 32 MiB for later; it is told to give all above 64 KiB back at once, so that what is kept is what is used
tensors    weights, and the most bytes of other tensors that were alive at once: no workspaces inside operations
"""

import os
import resource
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from mirage.cli.arguments import Plan
from mirage.cli.plan import run
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import dolly
from mirage.models.fitting.budget import Live
from mirage.models.loading import load_world_model
from mirage.models.tiny import tiny_world
from mirage.models.world import WorldModel
from mirage.rollout import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

CHUNKS = 2
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}


def walk(model: WorldModel, chunks: int) -> None:
    """Walk that many chunks and look at all frames."""
    height, width = model.size
    camera = Camera.looking(aspect=width / height)
    image = torch.rand((3, height, width), generator=torch.Generator().manual_seed(0))
    path = dolly(camera, 1 + chunks * (model.chunk_frames - 1))
    session = Session(model, image, camera=path[0], settings=Settings(sampler=Sampler(steps=1)))
    for chunk in session.follow(path):
        frames = chunk.frames  # held until the next ones are there, as by `mirage generate`
        assert torch.isfinite(frames).all()


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main(model: str) -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    walk(tiny_world(), 1)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = resident()
    world = load_world_model(model)
    parts = [part for part in world.components.values() if isinstance(part, nn.Module)]
    weights = {
        t.untyped_storage()._cdata: t.untyped_storage().nbytes()
        for part in parts
        for t in [*part.parameters(), *part.buffers()]
    }
    with Live(set(weights), torch.device("cpu")) as live:
        walk(world, CHUNKS)
    status = Path("/proc/self/status").read_text()
    measured = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")) - before
    alive = sum(weights.values()) + live.most
    with redirect_stdout(StringIO()):
        plan = run(Plan(model=model, cpu=True, dtype="float32", frames=1 + CHUNKS * (world.chunk_frames - 1))).summary
    for what, held in {"tensors": alive, "resident": measured}.items():
        print(
            f"{model}: planned {plan['peak'] / 2**20:.0f} MiB (stage {plan['fullest']}), {what} {held / 2**20:.0f} "
            f"MiB, {plan['peak'] / held - 1:+.1%}"
        )


if __name__ == "__main__":
    if not os.environ.items() >= GIVEN_BACK.items():  # glibc reads it when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | GIVEN_BACK)
    main(sys.argv[1] if len(sys.argv) > 1 else "mini")
