"""Camera paths in an .npz, with the convention in the name of the array:

    c2w or w2c     [F,4,4] or [F,3,4]   (or `poses` / `extrinsics`, if the caller says which convention they follow)
    intrinsics     [F,4] or [4]         fx fy cx cy as fractions of width and height
    or K, size     [F,3,3] or [3,3]     pixels (centre of the first pixel at 0.5, 0.5), with `size` = (H, W)

OpenCV axes. Without intrinsics the caller's are used. Further arrays do not matter and are not read.
"""

from mirage.errors import InputError
from mirage.formats.cameras.arrays import intrinsics, pose_array
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses
from mirage.formats.cameras.readers import npztools
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import Npz

ACCEPTS = "an .npz with c2w or w2c [F,4,4] and intrinsics [F,4] (normalised) or K [3,3] with size (H, W)"
NAMES = ("c2w", "w2c", "poses", "extrinsics")


def sniff(content: Content) -> bool:
    """One of our names in an archive, and no tool's layout."""
    tools = (npztools.sniff_lyra, npztools.sniff_gen3c, npztools.sniff_da3, npztools.sniff_megasam, npztools.sniff_vggt)
    ours = isinstance(content.arrays, Npz) and any(name in content.arrays for name in NAMES)
    return ours and not any(sniff(content) for sniff in tools)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses and intrinsics; a convention that contradicts the array's name is refused."""
    source, arrays = content.source, content.arrays
    names = [name for name in NAMES if name in arrays]
    if len(names) != 1:
        raise InputError(f"{source} has the arrays {[name[:40] for name in sorted(arrays)[:12]]}; expected {ACCEPTS}")
    name = names[0]
    if name in ("poses", "extrinsics") and options.pose is None:
        raise InputError(f"{source}: {name!r} does not say its convention; name it c2w or w2c, or say convention=...")
    if name in ("c2w", "w2c") and options.pose not in (None, name):
        raise InputError(f"{source}: the array is named {name!r} and convention={options.pose!r} contradicts it")
    poses, lost = pose_array(content, name)
    values, units, size, warnings = intrinsics(content, options, frames=len(poses))
    return Poses(
        poses,
        "w2c" if "w2c" in (name, options.pose) else "c2w",
        values,
        units=units,
        pixel_centers=(options.pixel_centers or "half") if units == "pixels" else None,
        confidence="stated",
        size=size,
        lost=lost,
        warnings=tuple(warnings),
    )


FORMAT = CameraFormat("npz", "npz with c2w or w2c", "arrays", sniff, read)
