"""Depth estimators by the names that people type."""

from pathlib import Path

import torch

from mirage.depth.adapters.depth_anything_3 import DepthAnything3Depth
from mirage.depth.adapters.files import DepthFiles
from mirage.depth.adapters.map_anything import MapAnythingDepth
from mirage.depth.protocol import DepthEstimator
from mirage.errors import InputError
from mirage.models.world import WorldModel
from mirage.plugins import plugin, plugin_names

NAMES = ("head", "depth-anything", "depth-pro", "da3", "mapanything")


def check_estimator(name: str) -> None:
    """`InputError` if there is none of that name; nothing is loaded."""
    kind, colon, weights = name.partition(":")
    if name in plugin_names("depth_estimators"):
        return
    named = kind in NAMES and bool(weights) == bool(colon) and not (kind == "head" and weights)
    if not named and not (name and Path(name).expanduser().exists()):
        names = ", ".join([*NAMES, *plugin_names("depth_estimators")])
        raise InputError(f"no depth estimator {name!r}; accepted: {names}, or a folder or .npz of depth maps")


def depth_files(name: str) -> DepthFiles | None:
    """The depth maps that a name stands for; None: it names an estimator."""
    return None if name.partition(":")[0] in NAMES else DepthFiles(name)


def make_estimator(name: str, *, device: torch.device | str) -> DepthEstimator | None:
    """An estimator for every chunk; None: the model's own depth head.

    name    head, depth-anything, depth-pro, da3 or mapanything, each but the first with ":HUB-ID" or ":FOLDER" for
            other weights than its usual ones; a folder or .npz of depth maps; or what a package brings (plugins.py)
    """
    check_estimator(name)
    if name not in NAMES and name in plugin_names("depth_estimators"):
        return plugin("depth_estimators", name)(device)
    kind, _, weights = name.partition(":")
    given = {"name": weights} if weights else {}
    match kind:
        case "head":
            return None
        case "depth-anything":
            from mirage.models.others.frame_depth import DepthAnythingDepth

            return DepthAnythingDepth.load(**given, device=device)
        case "depth-pro":
            from mirage.models.others.frame_depth import DepthProDepth

            return DepthProDepth.load(**given, device=device)
        case "da3":
            return DepthAnything3Depth.load(**given, device=device)
        case "mapanything":
            return MapAnythingDepth.load(**given, device=device)
    return DepthFiles(name)


def depth_head(model: WorldModel) -> DepthEstimator:
    """The model's own, which reads latents."""
    return lambda views: model.depth(views.latents, views.camera, first=views.first)
