"""What the filter of moving things keeps out, what it costs, and what a return then still sees of them.

    python benchmarks/static.py [--cache FOLDER] [--seeds FIRST END] [--depth exact 0.01 0.02 head] [--sheet FILE]

Held-out scenes with boxes that move, 97 frames each, true latents of the bundled autoencoder (192x256 -> 24x32), walked
as a session walks: the image, then chunks of 8 latents, each written against what is remembered. Scenes in whose views
nothing moves are left out. Minutes for the first run; `--cache` keeps latents and depth for the next.
Depth: exact; exact with noise (that share per frame, half of it per cell); the bundled head's, locked to the memory's.

found   of cells of which half or more show a moving box, those kept out (the first image's included)
lost    of cells in which nothing moves in any of the latent's four frames, those kept out
ghost   of the cells read by the last chunk's cameras before it is written, those that show a moved-away box: the
        point that won came from a moving cell, and the depth there is another by more than 5 %
"""

import argparse
from pathlib import Path

import torch
from einops import rearrange, reduce
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.depth.align import align
from mirage.depth.static import static
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory
from mirage.models.loading import load_world_model
from mirage.scenes import Scene
from mirage.scenes.kinds import KINDS

GRID, SIZE, FRAMES, NEW = (24, 32), (192, 256), 97, 8
TUNED = range(200, 228)
"""Scenes on which the constants of `static` were chosen."""
HELD_OUT = range(300, 330)
GroundTruth = dict[str, Tensor]
"""lat [T,C,h,w]; z, valid, hz, hvalid [T,h,w]: true depth and the head's; share, four [T,h,w]: how much of a cell shows
a moving box in the latent's last frame, and at most in its four; c2w, K; rgb [T,3,H,W] u8."""


def scene(seed: int, cache: Path | None) -> GroundTruth | None:
    """The scene of a seed; None where nothing moves in view."""
    kept = cache / f"m{seed}.pt" if cache else None
    if kept and kept.exists():
        return torch.load(kept)
    scene = Scene.sample(seed, moving=True)
    path = scene.path(KINDS[seed % 6], FRAMES, seed=seed)
    if scene.render(path[::8], GRID, time=torch.arange(0.0, FRAMES, 8)).moving.float().mean() < 0.005:
        return None
    view, model = scene.render(path, SIZE), load_world_model("mini")
    with torch.no_grad():
        latents = model.encode(view.rgb).float()
        head = model.depth(latents, path[::TIME_STRIDE], first=True)
    share = reduce(view.moving.float(), "f (h a) (w b) -> f h w", "mean", h=GRID[0], w=GRID[1])
    four = torch.cat([share[:1], reduce(share[1:], "(t four) h w -> t h w", "max", four=4)])
    depth = view.depth[::TIME_STRIDE].resized(GRID)
    made = {
        "lat": latents,
        "z": depth.z,
        "valid": depth.valid,
        "hz": head.z,
        "hvalid": head.valid,
        "share": share[::TIME_STRIDE],
        "four": four,
        "c2w": path[::TIME_STRIDE].c2w,
        "K": path[::TIME_STRIDE].intrinsics,
        "rgb": (view.rgb[::TIME_STRIDE] * 255).byte(),
    }
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(made, kept)
    return made


def depth_of(scene: GroundTruth, kind: str, seed: int) -> DepthMap:
    if kind in ("exact", "head"):
        return DepthMap(scene["z"], scene["valid"]) if kind == "exact" else DepthMap(scene["hz"], scene["hvalid"])
    noise, generator = float(kind), torch.Generator().manual_seed(seed)
    z = scene["z"] * (1 + noise * torch.randn(len(scene["z"]), 1, 1, generator=generator))
    return DepthMap(z * (1 + noise / 2 * torch.randn(z.shape, generator=generator)), scene["valid"])


def walk(scene: GroundTruth, depth: DepthMap, *, lock: bool, filtered: bool) -> tuple[dict[str, int], Tensor]:
    """Counts of cells, and `keep` [T,h,w]."""
    camera, share = Camera(scene["c2w"], scene["K"]), scene["share"]
    label = share[:, None]
    memory = LatentSpatialMemory(1)
    empty = memory.snapshot()
    memory.write(label[:1], depth[:1], camera[:1])
    keep, z, valid, ghost = depth.valid.clone(), [depth.z[:1]], [depth.valid[:1]], torch.zeros(0)
    for start in range(1, len(share), NEW):
        part = slice(start, start + NEW)
        seen, new = memory.read(camera[part], GRID), depth[part]
        if lock:
            new = align(new, to=seen.depth, offset=seen.offset, max_residual=0.2).depth
        ghost = seen.mask & (seen.latents[:, 0] >= 0.5) & ((seen.depth.z / scene["z"][part] - 1).abs() > 0.05)
        z.append(new.z)
        valid.append(new.valid)
        so_far = DepthMap(torch.cat(z), torch.cat(valid))
        if filtered and start == 1:  # the image enters unseen, and is looked at again with what followed
            keep[: part.stop] = static(scene["lat"][: part.stop], so_far, camera[: part.stop])
            memory.restore(empty)
            memory.write(label[:1], so_far[:1], camera[:1], keep=keep[:1])
        elif filtered:
            keep[part] = static(
                scene["lat"][part], new, camera[part], past=(scene["lat"][:start], so_far[:start], camera[:start])
            )
        memory.write(label[part], new, camera[part], keep=keep[part])
    moves, still = (share >= 0.5) & torch.cat(valid), (scene["four"] == 0) & torch.cat(valid)
    return {
        "moving": int(moves.sum()),
        "found": int((moves & ~keep).sum()),
        "still": int(still.sum()),
        "lost": int((still & ~keep).sum()),
        "ghost": int(ghost.sum()),
        "cells": ghost.numel(),
    }, keep


def shown(scene: GroundTruth, keep: Tensor) -> Tensor:
    """What is kept out, in red over the picture: [T,3,H,W]."""
    out = ~keep.repeat_interleave(8, 1).repeat_interleave(8, 2)
    rgb = scene["rgb"].float() / 255
    return torch.where(out[:, None], 0.4 * rgb + 0.6 * rearrange(torch.tensor([1.0, 0, 0]), "c -> 1 c 1 1"), rgb)


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--cache", type=Path)
    asked.add_argument("--seeds", type=int, nargs=2, default=(HELD_OUT.start, HELD_OUT.stop))
    asked.add_argument("--depth", nargs="+", default=["exact", "0.01", "0.02", "head"])
    asked.add_argument("--sheet", type=Path)
    options = asked.parse_args()
    scenes = {seed: made for seed in range(*options.seeds) if (made := scene(seed, options.cache)) is not None}
    print(f"{len(scenes)} scenes: {', '.join(map(str, scenes))}")
    print(f"{'depth':<8}{'found':>8}{'lost':>8}{'ghost':>9}{'unfiltered':>12}")
    pictures = {}
    for kind in options.depth:
        totals: dict[bool, dict[str, int]] = {True: {}, False: {}}
        for seed, made in scenes.items():
            for filtered, total in totals.items():
                counts, keep = walk(made, depth_of(made, kind, seed), lock=kind == "head", filtered=filtered)
                for name, count in counts.items():
                    total[name] = total.get(name, 0) + count
                if filtered and kind == options.depth[0]:
                    pictures[str(seed)] = shown(made, keep)
        with_it, without = totals[True], totals[False]
        print(
            f"{kind:<8}{with_it['found'] / max(with_it['moving'], 1):>8.1%}{with_it['lost'] / with_it['still']:>8.1%}"
            f"{with_it['ghost'] / with_it['cells']:>9.2%}{without['ghost'] / without['cells']:>12.2%}",
            flush=True,
        )
    if options.sheet:
        save_image(options.sheet, contact_sheet(pictures, columns=9, title="kept out, in red"))
