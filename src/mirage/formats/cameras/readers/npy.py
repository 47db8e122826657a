"""A bare .npy of poses [F,4,4] or [F,3,4], as scripts leave it beside a video (poses.npy). Neither convention nor
intrinsics stand in it: camera-to-world with OpenCV axes, unless somebody says otherwise.
"""

from mirage.formats.cameras.arrays import pose_array
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses
from mirage.formats.cameras.record import CameraOptions


def sniff(content: Content) -> bool:
    """One array of matrices, and no name."""
    shape = content.shape("") if "" in content.arrays else ()
    return len(shape) >= 3 and shape[-2:] in ((4, 4), (3, 4))


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses alone."""
    matrices, lost = pose_array(content, "")
    said = "it does not say its convention: read as camera-to-world"
    return Poses(
        matrices,
        options.pose or "c2w",
        None,
        confidence="stated" if options.pose else "ambiguous",
        size=options.size,
        lost=lost,
        warnings=() if options.pose else (said,),
    )


FORMAT = CameraFormat("npy", "npy of poses", "arrays", sniff, read)
