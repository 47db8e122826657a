"""Is `mirage plan` right? The bundled model walks two chunks on a CPU; what the process grew by, against the plan.

    python benchmarks/plan.py            # predicted, measured, difference in %

Measured: the most resident memory that the process ever had, less what it had before the model was loaded, and with the
libraries' own first calls (a walk of a toy model) behind it. Linux.
"""

import resource
import sys
from pathlib import Path

import torch

from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import dolly
from mirage.models.budget import budget
from mirage.models.tiny import tiny_world
from mirage.models.world import load_world_model
from mirage.rollout import Session
from mirage.rollout.session import Settings


def walk(world, chunks: int) -> None:
    """Walk that many chunks and look at all frames."""
    height, width = world.size
    camera = Camera.looking(aspect=width / height)
    image = torch.rand((3, height, width), generator=torch.Generator().manual_seed(0))
    path = dolly(camera, 1 + chunks * (world.chunk_frames - 1))
    session = Session(world, image, camera=path[0], settings=Settings(steps=1))
    for chunk in session.follow(path):
        assert torch.isfinite(chunk.frames).all()


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
    walk(load_world_model(model), 2)
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    measured = peak - before
    counted = budget(model, dtype=torch.float32, cpu=True)
    needs = counted.needs(offload="none")
    stage = max(needs, key=lambda name: needs[name])
    predicted = needs[stage]
    print(f"{model}: predicted {predicted / 2**20:.0f} MiB (stage {stage}), measured {measured / 2**20:.0f} MiB, "
          f"{predicted / measured - 1:+.1%}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mini")
