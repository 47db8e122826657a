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

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError, check_number, short
from mirage.geometry import pose
from mirage.geometry.grid import cell_centers
from mirage.geometry.tensors import Reals
from mirage.kinds import check_fields, checked, fit

FIELD_OF_VIEW = 65.0  # degrees on the longer side of a picture that says nothing
FILM_DIAGONAL = math.hypot(36, 24)  # millimetres
FARTHEST = 1e9  # world units from the origin: what is farther overflows where float32 squares it
FOCAL_LIMITS, CENTER_LIMIT = (1e-3, 1e4), 1e4  # in image sides, crops included
PIXELS = (50.0, 20.0)  # a focal length and a principal point beyond both are no fractions but pixels


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera, or many: `c2w` [*,4,4] rigid, `intrinsics` [*,4] = fx, fy, cx, cy of the unit square.

    >>> camera = Camera.looking(horizontal_fov=70, aspect=4 / 3)
    >>> points = camera.unproject(cell_centers((12, 16)), torch.full((12, 16), 2.0))      # a wall two units away
    >>> uv, z = camera.project(points)
    """

    c2w: Reals
    intrinsics: Reals

    def __post_init__(self) -> None:
        check_fields(self)
        if self.c2w.shape[-2:] != (4, 4):
            raise InputError(f"camera poses are [*,4,4], got {list(self.c2w.shape)}")
        lead = self.c2w.shape[:-2]
        fits = self.intrinsics.ndim and all(
            n in (1, m) for n, m in zip(self.intrinsics.shape[-2::-1], lead[::-1], strict=False)
        )
        if self.intrinsics.shape[-1:] != (4,) or not fits or self.intrinsics.ndim > 1 + len(lead):
            raise InputError(f"intrinsics are [4] or {[*lead, 4]} = fx, fy, cx, cy, got {list(self.intrinsics.shape)}")
        object.__setattr__(self, "intrinsics", self.intrinsics.to(self.c2w).expand(*lead, 4))

    @classmethod
    def of(cls, cameras: "CameraLike", *, what: str = "the camera", intrinsics: Reals | None = None) -> "Camera":
        """Cameras as people have them at hand, looked at before they are believed (`check_cameras`): a `Camera`, a list
        of them, or poses [4,4] or [T,4,4] with their intrinsics, as a pair.

        intrinsics   of poses that come without: [4] or [T,4]; None: such poses are refused
        """
        if isinstance(cameras, Camera):
            found = cameras
        elif isinstance(cameras, tuple) and len(cameras) == 2 and not isinstance(cameras[0], Camera):
            poses, its = (fit(Reals, part, what) for part in cameras)
            found = Camera(poses, its)
        elif isinstance(cameras, list | tuple) and cameras and all(isinstance(one, Camera) for one in cameras):
            found = Camera.stack([one for one in cameras if isinstance(one, Camera)])
        elif isinstance(cameras, Tensor | np.ndarray):
            if intrinsics is None:
                raise InputError(
                    f"{what} is a matrix, {short(cameras)}, which does not say how wide it sees; accepted: a Camera, a "
                    "list of them, or (poses [T,4,4], intrinsics [4] of the unit square)"
                )
            found = Camera(fit(Reals, cameras, what), intrinsics)
        else:
            raise InputError(f"{what} is {short(cameras)}; accepted: a Camera, a list of them, or (poses, intrinsics)")
        if found.c2w.numel():  # none at all is a path too, of nothing
            require_cameras(found, source=what)
            its = found.intrinsics.reshape(-1, 4)
            _first_bad(
                (its[:, :2] > PIXELS[0]).all(-1) & (its[:, 2:] > PIXELS[1]).all(-1),
                what,
                "has intrinsics that look like pixels; accepted: fractions of the image's sides (Camera.from_pixels)",
            )
        return found

    @classmethod
    @checked
    def from_pixels(
        cls, c2w: Reals, K: Reals, size: tuple[int, int], *, pixel_centers: Literal["half", "integer"] = "half"
    ) -> Self:
        """From pixel matrices K [*,3,3] of an image of `size` (H, W).

        `pixel_centers` says what the matrix calls the centre of the first pixel: "half" (0.5, 0.5), as COLMAP and
        OpenGL do, or "integer" (0, 0), as OpenCV does. Skew is refused: no lens in this project has it.
        """
        height, width = _sides(size)
        if K.shape[-2:] != (3, 3):
            raise InputError(f"pixel matrices are [*,3,3], got {short(K)}")
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
    @checked
    def looking(cls, *, horizontal_fov: float = 65.0, aspect: float = 4 / 3, c2w: Reals | None = None) -> Self:
        """A centred camera of a given horizontal field of view in degrees and aspect W/H, at the origin by default."""
        check_number(
            "the field of view", horizontal_fov, low=0.01, high=179.9, accepted="degrees across, 0.01 to 179.9"
        )
        check_number("the aspect", aspect, low=1e-3, high=1e3, accepted="width over height, 0.001 to 1000")
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
            focal = check_number(
                "a focal length as of 35 mm film", focal_mm, low=1, high=10_000, accepted="1 to 10000 mm"
            )
            fov = math.degrees(2 * math.atan(width / (2 * focal / FILM_DIAGONAL * math.hypot(height, width))))
        across = field_of_view(size) if fov is None else fov
        check_number("a field of view", across, low=0.1, high=170, accepted="0.1 to 170 degrees across the picture")
        return Camera.looking(horizontal_fov=across, aspect=width / height)

    @classmethod
    @checked
    def stack(cls, cameras: Sequence["Camera"]) -> Self:
        """A trajectory [F] of single cameras []; of several trajectories of one shape [*], [n,*]."""
        if not cameras or len({one.shape for one in cameras}) > 1:
            raise InputError(f"cameras of one shape are stacked, got {[list(one.shape) for one in cameras]}")
        first = cameras[0].c2w
        return cls(
            torch.stack([c.c2w.to(first) for c in cameras]), torch.stack([c.intrinsics.to(first) for c in cameras])
        )

    @classmethod
    @checked
    def concatenate(cls, cameras: Sequence["Camera"]) -> Self:
        """Join trajectories along their first axis."""
        if not cameras or any(not one.shape or one.shape[1:] != cameras[0].shape[1:] for one in cameras):
            raise InputError(f"trajectories [F] are joined, got {[list(one.shape) for one in cameras]}; "
                             "Camera.stack takes single cameras")  # fmt: skip
        return cls(torch.cat([c.c2w for c in cameras]), torch.cat([c.intrinsics for c in cameras]))

    # -- where things are -------------------------------------------------------------------------------------------

    @checked
    def project(self, points: Reals) -> tuple[Tensor, Tensor]:
        """World points [*,N,3] -> (uv [*,N,2] in the unit square, z-depth [*,N]).

        Nothing is clipped: behind the camera z <= 0 and uv means nothing; outside the view uv leaves [0, 1].
        """
        if points.ndim < 2 or points.shape[-1] != 3 or not _spreads(points.shape[:-2], self.shape):
            raise InputError(f"cameras {list(self.shape)} project points [*,N,3], got {list(points.shape)}")
        dtype = torch.promote_types(points.dtype, self.c2w.dtype)
        w2c, points = self.w2c.to(dtype), points.to(dtype)
        local = points @ w2c[..., :3, :3].transpose(-1, -2) + w2c[..., None, :3, 3]
        z = local[..., 2]
        focal, center = self.intrinsics[..., None, :2], self.intrinsics[..., None, 2:]
        return local[..., :2] / z[..., None] * focal + center, z

    @checked
    def unproject(self, uv: Reals, z: Reals) -> Tensor:
        """Image coordinates [*,N,2] (or [*,h,w,2]) at z-depth [*,N] (or [*,h,w]) -> world points."""
        lead = len(self.shape)
        extra = z.ndim - lead
        if (
            extra < 1
            or uv.shape[-1:] != (2,)
            or not _spreads(z.shape[:lead], self.shape)
            or not _spreads(uv.shape[:-1], z.shape)
        ):
            raise InputError(f"cameras {list(self.shape)} lift uv [*,N,2] at depth [*,N], "
                             f"got {list(uv.shape)} and {list(z.shape)}")  # fmt: skip
        direction = self._directions(uv, extra)
        center = self.center[(..., *([None] * extra), slice(None))]
        return center + z[..., None] * direction

    @checked
    def rays(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Origins [*,3] and directions [*,h,w,3] through a grid's cells; origin + z * direction has z-depth z."""
        uv = cell_centers(_sides(size), device=self.c2w.device, dtype=self.c2w.dtype)
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

    @checked
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

    @checked
    def relative_to(self, reference: "Camera") -> "Camera":
        """The same cameras in the frame of one camera `reference` [], which so becomes the origin."""
        if reference.shape:
            raise InputError(f"cameras are relative to one camera [], got {list(reference.shape)}")
        return self.moved(pose.invert(reference.c2w))

    @checked
    def moved(self, transform: Reals) -> "Camera":
        """The same cameras after the world is moved by a rigid `transform` [4,4]."""
        if transform.shape != (4, 4):
            raise InputError(f"a world is moved by a rigid matrix [4,4], got {short(transform)}")
        return Camera(transform.to(self.c2w) @ self.c2w, self.intrinsics)

    @checked
    def with_intrinsics(self, intrinsics: Reals) -> "Camera":
        """The same poses with other intrinsics, [4] or [*,4]."""
        return Camera(self.c2w, intrinsics)

    @checked
    def pixel_matrix(self, size: tuple[int, int], *, pixel_centers: Literal["half", "integer"] = "half") -> Tensor:
        """Pixel matrices [*,3,3] for an image of `size` (H, W); the inverse of `from_pixels`."""
        height, width = _sides(size)
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

    @checked
    def to(
        self,
        *where: torch.device | torch.dtype | Tensor | str,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Camera":
        """Like `Tensor.to`: device and floating dtype."""
        c2w, intrinsics = self.c2w, self.intrinsics
        for one in (*where, device, dtype):
            if one is not None:
                c2w, intrinsics = c2w.to(one), intrinsics.to(one)
        return self if c2w is self.c2w and intrinsics is self.intrinsics else Camera(c2w, intrinsics)

    def __repr__(self) -> str:
        wide = ""
        if self.intrinsics.numel():
            across = [
                round(math.degrees(2 * math.atan(0.5 / focal)), 1) for focal in _ends(self.intrinsics[..., 0]) if focal
            ]
            wide = f" {' to '.join(f'{degrees:g}' for degrees in dict.fromkeys(across))} degrees across,"
        return f"Camera({list(self.shape)},{wide} {self.c2w.dtype}, {self.c2w.device})".replace("torch.", "")


CameraLike = Camera | Tensor | np.ndarray | Sequence[Camera] | tuple[Tensor, Tensor]
"""What `Camera.of` takes."""


def field_of_view(size: tuple[int, int], *, longer: float = FIELD_OF_VIEW) -> float:
    """Degrees across a picture of `size` (H, W) with square pixels whose longer side sees `longer` degrees."""
    height, width = size
    return math.degrees(2 * math.atan(math.tan(math.radians(longer) / 2) * width / max(height, width)))


def _ends(values: Tensor) -> list[float]:
    """The least and the largest."""
    return [float(bound) for bound in values.detach().aminmax()]


def _spreads(shape: Sequence[int], over: Sequence[int]) -> bool:
    """Whether the two broadcast."""
    return all(1 in (n, m) or n == m for n, m in zip(shape[::-1], over[::-1], strict=False))


def _sides(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W), each a count above 0."""
    if min(size) < 1:
        raise InputError(f"a grid of {size[0]} x {size[1]} cells (height, width); accepted: 1 or more each")
    return size


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
