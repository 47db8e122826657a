"""A model of the bundled one's sizes from nothing: ten runs, each from what those before it left in `home`.

    clips -> images -> autoencoder -> latents -> depth_head -> denoiser -> detail -> export
    stills ----------^              reading ----------------^

for r in clips stills images autoencoder latents reading depth_head denoiser detail export; do
    mirage train --recipe mini:$r --out runs --processes 2 || break
done

The eighth weights were taken there in five goes (docs/log/2026-11-27-eight-weights.md), with an autoencoder of another
kind; what each part was taught in the last of them is what stands here, with as many steps as all of them had. The
weights that ship begin with them: ninth.py. A variant is a function and two lines:

    def longer(home):                                # in a file of yours: mirage train --recipe mine:longer
        few = mini.denoiser(home)
        return replace(few, start=Parts.of("mini"), schedule=replace(few.schedule, steps=2000, seed=1))
"""

from dataclasses import replace
from pathlib import Path

from mirage.training.autoencoder import AutoencoderConfig
from mirage.training.denoiser import DenoiserConfig
from mirage.training.depth_head import DepthHeadConfig
from mirage.training.exercises import Exercises, Mix
from mirage.training.objective import LastStep, Objective
from mirage.training.parts import Parts
from mirage.training.past import Augment
from mirage.training.reading import ReadingConfig
from mirage.training.runs import (
    Autoencoder,
    Clips,
    Denoiser,
    DepthHead,
    Encode,
    Export,
    Reading,
    Stills,
)
from mirage.training.schedule import Schedule

SAMPLERS = (3, 4, 4, 5, 6, 8)
"""Numbers of steps of the samplers that it learns from, most often its own."""


def clips(home: Path) -> Clips:
    """Walks of two chunks through procedural scenes as pixels: 71,500 frames of 1,100 scenes, 10 GB. In 300 of them the
    next room comes into view, of whose walls only the words tell."""
    return Clips(count=800, doors=300, frames=65)


def stills(home: Path) -> Stills:
    """640 pictures of dead leaves: something like the variety of photographs."""
    return Stills(count=40, each=16)


def images(home: Path) -> Autoencoder:
    """The autoencoder on single images: five times as many pixels a second as clips; colours and edges first."""
    return Autoencoder(
        AutoencoderConfig(clips=home / "clips", mix=((1, 64, 8),)),
        Schedule(steps=440, muon_lr=0.02, adamw_lr=2e-3, cooldown=0.5),
    )


def autoencoder(home: Path) -> Autoencoder:
    """Then on clips of 9 to 33 frames, for a causal autoencoder that has met short ones alone fails on long ones; and
    two steps in three on images, half of them no scene's, for photographs are what it is furthest from.

    A step sees only a few clips, so its direction is mostly noise; with three times this rate it fell from 31 to 25 dB.
    """
    return Autoencoder(
        AutoencoderConfig(
            clips=home / "clips",
            stills=home / "stills",
            mix=((1, 96, 12),) * 6 + ((9, 96, 3), (17, 96, 2), (33, 96, 1)),
            bf16=True,
        ),
        Schedule(steps=2500, warmup=40, muon_lr=0.003, adamw_lr=6e-4, cooldown=0.8, average=0.995, evaluate_every=300),
        start=home / "images",
    )


def latents(home: Path) -> Encode:
    """The same walks as latents, for everything after the autoencoder."""
    return Encode(home / "clips", vae=home / "autoencoder", count=800, doors=300, bf16=True)


def reading(home: Path) -> Reading:
    """The text encoder, before anything is drawn from what it reads: through a denoiser it would hear next to nothing
    of what it does wrong."""
    return Reading(
        ReadingConfig(),
        Schedule(
            steps=500,
            warmup=20,
            muon_lr=0.01,
            adamw_lr=2e-3,
            adamw=r"shared|head",
            cooldown=0.6,
            average=0.99,
            evaluate_every=300,
        ),
    )


def depth_head(home: Path) -> DepthHead:
    """Depth from latents."""
    return DepthHead(
        DepthHeadConfig(clips=home / "latents"),
        Schedule(steps=2000, warmup=20, muon_lr=0.006, adamw_lr=6e-4, cooldown=0.8, average=0.99, evaluate_every=250),
    )


def denoiser(home: Path) -> Denoiser:
    """Transformer and memory branch: flow matching on chunks whose memory is as a walk would have it."""
    return Denoiser(
        Parts(vae=home / "autoencoder", text_encoder=home / "reading", depth_head=home / "depth_head"),
        DenoiserConfig(
            Exercises(
                home / "latents",
                Mix(chunk=0.4268, glimpses=0.2134, drafts=0.2134, words=0.1164, relived=0.03),
                Augment(predicted_depth=0.4, pixel_memory=0.03, no_prompt=0.1, short_prompt=0.5),
                bf16=True,
            ),
            Objective(glimpse_shift=10.0, last_step=LastStep(0.2, SAMPLERS, unknown=0.15), pixel_weighted=True),
            train=("transformer", "memory_branch"),
            bf16=True,
        ),
        Schedule(
            steps=6000,
            warmup=40,
            muon_lr=0.005,
            adamw_lr=6e-4,
            adamw=r"patch_embedding|proj_out\.|detail",
            cooldown=0.9,
            average=0.995,
            evaluate_every=500,
            muon_bf16=True,
        ),
    )


def detail(home: Path) -> Denoiser:
    """The branch's detail path alone, at half the price of a step: how far what is remembered is to be trusted by a
    sampler that has its own guess before it. So two steps in three are the last one of a sampler."""
    few = denoiser(home)
    return replace(
        few,
        start=replace(few.start, transformer=home / "denoiser", memory_branch=home / "denoiser"),
        config=replace(
            few.config,
            exercises=replace(
                few.config.exercises,
                mix=Mix(chunk=0.598, glimpses=0.161, drafts=0.161, relived=0.08),
                augment=replace(few.config.exercises.augment, latent_noise=0.08),
            ),
            objective=replace(
                few.config.objective, glimpse_shift=None, last_step=LastStep(0.65, SAMPLERS, unknown=0.4)
            ),
            train=("detail",),
        ),
        schedule=replace(
            few.schedule,
            steps=500,
            warmup=30,
            muon_lr=0.006,
            adamw_lr=8e-4,
            adamw=r"enter|leave",
            cooldown=1.0,
            average=0.98,
            seed=1,
        ),
    )


def export(home: Path) -> Export:
    """The model, in export/model."""
    return Export(
        Parts(
            vae=home / "autoencoder",
            text_encoder=home / "reading",
            transformer=home / "denoiser",
            memory_branch=home / "detail",
            depth_head=home / "depth_head",
        )
    )
