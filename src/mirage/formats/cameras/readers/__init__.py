"""One file per camera format: how it is recognised by its content, and how it is read. `formats()` is the registry.

A new format is a new file with a `FORMAT` and a line here; docs/cameras.md has its row.
"""

import functools

from mirage.formats.cameras.content import CameraFormat
from mirage.formats.cameras.readers import (
    ac3d,
    camerapath,
    colmap,
    euroc,
    gaussians,
    kapture,
    keyfile,
    kitti,
    llff,
    motionctrl,
    nerfstudio,
    npy,
    npz,
    npztools,
    open3d,
    opensfm,
    polycam,
    realestate10k,
    recammaster,
    record3d,
    scannet,
    sevenscenes,
    spatia,
    tum,
    vipe,
    worldplay,
    worldscore,
)
from mirage.kinds import fit
from mirage.plugins import plugin, plugin_names

OURS: tuple[CameraFormat, ...] = (
    # text
    realestate10k.FORMAT,
    tum.FORMAT,
    euroc.FORMAT,
    kitti.FORMAT,
    open3d.LOG,
    keyfile.FORMAT,
    worldplay.TEXT,
    spatia.FORMAT,
    # JSON
    nerfstudio.NERFSTUDIO,
    nerfstudio.INSTANT_NGP,
    nerfstudio.BLENDER,
    camerapath.FORMAT,
    gaussians.FORMAT,
    open3d.JSON,
    opensfm.FORMAT,
    record3d.FORMAT,
    polycam.ONE,
    motionctrl.FORMAT,
    recammaster.FORMAT,
    ac3d.FORMAT,
    worldplay.JSON,
    worldplay.STRING,
    worldscore.FORMAT,
    # arrays
    npz.FORMAT,
    llff.FORMAT,
    npztools.LYRA,
    npztools.GEN3C,
    npztools.DA3,
    npztools.MEGASAM,
    npztools.PUBLISHED,
    npztools.MATRIX_GAME,
    npy.FORMAT,
    npztools.VGGT,
    vipe.FORMAT,
    record3d.ARCHIVE,
    # folders
    colmap.FORMAT,
    nerfstudio.FOLDER,
    sevenscenes.FORMAT,
    scannet.FORMAT,
    kapture.FORMAT,
    record3d.FOLDER,
    polycam.FORMAT,
    vipe.FOLDER,
)


@functools.cache
def formats() -> tuple[CameraFormat, ...]:
    """Ours, and those that other packages bring (plugins.py)."""
    names = {format.name for format in OURS}
    brought = [plugin("camera_formats", name) for name in plugin_names("camera_formats") if name not in names]
    return OURS + tuple(fit(CameraFormat, format, "a camera format of another package") for format in brought)
