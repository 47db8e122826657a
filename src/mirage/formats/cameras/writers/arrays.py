"""Paths as .npz. `F`: frames. OpenCV axes.

npz     ours: c2w [F,4,4], intrinsics [F,4] as fractions of the image
lyra    w2c [F,4,4], intrinsics [F,3,3] in pixels, image_height, image_width
da3     Depth Anything 3: extrinsics [F,3,4] world-to-camera, intrinsics [F,3,3] in pixels
vggt    extrinsic [F,3,4] world-to-camera, intrinsic [F,3,3] in pixels

Pixels have the centre of the first at (0.5, 0.5). da3 and vggt have no place for the images' size; `size` (H, W) stands
beside their arrays, for readers that look.
"""

import io

import numpy as np

from mirage.formats.cameras.writers.writer import CameraWriter, Written


def ours(path: Written) -> bytes:
    """As precise as the path is."""
    return _saved(c2w=path.camera.c2w.numpy(), intrinsics=path.camera.intrinsics.numpy())


def lyra(path: Written) -> bytes:
    """Lyra's and GEN3C's names."""
    height, width = path.pixels
    sides = {"image_height": np.array(height), "image_width": np.array(width)}
    return _saved(w2c=path.camera.w2c.numpy(), intrinsics=path.K.numpy(), **sides)


def da3(path: Written) -> bytes:
    """Depth Anything 3's names."""
    return _saved(extrinsics=path.camera.w2c[:, :3].numpy(), intrinsics=path.K.numpy(), size=np.array(path.pixels))


def vggt(path: Written) -> bytes:
    """VGGT's names."""
    return _saved(extrinsic=path.camera.w2c[:, :3].numpy(), intrinsic=path.K.numpy(), size=np.array(path.pixels))


def _saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


NPZ = CameraWriter("npz", "npz with c2w and normalised intrinsics", ".npz", ours)
LYRA = CameraWriter("lyra", "Lyra and GEN3C npz", ".npz", lyra, pixels=True)
DA3 = CameraWriter("da3", "Depth Anything 3 npz", ".npz", da3, pixels=True)
VGGT = CameraWriter("vggt", "VGGT npz", ".npz", vggt, pixels=True)
