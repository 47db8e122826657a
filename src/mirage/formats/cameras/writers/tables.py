"""Paths as plain text, a line per pose. `F`: frames.

re10k    `timestamp_us fx fy cx cy 0 0 r11 r12 .. t3`, world-to-camera, intrinsics as fractions; CameraCtrl and AC3D
         take the same. https://google.github.io/realestate10k/download.html
tum      `timestamp tx ty tz qx qy qz qw`, camera-to-world. https://cvg.cit.tum.de/data/datasets/rgbd-dataset
kitti    12 numbers, 3x4 camera-to-world by rows. https://www.cvlibs.net/datasets/kitti/eval_odometry.php
euroc    `timestamp_ns, px, py, pz, qw, qx, qy, qz` and velocities and biases of zero; camera-to-world, the camera being
         the body. https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets
log      three whole numbers, then 4x4 camera-to-world by rows: Open3D's, and Tanks and Temples'

OpenCV axes.
"""

import torch

from mirage.formats.cameras.writers.writer import CameraWriter, Written
from mirage.geometry.pose import quaternion

ADDRESS = "mirage"  # where a clip's address stands in RealEstate10K; readers skip this line
EUROC = (
    "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z [], "
    "v_RS_R_x [m s^-1], v_RS_R_y [m s^-1], v_RS_R_z [m s^-1], b_w_RS_S_x [rad s^-1], b_w_RS_S_y [rad s^-1], "
    "b_w_RS_S_z [rad s^-1], b_a_RS_S_x [m s^-2], b_a_RS_S_y [m s^-2], b_a_RS_S_z [m s^-2]"
)


def re10k(path: Written) -> bytes:
    """RealEstate10K text."""
    poses = path.camera.w2c[:, :3].flatten(1).tolist()
    rows = zip(path.times, path.camera.intrinsics.tolist(), poses, strict=True)
    return _lines([ADDRESS], [[str(round(time * 1e6)), *_said([*lens, 0.0, 0.0, *pose])] for time, lens, pose in rows])


def tum(path: Written) -> bytes:
    """TUM text."""
    header = ["# timestamp tx ty tz qx qy qz qw (camera-to-world, OpenCV axes)"]
    return _lines(header, [[f"{time:.6f}", *_said(pose)] for time, pose in zip(path.times, _posed(path), strict=True)])


def kitti(path: Written) -> bytes:
    """KITTI text: no comments, no times."""
    return _lines([], [_said(pose) for pose in path.camera.c2w[:, :3].flatten(1).tolist()])


def euroc(path: Written) -> bytes:
    """EuRoC ground truth."""
    rows = []
    for time, (x, y, z, qx, qy, qz, qw) in zip(path.times, _posed(path), strict=True):
        rows.append([",".join([str(round(time * 1e9)), *_said([x, y, z, qw, qx, qy, qz, *[0.0] * 9])])])
    return _lines([EUROC], rows)


def log(path: Written) -> bytes:
    """Open3D's log."""
    rows = []
    for frame, pose in enumerate(path.camera.c2w.tolist()):
        rows += [[str(frame), str(frame), str(frame + 1)], *map(_said, pose)]
    return _lines([], rows)


def _posed(path: Written) -> list[list[float]]:
    """tx ty tz qx qy qz qw."""
    w, xyz = quaternion(path.camera.c2w[:, :3, :3])
    return torch.cat([path.camera.center, xyz, w[:, None]], dim=1).tolist()


def _said(values: list[float]) -> list[str]:
    return [repr(value) for value in values]


def _lines(header: list[str], rows: list[list[str]]) -> bytes:
    return ("\n".join([*header, *(" ".join(row) for row in rows)]) + "\n").encode()


RE10K = CameraWriter("re10k", "RealEstate10K text (CameraCtrl, AC3D)", ".txt", re10k)
TUM = CameraWriter("tum", "TUM trajectory", ".tum", tum, lens=False)
KITTI = CameraWriter("kitti", "KITTI poses", ".txt", kitti, lens=False)
EUROC_CSV = CameraWriter("euroc", "EuRoC csv", ".csv", euroc, lens=False)
LOG = CameraWriter("log", "Open3D or Tanks and Temples log", ".log", log, lens=False)
