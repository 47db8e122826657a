"""Evaluate anybody's rollouts: a folder with frames and the cameras they were asked for is enough, whoever made it.

Here two are made: a perfect one, rendered from a scene, and one that forgets, whose way back is another scene.

Run: python examples/09_evaluate_rollouts.py          then: mirage evaluate revisit rollouts/* --out outputs/revisit
"""

from pathlib import Path

import torch

from mirage import Scene, save_cameras
from mirage.evaluation.revisit import RevisitOptions, run_revisit
from mirage.formats.image import save_image

scene, other = Scene.sample(seed=3), Scene.sample(seed=4)
path = scene.path("there_and_back", frames=49)
seen, elsewhere = scene.render(path, (96, 128)).rgb, other.render(path, (96, 128)).rgb
rollouts = {
    "remembers": seen,
    "forgets": torch.cat([seen[:25], elsewhere[25:]]),
}
for name, frames in rollouts.items():
    folder = Path("rollouts") / name
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        save_image(folder / "frames" / f"{number:03d}.png", frame)
    save_cameras(folder / "cameras.npz", path, format="npz")  # or RealEstate10K or TUM text, or nerfstudio's json

options = RevisitOptions(rollouts=tuple(Path("rollouts") / name for name in rollouts), out=Path("outputs/revisit"))
found = run_revisit(options)["tasks"]
for name in rollouts:
    scores = found[name]["systems"]["rollout"]
    print(f"{name:>9}: {scores['psnr_c']:.1f} dB between last and first frame, {scores['mirror_psnr']:.1f} dB mirrored")
print("see outputs/revisit/report.md")
