"""MotionCtrl camera JSON: a list of frames, each 12 numbers = row-major 3x4 relative world-to-camera, w2c_i inv(w2c_0),
OpenCV axes, no intrinsics. https://github.com/TencentARC/MotionCtrl
"""

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers


def sniff(content: Content) -> bool:
    """A list, but not of objects (those are other tools')."""
    document = content.document
    return isinstance(document, list) and not (document and isinstance(document[0], dict))


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses relative to the first frame."""
    document, source = content.document, content.source
    check_count(len(document), source=source)
    rows = []
    for frame, row in enumerate(document):
        if not isinstance(row, list) or len(row) != 12:
            got = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
            raise InputError(f"{source}: frame {frame} has {got}; MotionCtrl has 12 numbers (3x4) per frame")
        rows.append(numbers(row, where=f"{source}: frame {frame}"))
    return Poses(stacked(rows), "w2c")


FORMAT = CameraFormat("motionctrl", "MotionCtrl json", "json", sniff, read)
