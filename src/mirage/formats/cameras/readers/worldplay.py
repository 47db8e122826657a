"""HY-WorldPlay's poses. https://github.com/Tencent-Hunyuan/HY-WorldPlay

pose.json      {"0": {"extrinsic": 4x4 camera-to-world, "K": 3x3 pixels}, "1": ...}, OpenCV axes; the image's size is
               twice the principal point, as its own code has it
pose string    "w-31, right-10" in a text or JSON file: 0.08 units and 3 degrees a step, each in the camera's own axes
"""

import re

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import flat
from mirage.formats.cameras.pixels import from_matrices
from mirage.formats.cameras.poses import MAX_FRAMES, Poses, check_bottom_row, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.geometry.pose import make_pose, rotation_about
from mirage.natural import natural

STEP, TURN = 0.08, 3.0  # units and degrees per latent frame
K = ((969.6969696969696, 0.0, 960.0), (0.0, 969.6969696969696, 540.0), (0.0, 0.0, 1.0))  # of its pose strings
MOVES = {"w": (0, 0, 1), "s": (0, 0, -1), "a": (-1, 0, 0), "d": (1, 0, 0)}
TURNS = {"left": ("y", -1), "right": ("y", 1), "up": ("x", 1), "down": ("x", -1)}
COMMAND = re.compile(r"\s*(w|s|a|d|up|down|left|right)\s*-\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*", flags=re.ASCII)


def sniff(content: Content) -> bool:
    """Numbered objects with extrinsic and K."""
    document = content.document
    first = next(iter(document.values()), None) if isinstance(document, dict) else None
    return isinstance(first, dict) and {"extrinsic", "K"} <= first.keys()


def sniff_string(content: Content) -> bool:
    """A string of commands."""
    return isinstance(content.document, str) and _is_string(content.document)


def sniff_text(content: Content) -> bool:
    """A line of commands."""
    return len(content.text) < 1 << 20 and _is_string(content.text)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of their numbers."""
    document, source = content.document, content.source
    check_count(len(document), source=source)
    poses, rows, said = [], [], []
    size = None
    for key in sorted(document, key=natural):
        where, entry = f"{source}: pose {key[:20]!r}", document[key]
        if not isinstance(entry, dict) or not {"extrinsic", "K"} <= entry.keys():
            raise InputError(f"{where} has no 'extrinsic' and 'K'")
        values = flat(entry["extrinsic"], where=f"{where}: 'extrinsic'")
        poses.append(values if len(values) == 16 else [*values, 0.0, 0.0, 0.0, 1.0])
        own = torch.tensor(flat(entry["K"], where=f"{where}: 'K'", rows=(3,), columns=3), dtype=torch.float64).view(
            3, 3
        )
        size = options.size or (round(2 * float(own[1, 2])), round(2 * float(own[0, 2])))
        unit, odd = from_matrices(own, size, source=where)
        rows.append(unit)
        said += [words for words in odd if words not in said]
    matrices = stacked(poses)
    check_bottom_row(matrices, source=source)
    return Poses(
        matrices,
        "c2w",
        torch.stack(rows),
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        size=size,
        warnings=tuple(said),
    )


def read_string(content: Content, options: CameraOptions) -> Poses:
    """The start and a pose after every step; half steps count for none, as in its own code."""
    text = content.document if content.kind == "json" else content.text
    commands = [COMMAND.fullmatch(part) for part in text.strip().split(",") if part.strip()]
    steps = [(found[1], int(float(found[2]))) for found in commands if found]
    check_count(1 + sum(count for _, count in steps), source=content.source)
    pose = torch.eye(4, dtype=torch.float64)
    poses = [pose.clone()]
    for key, count in steps:
        axis, sign = TURNS.get(key, ("y", 0))
        turn = make_pose(rotation_about(axis, sign * TURN, dtype=torch.float64), pose.new_zeros(3))
        move = make_pose(torch.eye(3, dtype=torch.float64), STEP * pose.new_tensor(MOVES.get(key, (0, 0, 0))))
        for _ in range(min(count, MAX_FRAMES)):
            pose = pose @ turn @ move
            poses.append(pose)
    size = (1080, 1920)
    unit, _ = from_matrices(torch.tensor(K, dtype=torch.float64), size, source=content.source)
    return Poses(
        torch.stack(poses),
        "c2w",
        unit,
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        size=size,
        warnings=("its steps are HY-WorldPlay's: 0.08 units or 3 degrees, one per latent frame (four video frames)",),
    )


def _is_string(text: str) -> bool:
    parts = [part for part in text.strip().split(",") if part.strip()]
    return bool(parts) and all(COMMAND.fullmatch(part) for part in parts)


JSON = CameraFormat("worldplay", "HY-WorldPlay pose.json", "json", sniff, read)
STRING = CameraFormat("worldplay-json-string", "HY-WorldPlay pose string in JSON", "json", sniff_string, read_string)
TEXT = CameraFormat("worldplay-string", "HY-WorldPlay pose string", "text", sniff_text, read_string)
