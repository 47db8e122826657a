"""The camera: where it stands, where it looks, how wide it sees. It has no resolution; grids do.

`*`: any leading axes (a trajectory is a `Camera` with one time axis `F`). `h w`, `H W`: grids of any resolution.
Poses are camera-to-world, OpenCV axes (x right, y down, z forward); depth is z-depth in world units; image coordinates
(u, v) live in the unit square, and intrinsics (fx, fy, cx, cy) are fractions of its sides. So one camera serves
704x1280 frames, 44x80 latents and any depth map: a resize leaves it alone, a crop does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.grid import cell_centers

FIELD_OF_VIEW = 65.0  # degrees on the longer side of a picture that says nothing
FILM_DIAGONAL = math.hypot(36, 24)  # millimetres
FARTHEST = 1e9  # world units from the origin: what is farther overflows where float32 squares it
FOCAL_LIMITS, CENTER_LIMIT = (1e-3, 1e4), 1e4  # in image sides, crops included


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera, or many: `c2w` [*,4,4] rigid, `intrinsics` [*,4] = fx, fy, cx, cy of the unit square.

    >>> camera = Camera.looking(horizontal_fov=70, aspect=4 / 3)
    >>> points = camera.unproject(cell_centers((12, 16)), torch.full((12, 16), 2.0))      # a wall two units away
    >>> uv, z = camera.project(points)
    """

    c2w: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        if self.c2w.shape[-2:] != (4, 4) or not self.c2w.is_floating_point():
            raise InputError(f"camera poses are floating point [*,4,4], got {self.c2w.dtype} {list(self.c2w.shape)}")
        if self.intrinsics.shape[-1:] != (4,):
            raise InputError(f"intrinsics are [*,4] = fx, fy, cx, cy, got {list(self.intrinsics.shape)}")
        intrinsics = self.intrinsics.to(self.c2w).expand(*self.c2w.shape[:-2], 4)
        object.__setattr__(self, "intrinsics", intrinsics)

    @classmethod
    def from_pixels(
        cls, c2w: Tensor, K: Tensor, size: tuple[int, int], *, pixel_centers: Literal["half", "integer"] = "half"
    ) -> Self:
        """From pixel matrices K [*,3,3] of an image of `size` (H, W).

        `pixel_centers` says what the matrix calls the centre of the first pixel: "half" (0.5, 0.5), as COLMAP and
        OpenGL do, or "integer" (0, 0), as OpenCV does. Skew is refused: no lens in this project has it.
        """
        height, width = size
        if K.shape[-2:] != (3, 3):
            raise InputError(f"pixel matrices are [*,3,3], got {list(K.shape)}")
        if (K[..., 0, 1].abs() > 1e-6 * K[..., 0, 0].abs()).any():
            raise InputError(f"a pixel matrix has skew {K[..., 0, 1].abs().max():g}; only zero skew is accepted")
        shift = {"half": 0.0, "integer": 0.5}[pixel_centers]
        columns = [
            K[..., 0, 0] / width,
            K[..., 1, 1] / height,
            (K[..., 0, 2] + shift) / width,
            (K[..., 1, 2] + shift) / height,
        ]
        return cls(c2w, torch.stack(columns, dim=-1))

    @classmethod
    def looking(cls, *, horizontal_fov: float = 65.0, aspect: float = 4 / 3, c2w: Tensor | None = None) -> Self:
        """A centred camera of a given horizontal field of view in degrees and aspect W/H, at the origin by default."""
        fx = 0.5 / torch.tan(torch.deg2rad(torch.tensor(horizontal_fov / 2))).item()
        c2w = torch.eye(4) if c2w is None else c2w
        return cls(c2w, torch.tensor([fx, fx * aspect, 0.5, 0.5], dtype=c2w.dtype, device=c2w.device))

    @classmethod
    def for_image(
        cls, image: Any, *, fov: float | None = None, focal_mm: float | None = None, K: Any = None
    ) -> "Camera":
        """The camera that took a picture with square pixels: at the origin, centred unless `K` says otherwise.

        image       an array or tensor [3,H,W] or [H,W,3], a PIL image, or its size (H, W)
        fov         degrees across it; without any of these 65 degrees on the longer side
        focal_mm    focal length as of 35 mm film, what phones call 26 mm: the diagonals agree (43.27 mm of film)
        K           its pixel matrix [3,3]
        """
        given = {"fov": fov, "focal_mm": focal_mm, "K": K}
        several = [name for name, value in given.items() if value is not None]
        if len(several) > 1:
            raise InputError(f"got {' and '.join(several)}; expected one of fov, focal_mm, K")
        height, width = size = _image_size(image)
        if K is not None:
            return _from_matrix(K, size)
        if focal_mm is not None:
            _check_number(focal_mm, "a focal length as of 35 mm film", 1, 10_000, "millimetres")
            fov = math.degrees(2 * math.atan(width / (2 * focal_mm / FILM_DIAGONAL * math.hypot(height, width))))
        elif fov is None:
            fov = field_of_view(size)
        _check_number(fov, "a field of view", 0.1, 170, "degrees across the picture")
        return Camera.looking(horizontal_fov=fov, aspect=width / height)

    @classmethod
    def concatenate(cls, cameras: Sequence["Camera"]) -> Self:
        """Join trajectories along their first axis."""
        return cls(torch.cat([c.c2w for c in cameras]), torch.cat([c.intrinsics for c in cameras]))

    # -- where things are -------------------------------------------------------------------------------------------

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points [*,N,3] -> (uv [*,N,2] in the unit square, z-depth [*,N]).

        Nothing is clipped: behind the camera z <= 0 and uv means nothing; outside the view uv leaves [0, 1].
        """
        w2c = self.w2c
        local = points @ w2c[..., :3, :3].transpose(-1, -2) + w2c[..., None, :3, 3]
        z = local[..., 2]
        focal, center = self.intrinsics[..., None, :2], self.intrinsics[..., None, 2:]
        return local[..., :2] / z[..., None] * focal + center, z

    def unproject(self, uv: Tensor, z: Tensor) -> Tensor:
        """Image coordinates [*,N,2] (or [*,h,w,2]) at z-depth [*,N] (or [*,h,w]) -> world points."""
        lead = len(self.shape)
        extra = z.ndim - lead
        direction = self._directions(uv, extra)
        center = self.center[(..., *([None] * extra), slice(None))]
        return center + z[..., None] * direction

    def rays(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Origins [*,3] and directions [*,h,w,3] through a grid's cells; origin + z * direction has z-depth z."""
        uv = cell_centers(size, device=self.c2w.device, dtype=self.c2w.dtype)
        return self.center, self._directions(uv.expand(*self.shape, *uv.shape), 2)

    def _directions(self, uv: Tensor, extra: int) -> Tensor:
        expand = (..., *([None] * extra), slice(None))
        local = (uv - self.intrinsics[..., 2:][expand]) / self.intrinsics[..., :2][expand]
        right, down, ahead = (self.c2w[..., :3, axis][expand] for axis in range(3))
        return local[..., :1] * right + local[..., 1:] * down + ahead  # a matmul per point takes three times as long

    @property
    def w2c(self) -> Tensor:
        """World-to-camera [*,4,4]."""
        return pose.invert(self.c2w)

    @property
    def center(self) -> Tensor:
        """Position in the world [*,3]."""
        return self.c2w[..., :3, 3]

    # -- other cameras made from this one ---------------------------------------------------------------------------

    def cropped(self, left: float, top: float, right: float, bottom: float) -> "Camera":
        """The camera of the part of the image between these fractions of its sides (0 <= left < right <= 1)."""
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(
                f"a crop is 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got {left, top, right, bottom}"
            )
        size = self.intrinsics.new_tensor([right - left, bottom - top])
        corner = self.intrinsics.new_tensor([left, top])
        focal, center = self.intrinsics[..., :2] / size, (self.intrinsics[..., 2:] - corner) / size
        return Camera(self.c2w, torch.cat([focal, center], dim=-1))

    def relative_to(self, reference: "Camera") -> "Camera":
        """The same cameras in the frame of one camera `reference` [], which so becomes the origin."""
        return self.moved(pose.invert(reference.c2w))

    def moved(self, transform: Tensor) -> "Camera":
        """The same cameras after the world is moved by a rigid `transform` [4,4]."""
        return Camera(transform.to(self.c2w) @ self.c2w, self.intrinsics)

    def with_intrinsics(self, intrinsics: Tensor) -> "Camera":
        """The same poses with other intrinsics, [4] or [*,4]."""
        return Camera(self.c2w, intrinsics)

    def pixel_matrix(self, size: tuple[int, int], *, pixel_centers: Literal["half", "integer"] = "half") -> Tensor:
        """Pixel matrices [*,3,3] for an image of `size` (H, W); the inverse of `from_pixels`."""
        height, width = size
        shift = {"half": 0.0, "integer": 0.5}[pixel_centers]
        fx, fy, cx, cy = self.intrinsics.unbind(-1)
        K = torch.zeros((*self.shape, 3, 3), dtype=self.c2w.dtype, device=self.c2w.device)
        K[..., 0, 0], K[..., 1, 1], K[..., 2, 2] = fx * width, fy * height, 1
        K[..., 0, 2], K[..., 1, 2] = cx * width - shift, cy * height - shift
        return K

    # -- an array of cameras ----------------------------------------------------------------------------------------

    @property
    def shape(self) -> torch.Size:
        """Leading axes: [] for one camera, [F] for a trajectory."""
        return self.c2w.shape[:-2]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("one camera has no length; a trajectory has")
        return self.shape[0]

    def __getitem__(self, index) -> "Camera":
        index = index if isinstance(index, tuple) else (index,)
        return Camera(self.c2w[(*index, ..., slice(None), slice(None))], self.intrinsics[(*index, ..., slice(None))])

    def to(self, *args, **kwargs) -> "Camera":
        """Like `Tensor.to`: device and floating dtype."""
        return Camera(self.c2w.to(*args, **kwargs), self.intrinsics.to(*args, **kwargs))

    def __repr__(self) -> str:
        return f"Camera({list(self.shape)}, {self.c2w.dtype}, {self.c2w.device})".replace("torch.", "")


def field_of_view(size: tuple[int, int], *, longer: float = FIELD_OF_VIEW) -> float:
    """Degrees across a picture of `size` (H, W) with square pixels whose longer side sees `longer` degrees."""
    height, width = size
    return math.degrees(2 * math.atan(math.tan(math.radians(longer) / 2) * width / max(height, width)))


def _image_size(image: Any) -> tuple[int, int]:
    """(H, W) of whatever shows a picture."""
    expected = "expected [3,H,W], [H,W,3], a PIL image, or its size (H, W)"
    pillow = None if hasattr(image, "shape") else getattr(image, "size", None)
    if isinstance(image, tuple) and len(image) == 2 and all(type(side) is int for side in image):
        height, width = image
    elif isinstance(pillow, tuple):
        width, height = pillow
    else:
        shape = [int(side) for side in getattr(image, "shape", ())]
        if len(shape) < 2 or not all(shape):
            raise InputError(f"got a picture of type {type(image).__name__} and shape {shape}; {expected}")
        last = len(shape) > 2 and shape[-1] in (1, 3, 4) and shape[-3] not in (1, 3, 4)
        height, width = shape[-3:-1] if last else shape[-2:]
    if min(height, width) < 1:
        raise InputError(f"got a picture of {width} x {height} pixels; {expected}")
    return height, width


def _from_matrix(K: Any, size: tuple[int, int]) -> Camera:
    try:
        matrix = torch.as_tensor(K, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"got a pixel matrix of type {type(K).__name__}; expected 3x3 numbers") from error
    if matrix.shape != (3, 3) or not torch.isfinite(matrix).all() or (matrix.diagonal()[:2] <= 0).any():
        raise InputError(f"got a pixel matrix {matrix.tolist()}; expected 3x3, finite, focal lengths in pixels above 0")
    if matrix[0, 0] <= 2 and matrix[0, 2] <= 1:
        raise InputError(f"got a pixel matrix {matrix.tolist()}, which looks like fractions; expected pixels")
    return Camera.from_pixels(torch.eye(4), matrix, size)


def _check_number(value: Any, what: str, low: float, high: float, unit: str) -> None:
    try:
        fine = low <= float(value) <= high and not isinstance(value, bool | str)
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise InputError(f"got {value!r} as {what}; expected {low:g} to {high:g} {unit}")


def check_cameras(camera: Camera, *, source: str = "the camera path") -> Camera:
    """Cameras from strangers: finite, true rotations, positive focal lengths. Returns them with rotations
    orthonormalised (text files round); raises `InputError` that names the first bad frame."""
    if camera.c2w.numel() == 0:
        raise InputError(f"{source} is empty; expected at least one pose")
    require_cameras(camera, source=source)
    rotation = pose.orthonormalised(camera.c2w[..., :3, :3])
    return Camera(pose.make_pose(rotation, camera.center), camera.intrinsics)


def require_cameras(camera: Camera, *, source: str) -> None:
    """`check_cameras` for cameras that are taken as they are: made orthonormal anew, a walk would go on elsewhere."""
    c2w, intrinsics = camera.c2w.reshape(-1, 4, 4), camera.intrinsics.reshape(-1, 4)
    _first_bad(
        ~(torch.isfinite(c2w).all((-1, -2)) & torch.isfinite(intrinsics).all(-1)),
        source,
        "has NaN or infinite numbers; every pose must be finite",
    )
    _first_bad(
        ~pose.is_rotation(c2w[:, :3, :3], tolerance=1e-2),
        source,
        "is not a rotation; expected orthonormal right-handed 3x3 (no scale, no mirror)",
    )
    focal, center, (low, high) = intrinsics[:, :2], intrinsics[:, 2:], FOCAL_LIMITS
    _first_bad((focal <= 0).any(-1), source, "has a focal length of zero or less; expected fx, fy > 0")
    wrong = (focal < low).any(-1) | (focal > high).any(-1) | (center.abs() > CENTER_LIMIT).any(-1)
    _first_bad(
        wrong,
        source,
        f"has a focal length outside {low:g}..{high:g} image sides or a principal point beyond {CENTER_LIMIT:g}; "
        "intrinsics are fractions of the image's sides",
    )
    _first_bad(
        (c2w[:, :3, 3].abs() > FARTHEST).any(-1), source, f"stands farther than {FARTHEST:g} units from the origin"
    )
    bottom = c2w.new_tensor([0.0, 0.0, 0.0, 1.0])
    _first_bad((c2w[:, 3] != bottom).any(-1), source, "has another bottom row than 0 0 0 1")


def _first_bad(bad: Tensor, source: str, message: str) -> None:
    if bad.any():
        raise InputError(f"{source}: frame {int(bad.nonzero()[0])} {message}")
