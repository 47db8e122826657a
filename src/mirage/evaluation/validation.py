"""What a model in training makes of held-out clips: walks out and back, with numbers and a sheet of pictures.

truth      the clip's own frames, from its latents          walk      the same, made from its first frame alone
"""

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE, frame_count, latent_count
from mirage.formats.image import save_image
from mirage.formats.photograph import photograph_of
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.world import WorldModel
from mirage.rollout.session import Session
from mirage.training import parallel
from mirage.training.clips import LatentClip, load_latents, name_of

CLIPS = 2


def look(task: Any, step: int, folder: Path) -> dict[str, float]:
    """For `mirage.training.loop.fit`: a walk through each of the first held-out clips, out and back to its first frame;
    folder/validation/step-000200.png, and the mean distance of the walks' latents to the clips' and of the last frame
    to the first."""
    rows: dict[str, Tensor] = {}
    numbers: dict[str, list[float]] = {"walk_error": [], "return_error": []}
    with task.gathered():
        for path in islice((p for p in task.test if name_of(p).startswith("clip-")), CLIPS):
            clip, stem = load_latents(path), name_of(path).removesuffix(".safetensors")
            out, back = walked(task.model, clip, seed=step)
            length = len(out)
            numbers["walk_error"].append(_distance(out[1:], clip.latents[1:length]))
            numbers["return_error"].append(_distance(back[-1:], out[:1]))
            rows[f"{stem}: truth"] = task.model.decode(clip.latents[:length])
            rows[f"{stem}: walk and return"] = task.model.decode(torch.cat([out, back]))
    if rows and parallel.rank() == 0:
        (folder / "validation").mkdir(exist_ok=True)
        title = f"{folder.name}, step {step}"
        save_image(folder / "validation" / f"step-{step:06d}.png", contact_sheet(rows, title=title))
    return {name: round(sum(values) / len(values), 4) for name, values in numbers.items() if values}


def walked(model: WorldModel, clip: LatentClip, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Latents [T,C,h,w] of a walk along the clip's cameras, as far as whole chunks go (its first frame and depth are
    given), and [T-1,C,h,w] of the way back."""
    step = latent_count(model.chunk_frames) - 1
    length = 1 + (len(clip.latents) - 1) // step * step
    there = clip.camera[:length]
    path = Camera.concatenate([there, there[torch.arange(length - 2, -1, -1)]])
    first = photograph_of(model.decode(clip.images[:1])[0])  # as large as it is: a picture might be made smaller
    session = Session(model, first, camera=there[0], prompt=clip.caption, depth=_start(clip), seed=seed)
    latents = [chunk.latents.cpu() for chunk in session.follow(_between(path))]
    made = torch.cat(latents)
    return made[:length], made[length:]


def _start(clip: LatentClip) -> DepthMap | None:
    return clip.depth[0] if bool(clip.depth.valid[0].any()) else None


def _between(path: Camera) -> Camera:
    """Latent cameras [T] as a path of video frames [1 + 4 (T - 1)]; only every fourth is looked at."""
    index = torch.arange(frame_count(len(path))).add(TIME_STRIDE - 1).div(TIME_STRIDE, rounding_mode="floor")
    return path[index]


def _distance(made: Tensor, truth: Tensor) -> float:
    """Root mean square, in units of the truth's deviation."""
    return float((made - truth).square().mean().sqrt() / truth.std().clamp_min(1e-6))
