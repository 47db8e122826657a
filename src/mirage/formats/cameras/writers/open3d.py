"""Open3D's PinholeCameraTrajectory. `F`: frames. https://www.open3d.org/docs/release/python_api/open3d.io.html

`extrinsic` world-to-camera, OpenCV axes, 16 numbers by columns; `intrinsic_matrix` by columns, in pixels, centre of the
first pixel at (0, 0), as Open3D's own default intrinsics have it.
"""

import json

from mirage.formats.cameras.writers.writer import CameraWriter, Written


def trajectory(path: Written) -> bytes:
    """The trajectory as JSON."""
    height, width = path.pixels
    version = {"version_major": 1, "version_minor": 0}
    K = path.camera.pixel_matrix(path.pixels, pixel_centers="integer")
    parameters = [
        {
            "class_name": "PinholeCameraParameters",
            "extrinsic": extrinsic,
            "intrinsic": {"height": height, "intrinsic_matrix": intrinsic, "width": width},
            **version,
        }
        for extrinsic, intrinsic in zip(path.camera.w2c.mT.flatten(1).tolist(), K.mT.flatten(1).tolist(), strict=True)
    ]
    document = {"class_name": "PinholeCameraTrajectory", "parameters": parameters, **version}
    return (json.dumps(document, indent=1) + "\n").encode()


FORMAT = CameraWriter("open3d", "Open3D trajectory json", ".json", trajectory, pixels=True)
