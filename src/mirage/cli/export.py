"""`mirage export`: a saved world for other programs, as points (PLY) and as a camera path."""

import torch

from mirage.cli.arguments import Export
from mirage.cli.outputs import camera_files, points_file
from mirage.cli.terminal import Result
from mirage.errors import InputError
from mirage.files import check_outputs
from mirage.formats.cameras import save_cameras
from mirage.formats.ply import Points, save_ply
from mirage.memory.worldfile import load_world
from mirage.show.colours import false_colours, true_colours


def run(asked: Export) -> Result:
    """Write what was asked for."""
    if asked.ply is None and asked.cameras is None:
        raise InputError("nothing to export: --ply FILE, --cameras PATH, or both are expected")
    outputs = [*points_file(asked.ply), *camera_files(asked.cameras, asked.format)]
    check_outputs(*outputs, inputs=[asked.world], overwrite=asked.overwrite)
    memory, _, _ = load_world(asked.world)
    summary: dict[str, object] = {"world": str(asked.world), "points": len(memory)}
    if asked.ply is not None:
        if len(memory) == 0:
            raise InputError(f"{asked.world} has no points to export")
        points = memory.points
        if asked.model is None:
            colours = false_colours(points.feature)
        else:
            from mirage.models.loading import load_world_model  # heavy, and needed for true colours alone

            model = load_world_model(asked.model)
            if model.channels != memory.channels:
                raise InputError(
                    f"--model {asked.model} has {model.channels} latent channels and the world "
                    f"{memory.channels}; expected the model that made it"
                )
            colours = true_colours(memory, model)
        save_ply(
            asked.ply,
            Points(
                points.position,
                (colours * 255).round().to(torch.uint8),
                {"frame": points.frame, "footprint": points.footprint},
            ),
        )
        summary["ply"] = str(asked.ply)
        print(f"wrote {asked.ply}: {len(memory):,} points, {'false' if asked.model is None else 'decoded'} colours")
    if asked.cameras is not None:
        cameras = memory.cameras
        if len(cameras) == 0:
            raise InputError(f"{asked.world} has no cameras to export")
        save_cameras(asked.cameras, cameras, format=asked.format, size=asked.size)
        summary |= {"cameras": str(asked.cameras), "frames": len(cameras)}
        print(f"wrote {asked.cameras}: {len(cameras)} cameras as {asked.format}")
    return Result(summary)
