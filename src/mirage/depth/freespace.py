"""What cannot be where its depth says: an earlier frame looked through that place, and saw what lies behind it.

    earlier eye --> - - - x - - - - |      x is before the surface that the earlier frame saw: it was seen through
                          ^         |      written all the same, it would hang before that surface, and when the earlier
                    later eye              eye's view comes back, the nearest point would win, and that is x

Depth is wrong most at edges, where a thing's outermost cells are lifted a little before or behind it, and each view is
wrong in its own way. What is known from the view that comes back is all in the memory, in its place whatever its depth;
only points of other views can cover it. So the first frame to see a place has its word, as it has in the gate of the
memory. The rule is space carving's (Kutulakos and Seitz 2000), asked once, when a point is to be written.

`T` latent frames, `J` earlier ones, `h w` latent grid.
"""

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.visibility import looked_through


def seen_through(
    depth: DepthMap, camera: Camera, *, past: tuple[DepthMap, Camera] | None = None, tolerance: float = 0.05
) -> Tensor:
    """Cells [T,h,w], bool, whose point at `depth` [T,h,w] any earlier frame looked through: those before it of the same
    `camera` [T], and those of the `past`, depth [J,h,w] and camera [J] on the same grid.

    tolerance: relative difference of depth up to which a point lies on the surface that a frame saw.
    """
    if camera.shape != depth.shape[:1]:
        raise InputError(f"{depth.shape[0]} frames have one camera each, got {list(camera.shape)}")
    if past is not None and past[0].shape[1:] != depth.shape[1:]:
        raise InputError(f"earlier depth is [J,h,w] like {list(depth.shape)}, got {list(past[0].shape)}")
    device, eye = depth.z.device, camera.to(depth.z.device, torch.float32)
    known = DepthMap(torch.where(depth.valid, depth.z.float(), 1.0), depth.valid)  # finite: what is missing has no say
    origin, direction = eye.rays((depth.shape[-2], depth.shape[-1]))
    points = origin[:, None, None] + known.z[..., None] * direction
    views, seen, cells = eye[:-1], known[:-1], points[0, ..., 0].numel()
    since = [cells * (t + 1) for t in range(len(seen))]  # a frame is asked about those after it
    if past is not None and len(past[0]):
        earlier = DepthMap(past[0].z.to(device).float(), past[0].valid.to(device))
        views = Camera.concatenate([past[1].to(device, torch.float32), views])
        seen, since = DepthMap.concatenate([earlier, seen]), [0] * len(earlier) + since
    if not since:
        return torch.zeros_like(depth.valid)
    through = looked_through(points.view(-1, 3), views, seen, since=since, tolerance=tolerance).view_as(depth.valid)
    return through & depth.valid
