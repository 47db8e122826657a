"""Camera files of the field: read right, or refused in one line. `F`: poses.

    camera = load_cameras("clip.txt")                 # the path [F]: c2w, OpenCV axes, intrinsics of the unit square
    record = read_cameras("transforms.json")          # and what the file's convention was, and how sure that is
    save_cameras("model", camera, format="colmap", size=(480, 640))

`readers/` has one file per format with its `FORMAT` (how it is recognised, how it is read), `writers/` one per family
that is written. docs/cameras.md has them all in one table.
"""

from mirage.formats.cameras.read import load_cameras, read_cameras
from mirage.formats.cameras.record import CameraOptions, CameraRecord, camera_options
from mirage.formats.cameras.save import Format, save_cameras

__all__ = ["CameraOptions", "CameraRecord", "Format", "camera_options", "load_cameras", "read_cameras", "save_cameras"]
