"""One file per camera format: how it is recognised by its content, and how it is read. `FORMATS` is the registry.

A new format is a new file with a `FORMAT` and a line here; docs/cameras.md has its row.
"""

from mirage.formats.cameras.content import CameraFormat
from mirage.formats.cameras.readers import colmap, euroc, motionctrl, nerfstudio, npz, realestate10k, sevenscenes, tum

FORMATS: tuple[CameraFormat, ...] = (
    realestate10k.FORMAT,
    tum.FORMAT,
    euroc.FORMAT,
    motionctrl.FORMAT,
    nerfstudio.NERFSTUDIO,
    nerfstudio.INSTANT_NGP,
    nerfstudio.BLENDER,
    npz.FORMAT,
    colmap.FORMAT,
    sevenscenes.FORMAT,
)
