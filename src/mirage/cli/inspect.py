"""`mirage inspect`: what a saved world holds, in numbers, and as a map from above."""

import torch

from mirage.cli.arguments import Inspect
from mirage.cli.terminal import Result, Wrote, beside
from mirage.files import Output, check_outputs
from mirage.formats.image import save_image
from mirage.formats.picture import top_down_map
from mirage.memory.worldfile import load_world
from mirage.show.colours import false_colours

CAMERAS = 64  # that are asked what they know, spread evenly over the walk: it takes a read each
POINTS, PATH, VALUES = 2**18, 2**12, 2**23  # points and cameras that are drawn, and all numbers in their features


def run(asked: Inspect) -> Result:
    """Print the numbers and draw the map."""
    picture = asked.map or beside(asked.world, ".map.png")
    check_outputs(Output("map", picture, (".png",)), inputs=[asked.world], overwrite=asked.overwrite)
    memory, _, extra = load_world(asked.world)
    cameras, boxes = memory.cameras, memory.cloud
    low = boxes.low.amin(0).tolist() if len(memory) else [0.0] * 3
    high = boxes.high.amax(0).tolist() if len(memory) else [0.0] * 3
    known = memory.coverage(cameras[_spread(len(cameras), CAMERAS)]) if len(cameras) else torch.empty(0)
    summary = {
        "world": str(asked.world),
        "file_bytes": asked.world.stat().st_size,
        "points": len(memory),
        "memory_bytes": memory.nbytes,
        "channels": memory.channels,
        "frames": memory.frames_written,
        "extent": {"low": low, "high": high},
        "coverage": known.tolist(),
        "policy": memory.state()[1]["policy"],
        "prompt": extra["prompt"] if isinstance(extra.get("prompt"), str) else None,
        "map": str(picture),
    }
    print(f"{asked.world}: {summary['file_bytes'] / 2**20:.2f} MiB")
    print(f"  points    {len(memory):,} of {memory.channels} channels, {memory.nbytes / 2**20:.2f} MiB in memory")
    print(
        "  extent    "
        + ", ".join(f"{axis} {a:.2f} .. {b:.2f}" for axis, a, b in zip("xyz", low, high, strict=True))
        + " (x right, y down, z forward, from the first camera)"
    )
    print(f"  frames    {memory.frames_written} latent frames written")
    if len(known):
        print(f"  coverage  {known.mean():.1%} of what its own cameras see is known, {known.min():.1%} of the least")
    points = memory.point_columns(_spread(len(memory), min(POINTS, VALUES // memory.channels)))
    path = cameras[_spread(len(cameras), PATH)]
    wrote = Wrote(picture)
    save_image(
        picture,
        top_down_map(
            points.position, false_colours(points.feature), path if len(path) else None, sizes=points.footprint
        ),
    )
    wrote(f"{picture}, a map from above")
    return Result(summary)


def _spread(count: int, most: int) -> torch.Tensor:
    """Places of at most `most` of `count` things, spread evenly."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()
