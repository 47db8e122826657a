"""JSON of the NeRF family: camera-to-world, OpenGL axes (x right, y up, z backward), pixels. `F`: frames.

nerfstudio     transforms.json. https://docs.nerf.studio/quickstart/data_conventions.html
instant-ngp    the same with `aabb_scale`. https://github.com/NVlabs/instant-ngp/blob/master/docs/nerf_dataset_tips.md
camera_path    what nerfstudio's viewer and `ns-render camera-path` take: 16 numbers by rows, vertical field of view

One lens for all frames stands at the top alone, as `camera_angle_x` too, for readers that know only that: where it
stands in both places nerfstudio believes the top and instant-ngp the frame. A lens that changes stands in the frames.
"""

import json
import math
from typing import Any

from mirage.formats.cameras.poses import OPENGL_FROM_OPENCV
from mirage.formats.cameras.writers.writer import CameraWriter, Written, one_focal_length

ROOM = 16  # instant-ngp's aabb_scale: how far the scene may reach, in unit cubes; a power of two


def nerfstudio(path: Written) -> bytes:
    """transforms.json."""
    return _document({"camera_model": "OPENCV"}, path)


def instant_ngp(path: Written) -> bytes:
    """transforms.json; poses as they are, which instant-ngp scales by 0.33 and moves by 0.5 unless told."""
    return _document({"aabb_scale": ROOM}, path)


def camera_path(path: Written) -> bytes:
    """camera_path.json; every pose is a key frame too, because the viewer's Load Path reads those alone."""
    height, width = path.pixels
    seconds = path.times[-1] - path.times[0]
    fps = (len(path) - 1) / seconds if seconds > 0 else 16.0
    angles = [math.degrees(2 * math.atan(0.5 / fy)) for fy in path.camera.intrinsics[:, 1].tolist()]
    poses = [[value for row in pose for value in row] for pose in _poses(path)]
    both = list(zip(poses, angles, strict=True))
    document = {
        "default_fov": angles[0],
        "default_transition_sec": 1 / fps,
        "keyframes": [{"matrix": pose, "fov": fov, "aspect": width / height} for pose, fov in both],
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": fps,
        "seconds": len(path) / fps,
        "is_cycle": False,
        "smoothness_value": 0.0,
        "camera_path": [{"camera_to_world": pose, "fov": fov, "aspect": width / height} for pose, fov in both],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _document(head: dict[str, Any], path: Written) -> bytes:
    height, width = path.pixels
    lenses = [{"fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2], "cy": k[1][2]} for k in path.K.tolist()]
    document = head | {"w": width, "h": height}
    if path.one_lens:
        fx, fy = lenses[0]["fl_x"], lenses[0]["fl_y"]
        angles = {"camera_angle_x": 2 * math.atan(width / 2 / fx), "camera_angle_y": 2 * math.atan(height / 2 / fy)}
        document |= lenses[0] | angles
        lenses = [{}] * len(path)
    document["frames"] = [
        {"file_path": name, **lens, "transform_matrix": pose}
        for name, lens, pose in zip(path.names, lenses, _poses(path), strict=True)
    ]
    return (json.dumps(document, indent=1) + "\n").encode()


def _poses(path: Written) -> list[list[list[float]]]:
    return (path.camera.c2w @ OPENGL_FROM_OPENCV).tolist()


NERFSTUDIO = CameraWriter("nerfstudio", "nerfstudio transforms.json", ".json", nerfstudio, pixels=True)
INSTANT_NGP = CameraWriter("instant-ngp", "instant-ngp transforms.json", ".json", instant_ngp, pixels=True)
CAMERA_PATH = CameraWriter(
    "camera_path", "nerfstudio camera_path.json", ".json", camera_path, pixels=True, loses=one_focal_length
)
