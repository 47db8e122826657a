"""How good a model's depth of real frames is: AbsRel against what a sensor measured, with one scale per frame.

    python benchmarks/depth.py FOLDER [--model mini] [--fov 57.3] [--every 4]

FOLDER holds pictures with "color" in their path, and depth of millimetres with "depth" in its place (7-Scenes:
frame-000000.color.jpg, frame-000000.depth.png; slambook2: color/1.png, depth/1.pgm). Each frame is encoded alone; its
estimate is scaled so that the medians of the cells that have both agree. `flat` is one depth everywhere, scaled alike.
"""

import argparse
import sys
from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.evaluation.metrics import DepthErrors, depth_errors
from mirage.evaluation.report import Summary, markdown_table
from mirage.formats.depth import cut_depth, load_depth
from mirage.formats.image import fit_image, load_image
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.loading import load_world_model
from mirage.models.world import WorldModel


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mini", help="bundled name or folder")
    parser.add_argument("--fov", type=float, default=57.3, help="horizontal field of view of the frames, degrees")
    parser.add_argument("--every", type=int, default=1, help="every how many frames")
    asked = parser.parse_args(argv)
    if asked.every < 1:
        parser.error(f"--every is 1 or more, got {asked.every}")
    found = pairs(asked.folder)[:: asked.every]
    if not found:
        print(f"{asked.folder} holds no pairs of color and depth", file=sys.stderr)
        return 2
    model = load_world_model(asked.model)
    errors = [of_frame(model, *pair, fov=asked.fov) for pair in found]
    print("### Depth of single real frames, one scale each\n")
    print(
        markdown_table(
            [
                {
                    "what": name,
                    "AbsRel": Summary.of(each[name].absrel for each in errors),
                    "within 25 %": Summary.of(each[name].delta1 for each in errors),
                    "n": len(errors),
                }
                for name in ("depth head", "flat")
            ]
        )
    )
    return 0


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures with their depth, in order."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = str(path.relative_to(folder))
        if "color" not in inside or not path.is_file():
            continue
        beside = (folder / inside.replace("color", "depth")).with_suffix("")
        depth = [beside.parent / f"{beside.name}{ending}" for ending in (".png", ".pgm")]
        found += [(path, one) for one in depth if one.is_file()]
    return found


def of_frame(model: WorldModel, picture: Path, depth: Path, *, fov: float) -> dict[str, DepthErrors]:
    """Of the model's depth head, and of one depth everywhere, on the latent grid."""
    whole = load_image(picture)
    lens = Camera.looking(horizontal_fov=fov, aspect=whole.shape[-1] / whole.shape[-2])
    image, camera = fit_image(whole, lens, model.size)
    latents = model.encode(image[None])
    true = cut_depth(load_depth(depth, size=(whole.shape[-2], whole.shape[-1])), model.size)
    true = true.resized((latents.shape[-2], latents.shape[-1]))
    head = model.depth(latents, camera, first=True)[0].to("cpu")
    flat = DepthMap(torch.ones_like(true.z))
    return {name: depth_errors(matched(of, true), true) for name, of in (("depth head", head), ("flat", flat))}


def matched(estimate: DepthMap, true: DepthMap) -> DepthMap:
    """The estimate [h,w], scaled so that its median is the true one where both are known."""
    both = estimate.valid & true.valid
    if not both.any():
        raise InputError("nothing of a frame has both depths")
    return estimate.scaled(float(true.z[both].median() / estimate.z[both].median()))


if __name__ == "__main__":
    sys.exit(main())
