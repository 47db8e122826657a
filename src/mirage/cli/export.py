"""`mirage export`: a saved world for other programs, as points (PLY) and as a camera path. `N` points, `K` cameras."""

from typing import Any

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.cli.arguments import Export
from mirage.cli.outputs import camera_files, points_file
from mirage.cli.terminal import Result, Wrote
from mirage.errors import InputError
from mirage.files import check_outputs
from mirage.formats.cameras import save_cameras
from mirage.formats.cameras.save import writer_of
from mirage.formats.ply import Points, save_ply
from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory
from mirage.memory.worldfile import load_world
from mirage.show.colours import false_colours, true_colours


def run(asked: Export) -> Result:
    """Write what was asked for."""
    if asked.ply is None and asked.cameras is None:
        raise InputError("nothing to export: --ply FILE, --cameras PATH, or both are expected")
    writer = None if asked.cameras is None else writer_of(asked.cameras, asked.format)
    outputs = [*points_file(asked.ply), *camera_files(asked.cameras, asked.format)]
    check_outputs(*outputs, inputs=[asked.world, asked.model], overwrite=asked.overwrite)
    memory, tensors, _ = load_world(asked.world)
    summary: dict[str, Any] = {"world": str(asked.world), "points": len(memory)}
    points = _points(asked, memory)
    if asked.ply is not None:
        if len(points) == 0:
            raise InputError(f"{asked.world} has no points to export")
        wrote = Wrote(asked.ply)
        save_ply(asked.ply, points)
        summary["ply"] = str(asked.ply)
        wrote(f"{asked.ply}: {len(memory):,} points, {'false' if asked.model is None else 'decoded'} colours")
    if asked.cameras is not None and writer is not None:
        cameras = memory.cameras
        if len(cameras) == 0:
            raise InputError(f"{asked.world} has no cameras to export")
        size = asked.size or _size(memory, tensors)
        numbers = (memory.camera_frames.long() * TIME_STRIDE).tolist()
        wrote = Wrote(asked.cameras)
        lost = save_cameras(asked.cameras, cameras, format=asked.format, size=size, numbers=numbers, points=points)
        height, width = size
        summary |= {"cameras": str(asked.cameras), "format": writer.name, "frames": len(cameras)}
        summary |= {"numbers": numbers, "warnings": list(lost)}
        wrote(
            f"{asked.cameras}: {len(cameras)} cameras as {writer.name}, "
            f"of video frames {numbers[0]} to {numbers[-1]}"
            + (f" and images of {width} x {height}" if writer.pixels else "")
        )
    return Result(summary)


def _points(asked: Export, memory: LatentSpatialMemory) -> Points:
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
    return Points(
        points.position,
        (colours * 255).round().to(torch.uint8),
        facing(points.position, points.frame, memory.cameras, memory.camera_frames),
        {"frame": points.frame, "footprint": points.footprint},
    )


def facing(positions: Tensor, frame: Tensor, cameras: Camera, numbers: Tensor) -> Tensor:
    """Unit vectors [N,3] from points [N,3] to the cameras [K] that wrote them, by their frames [N] and `numbers` [K],
    rising; where a camera is no longer kept, to the one kept before it. Good enough for a normal: a surface faces who
    sees it."""
    if len(cameras) == 0 or len(positions) == 0:
        return torch.zeros_like(positions)
    which = (torch.searchsorted(numbers.contiguous(), frame.to(numbers), right=True) - 1).clamp_min(0)
    return torch.nn.functional.normalize(cameras.center.to(positions)[which] - positions, dim=1)


def _size(memory: LatentSpatialMemory, tensors: dict[str, Tensor]) -> tuple[int, int]:
    """(H, W) of the world's video: a cell of Wan 2.2's latents, of 48 channels, is 16 pixels wide, any other's 8. Of a
    memory that lies in its file alone only the aspect is known."""
    if "latents" in tensors:
        height, width = tensors["latents"].shape[-2:]
        cell = 16 if memory.channels == 48 else 8
        return height * cell, width * cell
    fx, fy = memory.cameras.intrinsics[0, :2].tolist()
    return 480, round(480 * fy / fx)
