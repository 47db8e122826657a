"""The weights that ship, the ninth: a grouped autoencoder, photographs to learn from, the eighth weights translated.

    clips -> autoencoder -> decoder
                 |--------> latents ----------> depth_head ---|
                 |--------> translated -----------------------+--> denoiser -> export

`home/photographs` is a folder of pictures, of any size, with panoramas (equirectangular) in its folder `panoramas`; or
a link to one. `home/eighth` is the model of commit 6967d30, its folder src/mirage/models/mini. What is not named here
is as in mini.py. How long each part has learnt, and where: docs/log/2026-11-28-ninth-weights.md.
"""

from dataclasses import replace
from pathlib import Path

from mirage.models.tiny import GroupedSizes
from mirage.training.autoencoder import AutoencoderConfig
from mirage.training.depth_head import DepthHeadConfig
from mirage.training.exercises import Mix
from mirage.training.objective import LastStep
from mirage.training.parts import MINI, Parts
from mirage.training.runs import Autoencoder, Clips, Decoder, Denoiser, DepthHead, Encode, Export, Translate
from mirage.training.schedule import Schedule
from recipes import mini

FULL = replace(MINI, grouped=GroupedSizes())
"""With the deep decoder that the encoder learns beside."""
DRAFTS = (4, 6, 6, 8, 10)
"""Numbers of steps of drafts that it learns from."""


def clips(home: Path) -> Clips:
    """Walks through scenes, half of them dressed in photographs, and turns inside panoramas; some of all fast."""
    return Clips(count=480, doors=360, hurried=110, frames=65, photographs=home / "photographs")


def autoencoder(home: Path) -> Autoencoder:
    """Three steps in four on photographs, still and in motion."""
    return Autoencoder(
        AutoencoderConfig(
            clips=home / "clips",
            mix=((1, 96, 16),) * 3 + ((5, 96, 6), (9, 96, 4), (17, 96, 2)),
            photographs=home / "photographs",
            pictured=0.75,
            equivariance=0.03,
            moved=0.3,
            bf16=True,
        ),
        Schedule(
            steps=4000,
            warmup=100,
            muon_lr=0.02,
            adamw_lr=2e-3,
            adamw=r"enter|leave",
            cooldown=0.8,
            average=0.995,
            evaluate_every=250,
            checkpoint_seconds=180,
            muon_bf16=True,
        ),
        sizes=FULL,
    )


def decoder(home: Path) -> Decoder:
    """Half as deep, and as steep as pictures are."""
    full = autoencoder(home)
    return Decoder(
        home / "autoencoder",
        replace(full.config, steepness=0.1),
        replace(full.schedule, steps=6000, muon_lr=0.01, adamw_lr=1e-3),
        sizes=MINI,
    )


def latents(home: Path) -> Encode:
    """The same walks as latents."""
    return Encode(home / "clips", vae=home / "autoencoder", count=480, doors=360, hurried=110, bf16=True, sizes=FULL)


def translated(home: Path) -> Translate:
    """All that lies behind the eighth autoencoder, said in the channels of the new one."""
    return Translate(home / "eighth", vae=home / "autoencoder", clips=home / "clips", sizes=FULL)


def depth_head(home: Path) -> DepthHead:
    """Depth from latents, of scenes alone: a panorama has no depth of its own."""
    return DepthHead(
        DepthHeadConfig(clips=home / "latents", skipped=("turning",)),
        mini.depth_head(home).schedule,
        start=home / "translated",
    )


def denoiser(home: Path) -> Denoiser:
    """On from the eighth weights in other channels; more of what only words tell, which they had learnt for hours."""
    few = mini.denoiser(home)
    exercises = replace(
        few.config.exercises,
        mix=Mix(chunk=0.35, glimpses=0.05, drafts=0.4, words=0.2),
        augment=replace(few.config.exercises.augment, fresh=0.5, predicted_depth=0.2, pixel_memory=0.0),
        batch=8,
    )
    objective = replace(
        few.config.objective,
        last_step=LastStep(0.25, (2, 2, 3, 4), unknown=0.15, pixels=6.0, steepness=1.5),
        draft_step=LastStep(0.25, DRAFTS, pixels=6.0, steepness=0.6),
    )
    return replace(
        few,
        start=replace(Parts.of(home / "translated"), vae=home / "autoencoder", depth_head=home / "depth_head"),
        sizes=FULL,
        config=replace(few.config, exercises=exercises, objective=objective),
    )


def export(home: Path) -> Export:
    """The model, in export/model."""
    return Export(
        Parts(
            vae=home / "decoder",
            text_encoder=home / "translated",
            transformer=home / "denoiser",
            memory_branch=home / "denoiser",
            depth_head=home / "depth_head",
        )
    )
