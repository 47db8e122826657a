"""`mirage camera`: what a camera file says, in our convention, and the same path in another format. `F`: poses."""

from typing import Any

import torch

from mirage.cli.arguments import CameraFile
from mirage.cli.outputs import camera_files, files_in
from mirage.cli.terminal import Result
from mirage.errors import InputError
from mirage.files import check_outputs
from mirage.formats.cameras import load_cameras, save_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.pose import rotation_angle
from mirage.geometry.trajectory import resampled


def run(asked: CameraFile) -> Result:
    """Print a summary; write the path where it was asked for."""
    if (asked.out is None) != (asked.format is None):
        raise InputError("converting takes both --out and --format; looking takes neither")
    if asked.out is not None and asked.format is not None:
        check_outputs(*camera_files(asked.out, asked.format), inputs=files_in(asked.path), overwrite=asked.overwrite)
    camera = load_cameras(asked.path, asked.convention, dtype=torch.float64)
    if asked.frames is not None:
        camera = resampled(camera, asked.frames)
    summary = {"path": str(asked.path), **described(camera)}
    print(f"{asked.path}: {summary['frames']} poses, camera-to-world, OpenCV axes")
    print(f"  path length {summary['length']:.4g} units, {summary['straight']:.4g} from first to last")
    print(f"  turns {summary['turned']:.4g} degrees in all, {summary['turn']:.4g} from first to last")
    print(f"  largest step {summary['largest_step']:.4g} units and {summary['largest_turn']:.4g} degrees")
    print(
        f"  field of view {summary['fov'][0]:.4g} x {summary['fov'][1]:.4g} degrees"
        + ("" if summary["same_intrinsics"] else " at first; it changes along the path")
    )
    if asked.out is not None and asked.format is not None:
        save_cameras(asked.out, camera.to(torch.float64), format=asked.format, size=asked.size)
        summary["wrote"] = str(asked.out)
        print(f"wrote {asked.out} ({asked.format})")
    return Result(summary)


def described(camera: Camera) -> dict[str, Any]:
    """A path [F] in numbers: lengths in world units, angles in degrees."""
    steps = (camera.center[1:] - camera.center[:-1]).double().norm(dim=-1)
    rotation = camera.c2w.double()[:, :3, :3]
    turns = rotation_angle(rotation[:-1].transpose(-1, -2) @ rotation[1:])
    fx, fy, cx, cy = camera.intrinsics[0].double()
    wide = torch.rad2deg(torch.atan(cx / fx) + torch.atan((1 - cx) / fx))
    high = torch.rad2deg(torch.atan(cy / fy) + torch.atan((1 - cy) / fy))
    return {
        "frames": len(camera),
        "length": float(steps.sum()),
        "straight": float((camera.center[-1] - camera.center[0]).norm()),
        "turned": float(turns.sum()),
        "turn": float(rotation_angle(rotation[0].T @ rotation[-1])),
        "largest_step": float(steps.max()) if len(steps) else 0.0,
        "largest_turn": float(turns.max()) if len(turns) else 0.0,
        "fov": [float(wide), float(high)],
        "intrinsics": camera.intrinsics[0].tolist(),
        "same_intrinsics": bool(torch.allclose(camera.intrinsics, camera.intrinsics[:1], atol=1e-6)),
    }
