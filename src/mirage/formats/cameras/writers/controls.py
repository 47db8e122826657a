"""What camera-controlled video models take as JSON. `F`: frames.

motionctrl     per frame 12 numbers: 3x4 world-to-camera relative to the first frame
               https://github.com/TencentARC/MotionCtrl
recammaster    {"frame0": {"cam01": "[..] [..] [..] [..] "}}: rows of a transposed camera-to-world in Unreal's axes
               (x forward, y right, z up, left-handed), centimetres. https://github.com/KwaiVGI/ReCamMaster
worldplay      {"0": {"extrinsic": 4x4 camera-to-world, "K": pixels of 1920x1080}}
               https://github.com/Tencent-Hunyuan/HY-WorldPlay

OpenCV axes but for ReCamMaster. Where a clip is relative to its first frame it is made so here.
"""

import json

from mirage.formats.cameras.poses import AXES
from mirage.formats.cameras.writers.writer import CameraWriter, Written, off_centre

METRE = 100.0  # centimetres
WORLDPLAY = (1080, 1920)


def motionctrl(path: Written) -> bytes:
    """A list of lists."""
    relative = path.camera.relative_to(path.camera[0])
    return (json.dumps(relative.w2c[:, :3].flatten(1).tolist(), indent=1) + "\n").encode()


def recammaster(path: Written) -> bytes:
    """camera_extrinsics.json with one camera; the world unit is taken for a metre."""
    axes = AXES["unreal"]
    matrices = (axes @ path.camera.c2w @ axes.T).mT.contiguous()
    matrices[:, 3, :3] *= METRE
    rows = [" ".join(f"[{' '.join(map(repr, row))}]" for row in matrix) for matrix in matrices.tolist()]
    document = {f"frame{frame}": {"cam01": f"{row} "} for frame, row in enumerate(rows)}
    return (json.dumps(document, indent=1) + "\n").encode()


def worldplay(path: Written) -> bytes:
    """pose.json; its code takes the image for twice as large as the principal point, so that is the middle always."""
    K = path.camera.pixel_matrix(WORLDPLAY)
    K[:, 0, 2], K[:, 1, 2] = WORLDPLAY[1] / 2, WORLDPLAY[0] / 2
    both = zip(path.camera.c2w.tolist(), K.tolist(), strict=True)
    document = {str(frame): {"extrinsic": pose, "K": k} for frame, (pose, k) in enumerate(both)}
    return (json.dumps(document, indent=1) + "\n").encode()


MOTIONCTRL = CameraWriter("motionctrl", "MotionCtrl json", ".json", motionctrl, lens=False)
RECAMMASTER = CameraWriter("recammaster", "ReCamMaster camera_extrinsics.json", ".json", recammaster, lens=False)
WORLDPLAY_JSON = CameraWriter("worldplay", "HY-WorldPlay pose.json", ".json", worldplay, loses=off_centre)
