"""`mirage inspect`: what a saved world holds, in numbers, and as a map from above."""

from mirage.cli.arguments import Inspect
from mirage.cli.terminal import Result, beside
from mirage.files import Output, check_outputs
from mirage.formats.image import save_image
from mirage.formats.picture import top_down_map
from mirage.memory.worldfile import load_world
from mirage.show.colours import false_colours


def run(asked: Inspect) -> Result:
    """Print the numbers and draw the map."""
    picture = asked.map or beside(asked.world, ".map.png")
    check_outputs(Output("map", picture, (".png",)), inputs=[asked.world], overwrite=asked.overwrite)
    memory, _, extra = load_world(asked.world)
    points, cameras = memory.points, memory.cameras
    low = points.position.amin(0).tolist() if len(points) else [0.0] * 3
    high = points.position.amax(0).tolist() if len(points) else [0.0] * 3
    known = memory.coverage(cameras) if len(cameras) else points.footprint[:0]
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
        "prompt": extra.get("prompt"),
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
    save_image(
        picture,
        top_down_map(
            points.position, false_colours(points.feature), cameras if len(cameras) else None, sizes=points.footprint
        ),
    )
    print(f"  map       {picture}")
    return Result(summary)
