"""Real geometry: lift a real frame by its true depth, look from where another frame was taken, and compare with it.

`H W`: the model's pixels, `h w`: its latent grid. No denoiser takes part: what is measured is how much of a picture
survives the way through a memory. Beside each memory stand, in the same pixels:

    autoencoder   frame B through the autoencoder: nothing that is decoded can score more
    still         frame A as it is, as if the camera had not moved
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from mirage.errors import InputError
from mirage.evaluation.metrics import psnr, ssim
from mirage.evaluation.options import RealOptions
from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.formats.cameras import load_cameras
from mirage.formats.depth import cut_depth, load_depth
from mirage.formats.image import fit_image, load_image, save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.baselines.rgb import RGBPointMemory, filled
from mirage.models.world import WorldModel
from mirage.rollout.memories import make_memory

CEILING, STILL = "autoencoder", "still"


@dataclass(frozen=True, eq=False)
class View:
    """A real frame at the model's size: image [3,H,W] in [0, 1], its own depth [H,W], its camera []."""

    image: Tensor
    depth: DepthMap
    camera: Camera


def run_real(
    model: WorldModel, options: RealOptions, *, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """Every pair; writes results.json, report.md and a contact sheet per pair. `name` is the model's, for the record.

    Returns {"by_gap": {GAP: {NAME: {psnr, ssim, coverage, n, spread}}}, "tasks", "failures"}, NAME a memory, "still" or
    "autoencoder"; the two are scored in the pixels that the first memory covers.
    """
    numbers = posed_frames(options)
    cameras = load_cameras(options.frames)

    def work(a: int, b: int) -> Callable[[Path], dict[str, Any]]:
        def pair(folder: Path) -> dict[str, Any]:
            near = cameras.relative_to(cameras[numbers.index(a)])
            first, second = (load_view(options.frames, n, near[numbers.index(n)], model.size) for n in (a, b))
            return {"gap": b - a, **carried(model, first, second, options.memories, folder=folder)}

        return pair

    tasks = [
        Task(f"gap-{gap:03d}-frame-{a:06d}", work(a, a + gap))
        for gap in options.gaps
        for a in _starts(numbers, gap, options.pairs)
    ]
    outcome = run_tasks(tasks, options.out, options={**options.record(), "model": name}, progress=progress)
    summary = {
        "by_gap": {
            gap: _summary([r for r in outcome.results.values() if r["gap"] == gap], options.memories)
            for gap in options.gaps
        }
    }
    rows = [
        {
            "frames apart": gap,
            "what": name,
            "PSNR": Summary(row["psnr"], row["spread"], row["n"]),
            "SSIM": row["ssim"],
            "coverage": row["coverage"],
            "n": row["n"],
        }
        for gap, entry in summary["by_gap"].items()
        for name, row in entry.items()
    ]
    return write_results(
        options.out,
        outcome,
        summary,
        title="Real geometry",
        tables={"Frame B from frame A, where it is covered": markdown_table(rows)},
    )


def carried(
    model: WorldModel, a: View, b: View, memories: Sequence[str], *, folder: Path | None = None
) -> dict[str, Any]:
    """View `a` through each memory to the camera of `b`: {"scores": {NAME: {psnr, ssim, coverage}}}.

    An rgb memory lifts its pixels by depth at their own resolution, a latent memory by the same depth on its grid.
    Latent cells that nothing covers are filled from around them before decoding, as pixels are; they are not scored,
    but a decoder sees across their edges.
    """
    latents = model.encode(a.image[None])
    grid = (latents.shape[-2], latents.shape[-1])
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name in memories:
        memory = make_memory(name, model)
        depth = a.depth if isinstance(memory, RGBPointMemory) else a.depth.resized(grid)
        memory.write(latents, depth[None], a.camera[None])
        readout = memory.read(b.camera[None], grid)
        picture = model.decode(filled(readout.latents, readout.mask))[0].float().cpu()
        covered = repeat(readout.mask[0].cpu(), "h w -> (h a) (w b)", a=model.stride, b=model.stride)
        seen[name] = picture, covered
    region = seen[memories[0]][1]
    seen[CEILING] = model.decode(model.encode(b.image[None]))[0].float().cpu(), region
    seen[STILL] = a.image, region
    if folder is not None:
        shown = [
            a.image,
            b.image,
            *(
                picture * covered if name in memories else picture
                for name, (picture, covered) in seen.items()
                if name != STILL
            ),
        ]
        words = ["frame A", "frame B", *(name for name in seen if name != STILL)]
        save_image(
            folder / "sheet.png", contact_sheet({"": torch.stack(shown)}, columns=len(shown), captions={"": words})
        )
    return {
        "scores": {
            name: {
                "psnr": float(psnr(picture[None], b.image[None], mask=covered[None])),
                "ssim": float(ssim(picture[None], b.image[None], mask=covered[None])),
                "coverage": float(covered.float().mean()),
            }
            for name, (picture, covered) in seen.items()
        }
    }


def load_view(folder: Path, number: int, camera: Camera, size: tuple[int, int]) -> View:
    """Frame `number` of the sequence, cut and resized to `size` (H, W)."""
    files = sorted(folder.glob(f"frame-{number:06d}.color.*"))
    if not files:
        raise InputError(f"{folder} has no frame-{number:06d}.color.*; expected one image per pose")
    whole = load_image(files[0])
    depth = load_depth(folder / f"frame-{number:06d}.depth.png", size=(whole.shape[-2], whole.shape[-1]))
    image, camera = fit_image(whole, camera.to(torch.float32), size)
    return View(image, cut_depth(depth, size).resized(size), camera)


def posed_frames(options: RealOptions) -> list[int]:
    """The numbers of the frames that have a pose; `InputError` where none of them are as far apart as asked for."""
    numbers = poses_of(options.frames)
    for gap in options.gaps:
        if not _starts(numbers, gap, 1):
            raise InputError(
                f"no two frames of {options.frames} are {gap} apart; it has {len(numbers)} frames, "
                f"{numbers[0]} to {numbers[-1]}"
            )
    return numbers


def poses_of(folder: Path) -> list[int]:
    """The numbers of its frames that have a pose, rising."""
    numbers = [int(path.name.split("-")[1].split(".")[0]) for path in sorted(folder.glob("frame-*.pose.txt"))]
    if not numbers:
        raise InputError(f"{folder} has no frame-*.pose.txt; expected a folder in the layout of 7-Scenes")
    return numbers


def _starts(numbers: Sequence[int], gap: int, count: int) -> list[int]:
    """At most `count` numbers, spread evenly, of frames that have one `gap` later."""
    there = set(numbers)
    able = [number for number in numbers if number + gap in there]
    chosen = torch.linspace(0, len(able) - 1, min(count, len(able))).round().long().tolist()
    return [able[i] for i in chosen]


def _summary(results: Sequence[Mapping[str, Any]], memories: Sequence[str]) -> dict[str, Any]:
    table = {}
    for name in (*memories, CEILING, STILL):
        scores = [result["scores"][name] for result in results]
        quality = Summary.of(score["psnr"] for score in scores)
        table[name] = {
            "psnr": quality.mean,
            "spread": quality.spread,
            "n": quality.n,
            "ssim": Summary.of(score["ssim"] for score in scores).mean,
            "coverage": Summary.of(score["coverage"] for score in scores).mean,
        }
    return table
