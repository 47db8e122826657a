"""Make docs/gallery: short walks of the bundled model as sheets and videos, failures included. A few minutes on a CPU.

    python benchmarks/gallery.py [NAME ...]        # all walks, or some

Scenes are held out; photographs are those that come with scikit-image. docs/gallery.md says what is to be seen.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mirage import Camera, Scene, Session, WorldModel, load_world_model
from mirage.formats.image import fit_image, save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.video import VideoWriter
from mirage.geometry.trajectory import PRESETS

OUT = Path(__file__).resolve().parents[1] / "docs" / "gallery"
COLUMNS = 7


@dataclass(frozen=True)
class Start:
    """What a walk begins from: image [3,H,W], path [F], the true frames [F,3,H,W] where there are any."""

    image: Tensor
    path: Camera
    caption: str
    truth: Tensor | None = None


def scene(seed: int, kind: str, frames: int) -> Callable[[WorldModel], Start]:
    """A procedural scene and one of its own paths."""

    def begin(model: WorldModel) -> Start:
        made = Scene.sample(seed)
        path = made.path(kind, frames, seed=seed)
        truth = made.render(path, model.size).rgb
        return Start(truth[0], path, made.caption, truth)

    return begin


def photograph(name: str, preset: str, frames: int, *, fov: float = 55) -> Callable[[WorldModel], Start]:
    """One of scikit-image's pictures, and a preset."""

    def begin(model: WorldModel) -> Start:
        from skimage import data

        picture = torch.from_numpy(getattr(data, name)()).movedim(-1, 0).float() / 255
        lens = Camera.looking(horizontal_fov=fov, aspect=picture.shape[-1] / picture.shape[-2])
        image, camera = fit_image(picture, lens, model.size)
        return Start(image, PRESETS[preset](camera, frames), "")

    return begin


WALKS = {
    "room": scene(5, "there_and_back", 49),
    "orbit": scene(1, "orbit", 49),
    "pan": scene(4, "pan_and_return", 49),
    "coffee": photograph("coffee", "there_and_back", 49),
    "cat": photograph("chelsea", "orbit", 49),
    "rocket": photograph("rocket", "pan_and_return", 49),
}


def main(asked: list[str]) -> int:
    if unknown := set(asked) - set(WALKS):
        print(f"no walk {', '.join(sorted(unknown))}; there are {', '.join(WALKS)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    model = load_world_model("mini")
    for name in asked or WALKS:
        start = WALKS[name](model)
        session = Session(model, start.image, camera=start.path[0], prompt=start.caption)
        frames = torch.cat([chunk.frames for chunk in session.follow(start.path)])
        rows = {"generated": frames} if start.truth is None else {"truth": start.truth, "generated": frames}
        sheet = contact_sheet(rows, columns=COLUMNS, title=start.caption, width=128)
        save_image(OUT / f"{name}.webp", sheet)
        with VideoWriter(OUT / f"{name}.mp4", crf=26) as video:
            video.write(frames)
        print(f"{name}: {sum((OUT / f'{name}{end}').stat().st_size for end in ('.webp', '.mp4')) / 2**10:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
