"""Rigid poses as 4x4 matrices, camera-to-world, OpenCV axes (x right, y down, z forward).

`is_rotation` says whether a matrix is one, `look_at` aims one, `interpolate` moves between two on the shortest arc.
"""

import torch
from torch import Tensor


def make_pose(rotation: Tensor, translation: Tensor) -> Tensor:
    """[*,3,3] and [*,3] -> [*,4,4]."""
    pose = torch.zeros((*rotation.shape[:-2], 4, 4), dtype=rotation.dtype, device=rotation.device)
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1
    return pose


def invert(pose: Tensor) -> Tensor:
    """Inverse of rigid [*,4,4]; exact transposition instead of a general solve."""
    rotation = pose[..., :3, :3].transpose(-1, -2)
    return make_pose(rotation, -(rotation @ pose[..., :3, 3:])[..., 0])


def is_rotation(rotation: Tensor, *, tolerance: float = 1e-3) -> Tensor:
    """[*,3,3] -> bool [*]: orthonormal within `tolerance` and right-handed."""
    rotation = rotation if rotation.dtype == torch.float64 else rotation.float()  # bfloat16 has no determinant
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    error = (rotation @ rotation.transpose(-1, -2) - identity).abs().amax(dim=(-1, -2))
    return (error <= tolerance) & (torch.linalg.det(rotation) > 0)


def is_rigid(pose: Tensor) -> bool:
    """Whether it is one pose [4,4]: finite, a rotation and a translation."""
    if pose.shape != (4, 4) or pose.is_complex() or not bool(pose.isfinite().all()):
        return False
    last = pose.new_tensor([0, 0, 0, 1])
    return torch.equal(pose[3], last) and bool(is_rotation(pose[:3, :3].double()))


def orthonormalised(rotation: Tensor) -> Tensor:
    """The rotation nearest to [*,3,3] in the Frobenius norm: takes rounding of a text file out. What is one to the
    rounding of its own dtype stays as it is, to the bit."""
    u, _, vh = torch.linalg.svd(rotation.double())
    sign = torch.linalg.det(u @ vh)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], dim=-1)
    already = is_rotation(rotation, tolerance=16 * torch.finfo(rotation.dtype).eps)
    return torch.where(already[..., None, None], rotation, (u @ vh).to(rotation.dtype))


def rotation_about(axis: str, degrees: float | Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rotation about a camera axis: [*,3,3]. "y" positive turns the view right (yaw), "x" positive looks up
    (pitch), "z" positive rolls the camera clockwise as seen from behind it."""
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=dtype))
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        "x": [[one, zero, zero], [zero, c, -s], [zero, s, c]],
        "y": [[c, zero, s], [zero, one, zero], [-s, zero, c]],
        "z": [[c, -s, zero], [s, c, zero], [zero, zero, one]],
    }[axis]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def look_at(position: Tensor, target: Tensor, *, up: tuple[float, float, float] = (0.0, -1.0, 0.0)) -> Tensor:
    """Pose at `position` [*,3] that looks at `target` [*,3]; `up` is world up (y points down in OpenCV worlds).

    Looking straight along `up` has no unique answer; the right axis is then the world's x.
    """
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    down = -torch.as_tensor(up, dtype=position.dtype, device=position.device).expand_as(forward)
    right = torch.linalg.cross(down, forward)
    length = torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    fallback = torch.tensor([1.0, 0.0, 0.0], dtype=position.dtype, device=position.device).expand_as(right)
    right = torch.where(length > 1e-6, right / length.clamp_min(1e-6), fallback)
    down = torch.linalg.cross(forward, right)
    return make_pose(torch.stack([right, down, forward], dim=-1), position)


def interpolate(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    """Between two poses [4,4], or as many pairs [F,4,4], at `fraction` [F] in [0, 1]: slerp of the rotation, lerp of
    the centre -> [F,4,4]."""
    relative = start[..., :3, :3].transpose(-1, -2) @ end[..., :3, :3]
    axis_angle = log_rotation(relative)
    rotation = start[..., :3, :3] @ exp_rotation(fraction[:, None] * axis_angle)
    center = torch.lerp(start[..., :3, 3], end[..., :3, 3], fraction[:, None])
    return make_pose(rotation, center)


def exp_rotation(axis_angle: Tensor) -> Tensor:
    """Axis times angle in radians [*,3] -> rotation [*,3,3]."""
    return torch.linalg.matrix_exp(skew(axis_angle))


def skew(vector: Tensor) -> Tensor:
    """v [*,3] -> the matrix [*,3,3] with skew(v) u = v x u."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def log_rotation(rotation: Tensor) -> Tensor:
    """Rotation [*,3,3] -> axis times angle in radians [*,3], angle in [0, pi]; stable at 0 and pi."""
    w, xyz = quaternion(rotation)
    norm = torch.linalg.vector_norm(xyz, dim=-1, keepdim=True)
    angle = 2 * torch.atan2(norm, w[..., None])
    return torch.where(norm > 1e-12, xyz / norm.clamp_min(1e-12) * angle, 2 * xyz)


def quaternion(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation [*,3,3] -> unit quaternion (w [*] >= 0, xyz [*,3]).

    The four squared components come from the diagonal; the largest one is divided by, so nothing cancels.
    """
    m = rotation.double()
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + d0 + d1 + d2, 1 + d0 - d1 - d2, 1 - d0 + d1 - d2, 1 - d0 - d1 + d2], dim=-1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    p, q, r = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]
    rows = torch.stack(
        [
            torch.stack([squares[..., 0], a, b, c], dim=-1),
            torch.stack([a, squares[..., 1], p, q], dim=-1),
            torch.stack([b, p, squares[..., 2], r], dim=-1),
            torch.stack([c, q, r, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quat = torch.nn.functional.normalize(rows.gather(-2, best)[..., 0, :], dim=-1)
    quat = torch.where(quat[..., :1] < 0, -quat, quat).to(rotation.dtype)
    return quat[..., 0], quat[..., 1:]


def rotation_angle(rotation: Tensor) -> Tensor:
    """Angle of [*,3,3] in degrees [*], in [0, 180]."""
    return torch.rad2deg(torch.linalg.vector_norm(log_rotation(rotation), dim=-1))


def rotation_from_quaternion(quat: Tensor) -> Tensor:
    """(x, y, z, w) [*,4], any length but zero -> rotation [*,3,3]."""
    x, y, z, w = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - z * w),
            2 * (x * z + y * w),
            2 * (x * y + z * w),
            1 - 2 * (x * x + z * z),
            2 * (y * z - x * w),
            2 * (x * z - y * w),
            2 * (y * z + x * w),
            1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))
