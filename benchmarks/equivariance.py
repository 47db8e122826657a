"""What it is worth to train the autoencoder so that its latents warp: the same recipes with that and without.

    python benchmarks/equivariance.py HOME --train     # "without", in HOME/without
    python benchmarks/equivariance.py HOME             # a table, and a picture in --out; a minute for each of --scenes

HOME is the folder of the bundled model's training, in which `mini:images` and `mini:autoencoder` have been run; both
are measured as their last run left them. In held-out scenes the true frames of a walk are encoded, the latents before
a chunk are written with true depth, and what its cameras read is compared with the true latents there. No denoiser is
in it. `T` latent frames, `C` channels, `h w` latent grid, `N` known cells.

error        mean square of readout minus true latents over known cells, in units of the channels' own variance
return PSNR  of the last frames, decoded from true latents (ceiling) and with the readout in all known cells
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.evaluation.metrics import psnr
from mirage.evaluation.report import markdown_table
from mirage.evaluation.truth import GroundTruth
from mirage.memory import LatentSpatialMemory
from mirage.models.autoencode import Autoencoder, decode, encode
from mirage.models.tiny import MiniConfig
from mirage.training.autoencoder import held_out_quality
from mirage.training.clips import clip_paths
from mirage.training.parts import Parts, assembled

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from recipes import mini

CHUNK = 8  # latent frames that a chunk adds
KINDS = ("there_and_back", "orbit", "pan_and_return")
OFFSETS = (0.0, 0.2, 0.4, 0.71)  # cells, from a cell's centre to where the point truly falls


@dataclass(frozen=True)
class Warped:
    """Of one walk: squared errors [N,C] of known cells, their sub-cell offsets [N], the true latents' variance [C], and
    dB of the last latent's frames."""

    error: Tensor
    offset: Tensor
    variance: Tensor
    ceiling: float
    returned: float


def train(home: Path) -> None:
    """The recipes of images and of clips without equivariance; each step the batches of two processes."""
    start = None
    for recipe in (mini.images, mini.autoencoder):
        run, folder = recipe(home), home / "without" / recipe.__name__
        run = replace(
            run,
            config=replace(run.config, equivariance=0.0),
            schedule=replace(run.schedule, accumulate=2),
            start=start,
        )
        run.work(folder)
        start = folder


def autoencoder(run: Path) -> Autoencoder:
    """As a run left it; latents are in its own units."""
    return assembled(Parts(vae=run)).vae.eval()


@torch.no_grad()
def warped(vae: Autoencoder, scene: GroundTruth) -> Warped:
    """Read from a memory of true latents and true depth, chunk by chunk."""
    latents = encode(vae, scene.frames.transpose(0, 1)[None] * 2 - 1)[0].transpose(0, 1)
    grid = (latents.shape[-2], latents.shape[-1])
    depth, path = scene.depth.resized(grid), scene.path[::TIME_STRIDE]
    memory, read = LatentSpatialMemory(latents.shape[1]), latents.clone()
    memory.write(latents[:1], depth[:1], path[:1])
    errors, offsets = [], []
    for start in range(1, len(latents), CHUNK):
        chunk = slice(start, start + CHUNK)
        readout = memory.read(path[chunk], grid)
        errors.append((readout.latents - latents[chunk]).square().movedim(1, -1)[readout.mask])
        offsets.append(readout.offset.norm(dim=1)[readout.mask])
        read[chunk] = torch.where(readout.mask[:, None], readout.latents, latents[chunk])
        memory.write(latents[chunk], depth[chunk], path[chunk])

    def returned(z: Tensor) -> float:
        video = decode(vae, z.transpose(0, 1)[None])[0].transpose(0, 1)[-TIME_STRIDE:] / 2 + 0.5
        return float(psnr(video.clamp(0, 1), scene.frames[-TIME_STRIDE:]).mean())

    return Warped(torch.cat(errors), torch.cat(offsets), latents.var(dim=(0, 2, 3)), returned(latents), returned(read))


def relative(walks: Sequence[Warped], low: float = 0.0, high: float = 9.0) -> Tensor:
    """Error by channel [C], each in units of its variance, over points that fall so far from a cell's centre."""
    errors = torch.cat([walk.error[(walk.offset >= low) & (walk.offset < high)] for walk in walks])
    return errors.mean(0) / torch.stack([walk.variance for walk in walks]).mean(0)


def row(name: str, walks: Sequence[Warped], quality: dict[str, float]) -> dict[str, str]:
    """Of the table."""
    lost = torch.tensor([walk.ceiling - walk.returned for walk in walks])
    offsets = itertools.pairwise(OFFSETS)
    return {
        "equivariance": name,
        "clips, dB": f"{quality['clip_psnr']:.2f}",
        "half a cell's shift": f"{quality['half_cell_error']:.3f}",
        "readout": f"{relative(walks).mean():.3f}",
        **{f"{low:g} to {high:g} cells off": f"{relative(walks, low, high).mean():.3f}" for low, high in offsets},
        "ceiling, dB": f"{torch.tensor([walk.ceiling for walk in walks]).mean():.2f}",
        "return, dB": f"{torch.tensor([walk.returned for walk in walks]).mean():.2f}",
        "lost, dB": f"{lost.mean():.2f} ± {lost.std():.2f}",
    }


def main(home: Path, scenes: int, out: Path) -> None:
    clips = clip_paths(mini.images(home).config.clips)[-8:]
    truths = [GroundTruth.sample(seed, KINDS[seed % 3], frames=65, size=MiniConfig().size) for seed in range(scenes)]
    rows, channels = [], {}
    for name, run in (("with", home / "autoencoder"), ("without", home / "without" / "autoencoder")):
        vae = autoencoder(run)
        walks = [warped(vae, truth) for truth in truths]
        rows.append(row(name, walks, held_out_quality(vae, clips, clips=True)))
        channels[name] = relative(walks).sort(descending=True).values.tolist()
    out.mkdir(parents=True, exist_ok=True)
    (out / "equivariance.json").write_text(json.dumps({"rows": rows, "channels": channels}, indent=1))
    figure, axis = plt.subplots(figsize=(6, 3))
    for name, values in channels.items():
        axis.plot(range(1, len(values) + 1), values, "o-", label=f"{name} equivariance")
    axis.set(xlabel="channel, worst first", ylabel="error / variance", ylim=(0, None))
    axis.legend(frameon=False)
    figure.savefig(out / "equivariance.png", dpi=120, bbox_inches="tight")
    print(markdown_table(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("outputs/equivariance"))
    asked = parser.parse_args()
    if asked.train:
        train(asked.home)
    else:
        main(asked.home, asked.scenes, asked.out)
