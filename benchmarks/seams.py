"""Guidance without a branch: what comes back on return, and does the border of what the memory knew show?

    python benchmarks/seams.py [SCENES] [FIRST]        # a table; 6 scenes, from 20000; two minutes of a core for each

Held-out scenes, two chunks, the bundled model: its backbone alone without memory, guided with and without carrying the
pull on into unknown cells (`flow.Guidance.carry`), and its branch. `F` frames, `T` latents, `h w` grid, `H W` pixels.

    return   dB against the first views, where the walk ends in the pose it began in
    known, free   dB against the truth, in what the memory knew of each chunk before it was made, and elsewhere
    border   mean absolute step from pixel to pixel across the border of the known region, over that of the true frames
    inside   the same across the other borders between cells, for comparison: a blurred picture has less everywhere
    jump     means of whole cells to both sides of that border: how far their difference is off, 0 to 1
"""

import statistics
import sys

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mirage.evaluation.metrics import psnr
from mirage.evaluation.truth import GroundTruth, returned, to_pixels
from mirage.evaluation.variants import session_maker
from mirage.models import flow
from mirage.models.loading import load_world_model
from mirage.models.world import WorldModel

KINDS = ("there_and_back", "orbit", "pan_and_return")
WAYS = {
    "no memory": ("none, no branch", 0),
    "guidance": ("latent, guidance", 0),
    "guidance, carried": ("latent, guidance", flow.Guidance.carry),
    "branch": ("latent", 0),
}
"""The session, as `mirage evaluate synthetic` names it, and how far the pull is carried."""
CHUNKS = 2


def scores(model: WorldModel, seed: int, way: str) -> dict[str, float]:
    """Of one walk."""
    memory, carry = WAYS[way]
    truth = GroundTruth.sample(
        seed, KINDS[seed % len(KINDS)], frames=1 + CHUNKS * (model.chunk_frames - 1), size=model.size
    )
    model.guidance = flow.Guidance(carry=carry)
    chunks = list(session_maker(model, [memory])(memory, truth).follow(truth.path))
    video = torch.cat([chunk.frames for chunk in chunks])
    known = torch.cat([chunk.readout.mask for chunk in chunks])
    back = returned(truth.path)
    found = {"return": psnr(video[back], truth.frames[back]).mean().item()}
    return found | seams(video[1:], truth.frames[1:], known)


def seams(video: Tensor, true: Tensor, known: Tensor) -> dict[str, float]:
    """Of frames [F,3,H,W], F = 4T, with the cells [T,h,w] that were known."""
    side = video.shape[-1] // known.shape[-1]
    pixels = to_pixels(known, (video.shape[-2], video.shape[-1]))
    border, inside, jump = [], [], []
    error = (video - true).square().mean(1)
    known = known.repeat_interleave(4, 0)
    for axis in (-1, -2):
        edge = torch.arange(1, pixels.shape[axis]) % side == 0
        edge = edge if axis == -1 else edge[:, None]
        crossed = _steps(pixels.float(), axis) != 0
        made, real = (_steps(frames, axis).abs().mean(1) for frames in (video, true))
        border.append((made[crossed], real[crossed]))
        inside.append((made[edge & ~crossed], real[edge & ~crossed]))
        off = _steps(avg_pool2d(video, side), axis) - _steps(avg_pool2d(true, side), axis)
        jump.append(off.abs().mean(1)[_steps(known.float(), axis) != 0])
    return {
        "known": -10 * error[pixels].mean().log10().item(),
        "free": -10 * error[~pixels].mean().log10().item(),
        "border": _ratio(border),
        "inside": _ratio(inside),
        "jump": torch.cat(jump).mean().item(),
    }


def _steps(frames: Tensor, axis: int) -> Tensor:
    """From each to the next along an axis."""
    return frames.diff(dim=axis)


def _ratio(pairs: list[tuple[Tensor, Tensor]]) -> float:
    made, real = (torch.cat(values).mean() for values in zip(*pairs, strict=True))
    return (made / real).item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    count, first = (int(said) for said in (sys.argv[1:] + ["6", "20000"][len(sys.argv) - 1 :])[:2])
    model = load_world_model("mini")
    table: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(first, first + count):
        for way, rows in table.items():
            rows.append(scores(model, number, way))
            print(
                f"world {number}, {way}: " + ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()),
                file=sys.stderr,
                flush=True,
            )
    names = list(table["branch"][0])
    print(f"{'mean of ' + str(count):<20}" + "".join(f"{name:>9}" for name in names))
    for way, rows in table.items():
        print(f"{way:<20}" + "".join(f"{statistics.mean(row[name] for row in rows):>9.3f}" for name in names))
