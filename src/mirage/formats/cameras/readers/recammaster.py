"""ReCamMaster's camera_extrinsics.json: {"frame0": {"cam01": "[..] [..] [..] [..] "}}, each string the rows of a
transposed 4x4 camera-to-world in Unreal's axes (x forward, y right, z up, left-handed), in centimetres; no intrinsics.
https://github.com/KwaiVGI/ReCamMaster
"""

import re

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers
from mirage.natural import natural

FRAME, CAMERA = re.compile(r"frame\d+"), re.compile(r"cam\d+")
METRE = 100.0  # centimetres


def sniff(content: Content) -> bool:
    """Frames of cameras of strings."""
    document = content.document
    if not isinstance(document, dict) or not document or not all(FRAME.fullmatch(str(key)) for key in document):
        return False
    first = next(iter(document.values()))
    return isinstance(first, dict) and bool(first) and all(CAMERA.fullmatch(str(key)) for key in first)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses of one camera in metres, in the order of the frames' numbers."""
    document, source = content.document, content.source
    check_count(len(document), source=source)
    frames = sorted(document, key=natural)
    cameras = sorted({camera for frame in frames if isinstance(document[frame], dict) for camera in document[frame]})
    chosen = options.camera or (cameras[0] if len(cameras) == 1 else None)
    if chosen is None or chosen not in cameras:
        got = "several cameras, which are not one walk" if chosen is None else f"no camera {chosen!r}"
        listed = ", ".join(name[:20] for name in cameras[:12])
        raise InputError(f"{source} has {got}: {listed}; expected the option camera to say one")
    poses = []
    for frame in frames:
        where = f"{source}: {frame[:20]} {chosen[:20]}"
        text = document[frame].get(chosen) if isinstance(document[frame], dict) else None
        if not isinstance(text, str):
            raise InputError(f"{where} is missing; expected a string of four rows in brackets")
        words = text[:2000].replace("[", " ").replace("]", " ").split()
        if len(words) != 16:
            raise InputError(f"{where} has {len(words)} numbers; expected four rows of four in brackets")
        poses.append(numbers(words, where=where))
    matrices = torch.tensor(poses, dtype=torch.float64).unflatten(1, (4, 4)).mT.contiguous()
    check_bottom_row(matrices, source=source)
    matrices[:, :3, 3] /= METRE
    return Poses(matrices, "c2w", axes="unreal", confidence="stated")


FORMAT = CameraFormat("recammaster", "ReCamMaster camera_extrinsics.json", "json", sniff, read)
