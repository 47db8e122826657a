"""Our key language in a text file: "w 31, right 10"; see mirage/formats/keys.py. No intrinsics."""

import re

import torch

from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses
from mirage.formats.cameras.record import CameraOptions
from mirage.geometry.camera import Camera

LONGEST = 1 << 20
FIRST = re.compile(r"\s*[a-z]+(\+[a-z]+)*[\s]+[0-9]+\s*([,;\n]|$)", flags=re.IGNORECASE | re.ASCII)


def sniff(content: Content) -> bool:
    """Begins with a key and a number."""
    return len(content.text) < LONGEST and FIRST.match(content.text) is not None


def read(content: Content, options: CameraOptions) -> Poses:
    """The walk at the usual speed, from the origin."""
    from mirage.formats.keys import key_path  # which needs this package

    text = ",".join(line for line in content.text.splitlines() if line.strip())
    path = key_path(text, Camera.looking().to(torch.float64))
    return Poses(path.c2w, "c2w", confidence="stated")


FORMAT = CameraFormat("keys", "keys", "text", sniff, read)
