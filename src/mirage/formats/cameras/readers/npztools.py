"""The .npz that depth and pose estimators leave, each with its own names. OpenCV axes; pixels. `F`: poses, `H W`:
pixels.

Lyra               w2c [F,4,4], intrinsics [F,3,3], image_height, image_width
GEN3C              w2c [F,4,4], intrinsics [F,3,3]; the size from depth.npz beside it, else twice the principal point
Depth Anything 3   extrinsics [F,3,4] w2c, intrinsics [F,3,3] at the size of depth [F,H,W]
MegaSaM            cam_c2w [F,4,4], intrinsic [3,3] at the size of images [F,H,W,3]
published code     poses_c2w [F,4,4], intrinsics [F,3,3] at processed_size (H, W), or at the size of frames or depths:
                   geometry.npz of github.com/microsoft/LatentSpatialMemory
Matrix-Game 3.5    extrinsics_c2w [F,4,4], intrinsics [F,4], [4], [F,3,3] or [3,3] of an image as large as twice the
                   principal point, as its own code takes it: camera.npz of Riemann-Dynamics/Matrix-Game-3.5
VGGT               extrinsic [F,3,4] w2c, intrinsic [F,3,3] at the size of images [F,3,H,W] or depth [F,H,W,1]
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.formats.cameras.arrays import floats, picture_size, pixel_matrices, pose_array
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses
from mirage.formats.cameras.record import CameraOptions, Pose
from mirage.formats.source import Npz

PICTURES = ("images", "image", "frames", "depths", "depth", "conf", "world_points", "depth_conf")


@dataclass(frozen=True)
class _Names:
    """What a tool calls its arrays."""

    poses: str
    pose: Pose
    intrinsics: str

    def read(self, content: Content, options: CameraOptions) -> Poses:
        """Poses and intrinsics."""
        matrices, lost = pose_array(content, self.poses)
        values, size, said = None, options.size, []
        if self.intrinsics in content.arrays:
            size, said = _size(content, self.intrinsics, options)
            values, odd = pixel_matrices(content, self.intrinsics, size, options, frames=len(matrices))
            said += odd
        return Poses(
            matrices,
            self.pose,
            values,
            units="pixels",
            pixel_centers=options.pixel_centers or "half",
            confidence="stated",
            size=size,
            lost=lost,
            warnings=tuple(said),
        )


def is_matrices(content: Content, name: str) -> bool:
    """Whether an array is there and holds 3x3 matrices."""
    return name in content.arrays and content.shape(name)[-2:] == (3, 3)


def sniff_lyra(content: Content) -> bool:
    """w2c or c2w, with a size in two numbers."""
    return "w2c" in content.arrays and {"image_height", "image_width"} <= content.keys


def sniff_gen3c(content: Content) -> bool:
    """w2c and matrices of intrinsics, and no size."""
    other = {"size", "image_height", "image_width", "K", "c2w"} & content.keys
    return "w2c" in content.arrays and is_matrices(content, "intrinsics") and not other


def sniff_da3(content: Content) -> bool:
    """extrinsics beside depth."""
    return "extrinsics" in content.arrays and bool({"depth", "conf"} & content.keys) and "size" not in content.arrays


def sniff_megasam(content: Content) -> bool:
    """cam_c2w."""
    return "cam_c2w" in content.arrays


def sniff_published(content: Content) -> bool:
    """poses_c2w."""
    return "poses_c2w" in content.arrays


def sniff_matrix_game(content: Content) -> bool:
    """extrinsics_c2w."""
    return "extrinsics_c2w" in content.arrays


def sniff_vggt(content: Content) -> bool:
    """extrinsic, in the singular."""
    return "extrinsic" in content.arrays


def read_megasam(content: Content, options: CameraOptions) -> Poses:
    """Its key is intrinsic, in other tools that follow it intrinsics or K."""
    name = next((name for name in ("intrinsic", "intrinsics", "K") if name in content.arrays), "intrinsic")
    return _Names("cam_c2w", "c2w", name).read(content, options)


def _size(content: Content, intrinsics: str, options: CameraOptions) -> tuple[tuple[int, int], list[str]]:
    if options.size is not None:
        return options.size, []
    if {"image_height", "image_width"} <= content.keys:
        sides = [content.arrays[name] for name in ("image_height", "image_width")]
        if any(side.size < 1 or not 1 <= float(side.reshape(-1)[0]) <= 1e6 for side in sides):
            raise InputError(f"{content.source} has an image_height or image_width below 1; expected pixels")
        return (int(sides[0].reshape(-1)[0]), int(sides[1].reshape(-1)[0])), []
    if "processed_size" in content.arrays:
        sides = content.arrays["processed_size"].reshape(-1)
        if sides.size == 2 and all(1 <= float(side) <= 1e6 for side in sides):  # -1, -1: not known
            return (int(sides[0]), int(sides[1])), []
    size = picture_size(content, PICTURES)
    beside = content.path.parent / "depth.npz"
    if size is None and beside.is_file() and beside != content.path:
        size = picture_size(_content(beside), ("depth",))
    if size is not None:
        return size, []
    K = floats(content.arrays[intrinsics], where=f"{content.source}: {intrinsics!r}")
    if K.ndim >= 2 and K.shape[-2:] == (3, 3) and K.numel():
        return twice(K.reshape(-1, 3, 3)[0, :2, 2], source=content.source)
    if K.ndim in (1, 2) and K.shape[-1] == 4 and K.numel():
        return twice(K.reshape(-1, 4)[0, 2:], source=content.source)
    raise InputError(f"{content.source} does not tell the images' size; expected the option size (H, W)")


def twice(principal: torch.Tensor, *, source: str) -> tuple[tuple[int, int], list[str]]:
    """The size (H, W) of an image whose principal point (cx, cy) is its middle, and the words that say so."""
    width, height = (2 * principal).tolist()
    if not (1 <= width <= 1e6 and 1 <= height <= 1e6):
        raise InputError(f"{source} does not tell the images' size; expected the option size (H, W)")
    size = round(height), round(width)
    return size, [f"it does not tell the images' size: taken as {size[1]} x {size[0]}, twice the principal point"]


def _content(path: Path) -> Content:
    return Content(path, "arrays", arrays=Npz(path, accepts="an .npz"))


LYRA = CameraFormat("lyra", "Lyra npz", "arrays", sniff_lyra, _Names("w2c", "w2c", "intrinsics").read)
GEN3C = CameraFormat("gen3c", "GEN3C npz", "arrays", sniff_gen3c, _Names("w2c", "w2c", "intrinsics").read)
DA3 = CameraFormat("da3", "Depth Anything 3 npz", "arrays", sniff_da3, _Names("extrinsics", "w2c", "intrinsics").read)
PUBLISHED = CameraFormat(
    "lsm",
    "geometry.npz of LatentSpatialMemory",
    "arrays",
    sniff_published,
    _Names("poses_c2w", "c2w", "intrinsics").read,
)
MATRIX_GAME = CameraFormat(
    "matrix-game",
    "Matrix-Game npz",
    "arrays",
    sniff_matrix_game,
    _Names("extrinsics_c2w", "c2w", "intrinsics").read,
)
MEGASAM = CameraFormat("megasam", "MegaSaM npz", "arrays", sniff_megasam, read_megasam)
VGGT = CameraFormat("vggt", "VGGT npz", "arrays", sniff_vggt, _Names("extrinsic", "w2c", "intrinsic").read)
