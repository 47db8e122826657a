"""RealEstate10K camera text, written. `F`: frames. https://google.github.io/realestate10k/download.html"""

import torch

from mirage.geometry.camera import Camera

ADDRESS = "mirage"  # what we write where a clip's address stands; readers skip this line


def text(camera: Camera) -> str:
    """The trajectory [F] as RealEstate10K text; time stamps count frames at 16 per second."""
    poses = camera.to(torch.float64).w2c[:, :3].flatten(1).tolist()
    lines = [ADDRESS]
    for frame, (pose, intrinsics) in enumerate(zip(poses, camera.intrinsics.tolist(), strict=True)):
        lines.append(" ".join([str(frame * 62_500), *(repr(v) for v in [*intrinsics, 0.0, 0.0, *pose])]))
    return "\n".join(lines) + "\n"
