"""One file per family of camera formats that are written. `WRITERS` is the registry.

A new format is a `CameraWriter` and a line here, and its name in `save.Format`; docs/camera_paths.md has its row.
"""

from mirage.formats.cameras.writers import arrays, colmap, controls, nerf, open3d, splats, tables
from mirage.formats.cameras.writers.writer import CameraWriter

WRITERS: dict[str, CameraWriter] = {
    writer.name: writer
    for writer in (
        tables.RE10K,
        tables.TUM,
        tables.KITTI,
        tables.EUROC_CSV,
        tables.LOG,
        colmap.TEXT,
        colmap.BINARY,
        nerf.NERFSTUDIO,
        nerf.INSTANT_NGP,
        nerf.CAMERA_PATH,
        splats.GAUSSIANS,
        splats.LLFF,
        open3d.FORMAT,
        controls.MOTIONCTRL,
        controls.RECAMMASTER,
        controls.WORLDPLAY_JSON,
        arrays.NPZ,
        arrays.LYRA,
        arrays.DA3,
        arrays.VGGT,
    )
}
