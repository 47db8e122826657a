"""What the autoencoder can show at all: held-out walks as one stream, third by third, and photographs.

    python benchmarks/autoencoder.py [--model mini] [--scenes 12]

A walk of 97 frames is encoded and decoded as one stream; if quality drifted, the last third would be worse than the
first. The photographs are scikit-image's own colour ones, cut to the model's size about their centre.
"""

import argparse
import statistics
import sys

import torch
from torch import Tensor

from mirage.evaluation.metrics import psnr
from mirage.evaluation.options import SyntheticOptions
from mirage.evaluation.report import Summary, markdown_table
from mirage.formats.image import fit_image
from mirage.geometry.camera import Camera
from mirage.models.loading import load_world_model
from mirage.models.world import WorldModel
from mirage.scenes import Scene

FRAMES, THIRD = 97, 32
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", help="bundled name or folder")
    parser.add_argument("--scenes", type=int, default=12, help="held-out walks")
    asked = parser.parse_args(argv)
    model = load_world_model(asked.model)
    print("### Held-out walks, 97 frames\n")
    print(markdown_table([walks(model, asked.scenes)]))
    print("### Photographs\n")
    print(markdown_table([photographs(model)]))
    return 0


@torch.no_grad()
def walks(model: WorldModel, count: int) -> dict[str, Summary]:
    """PSNR of walks [97,3,H,W] through the autoencoder: the mean over scenes and its deviation."""
    kinds = SyntheticOptions.kinds
    rows = []
    for seed in range(count):
        scene = Scene.sample(seed)
        frames = scene.render(scene.path(kinds[seed % len(kinds)], FRAMES, seed=seed), model.size).rgb
        found = psnr(model.decode(model.encode(frames)), frames)
        first, *thirds = found.split([1, THIRD, THIRD, THIRD])
        rows.append([first, *thirds, found])
    names = ("first frame", "frames 1 to 32", "33 to 64", "65 to 96", "all")
    return {name: Summary.of(float(row[n].mean()) for row in rows) for n, name in enumerate(names)}


@torch.no_grad()
def photographs(model: WorldModel) -> dict[str, float]:
    """PSNR of each, and their mean."""
    rows = {
        name: float(psnr(model.decode(model.encode(picture)), picture)[0])
        for name, picture in ((name, photograph(name, model)) for name in PHOTOGRAPHS)
    }
    return {**rows, "mean": statistics.mean(rows.values())}


def photograph(name: str, model: WorldModel) -> Tensor:
    """[1,3,H,W] in [0, 1] at the model's size."""
    from skimage import data  # in the extra "eval"

    found = getattr(data, name)()
    pixels = found[0] if isinstance(found, tuple) else found
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    return fit_image(image, Camera.looking(aspect=image.shape[2] / image.shape[1]), model.size)[0][None]


if __name__ == "__main__":
    sys.exit(main())
