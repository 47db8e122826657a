"""Recipes: functions that return a whole configuration. A variant is one of them and two lines.

The bundled model is runs in one folder (`home`), each from what those before it left there:

    mini_clips -> mini_images -> mini_autoencoder -> mini_latents -> mini_denoiser
                                                     mini_views   -> mini_depth_head
                                                     mini_decoder (pixels from the same latents)
    -> mini_memories (the denoiser again, with the depth head's depth and every kind of memory)
    -> mini_detail (how far that is to be trusted; with mini_doors, clips that show the next room)

and once more, on five times the worlds, from where that led or from the weights that ship (mini_bundled):

    mini_long_clips, mini_long_doors, mini_stills -> mini_renewed_autoencoder (its latents stay what they were)
    -> mini_renewed_latents, mini_renewed_doors   -> mini_renewed_depth_head
       mini_reading (the text encoder)            -> mini_renewed_denoiser -> mini_renewed_detail, mini_renewed_words

and once more, longer, from the weights that the second part made:

    mini_again_autoencoder -> mini_again_latents, mini_again_doors -> mini_again_denoiser -> mini_again_detail,
                                                                      mini_again_words, mini_again_depth_head
    mini_whole_... the same, on what both parts before had for themselves
    mini_joint_denoiser -> mini_joint_detail
    then mini_export; mini_words (what reads the words alone) is in none of them

For a lent GPU those of the first kind but mini_doors are also called `mini_gpu_...`: more of everything, and so many
minutes instead of so many steps (benchmarks/lease.py runs them all). Its run lies where its namesake's would.

A released model (Wan2.2-TI2V-5B unless another is named) learns from clips that `mirage prepare` left in home/shards:

    depth_head                                          latents to depth, distilled from the depth in the clips
    wan_stage1 (the memory branch) -> wan_stage2 (and a LoRA)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mirage.models.tiny import MiniConfig
from mirage.training.autoencoder import AutoencoderConfig
from mirage.training.decoder import DecoderConfig
from mirage.training.denoiser import DenoiserConfig
from mirage.training.depth_head import DepthHeadConfig
from mirage.training.loop import Schedule
from mirage.training.reading import ReadingConfig

WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
MINI = MiniConfig()
"""Sizes of the bundled model."""
SAMPLERS = (3, 4, 4, 5, 6, 8)
"""Lengths of the samplers that it learns from, most often that of its own."""


@dataclass(frozen=True)
class ClipsRecipe:
    """Render `count` clips of `frames` frames into `folder`, from clip `first` on, or as many as `minutes` allow; with
    `latents`, keep their latents instead of pixels. `kind`: of their paths; None: every kind. `source`: a folder of
    clips as pixels, to be taken instead of rendered. `bf16`: the encoder in bfloat16."""

    folder: Path
    count: int
    frames: int
    latents: bool = False
    first: int = 0
    minutes: float | None = None
    kind: str | None = None
    source: Path | None = None
    bf16: bool = False


@dataclass(frozen=True)
class StillsRecipe:
    """Draw `count` files of `each` pictures into `folder`."""

    folder: Path
    count: int
    each: int


@dataclass(frozen=True)
class BundledRecipe:
    """The weights that ship, as runs that others go on from."""


@dataclass(frozen=True)
class AutoencoderRecipe:
    """Train the autoencoder; `start`: the run to begin from, None: from images' warm start. `renewed`: begin from
    what all runs have come to, and hold what the channels say."""

    config: AutoencoderConfig
    schedule: Schedule
    start: Path | None = None
    renewed: bool = False


@dataclass(frozen=True)
class DecoderRecipe:
    """Train the autoencoder's decoder, from where the autoencoder's own run left it."""

    config: DecoderConfig
    schedule: Schedule


@dataclass(frozen=True)
class DenoiserRecipe:
    """Train transformer, memory branch and text encoder; `start`: the run to begin from, None: what all runs have come
    to. `renewed`: dead channels are forgotten first, and words are heard (training/channels.py)."""

    config: DenoiserConfig
    schedule: Schedule
    start: Path | None = None
    renewed: bool = False


@dataclass(frozen=True)
class ReadingRecipe:
    """Train the text encoder to read."""

    config: ReadingConfig
    schedule: Schedule


@dataclass(frozen=True)
class DepthHeadRecipe:
    """Train the latent depth head; `renewed`: dead channels are forgotten first."""

    config: DepthHeadConfig
    schedule: Schedule
    renewed: bool = False


@dataclass(frozen=True)
class ExportRecipe:
    """Put the parts together as a diffusers folder in float16 at `folder`."""

    folder: Path


@dataclass(frozen=True)
class FinetuneRecipe:
    """Train parts of a released model: `model` by name, folder or hub id; `start`: a run whose parts to begin from."""

    model: str
    config: DenoiserConfig
    schedule: Schedule
    start: Path | None = None


@dataclass(frozen=True)
class DistilRecipe:
    """Train a fresh depth head, `hidden` wide, for whatever latents the clips have."""

    config: DepthHeadConfig
    schedule: Schedule
    hidden: int = 128


Recipe = (
    ClipsRecipe
    | StillsRecipe
    | BundledRecipe
    | AutoencoderRecipe
    | DecoderRecipe
    | DenoiserRecipe
    | ReadingRecipe
    | DepthHeadRecipe
    | ExportRecipe
    | FinetuneRecipe
    | DistilRecipe
)


def mini_bundled(home: Path) -> BundledRecipe:
    """For a home that begins where the bundled model is."""
    return BundledRecipe()


def mini_clips(home: Path) -> ClipsRecipe:
    """140 short clips as pixels: 4,620 frames of 140 worlds."""
    return ClipsRecipe(home / "clips", count=140, frames=33)


def mini_images(home: Path) -> AutoencoderRecipe:
    """The autoencoder on single images: five times as many pixels a second as clips: colours and edges first."""
    return AutoencoderRecipe(
        AutoencoderConfig(clips=home / "clips", mix=((1, 64, 8),)),
        Schedule(steps=440, muon_lr=0.02, adamw_lr=2e-3, cooldown=0.5, evaluate_every=200),
    )


def mini_autoencoder(home: Path) -> AutoencoderRecipe:
    """Then on clips of 9 to 33 frames: a causal autoencoder trained on short ones alone fails on long ones.

    A step sees only a few clips, so its direction is mostly noise; with three times this rate it fell from 31 to 25 dB.
    """
    return AutoencoderRecipe(
        AutoencoderConfig(clips=home / "clips", mix=((9, 64, 3), (17, 64, 2), (33, 64, 1))),
        Schedule(steps=190, warmup=20, muon_lr=0.003, adamw_lr=5e-4, cooldown=1.0, evaluate_every=60),
        start=home / "mini_images",
    )


def mini_decoder(home: Path) -> DecoderRecipe:
    """The decoder alone: most of what clips lose is lost there, and no latent changes."""
    return DecoderRecipe(
        DecoderConfig(clips=home / "clips"),
        Schedule(steps=650, warmup=20, muon_lr=0.0015, adamw_lr=3e-4, cooldown=1.0, average=0.995, evaluate_every=150),
    )


def mini_long_clips(home: Path) -> ClipsRecipe:
    """800 clips of two chunks as pixels: 52,000 frames of 800 worlds, 10 GB."""
    return ClipsRecipe(home / "long", count=800, frames=65)


def mini_long_doors(home: Path) -> ClipsRecipe:
    """And 300 that come into view of the next room."""
    return ClipsRecipe(home / "long", count=300, frames=65, first=5000, kind="door")


def mini_stills(home: Path) -> StillsRecipe:
    """640 pictures that are no world's: something like the variety of photographs."""
    return StillsRecipe(home / "stills", count=40, each=16)


def mini_renewed_autoencoder(home: Path) -> AutoencoderRecipe:
    """Encoder and decoder once more: on five times the worlds, and on pictures that are no world's. What the channels
    say is held, for all that knows it."""
    return AutoencoderRecipe(
        AutoencoderConfig(
            clips=home / "long",
            mix=((1, 96, 12), (9, 96, 3), (17, 96, 2), (33, 96, 1)),
            pinned=0.03,
            stills=home / "stills",
            bf16=True,
        ),
        Schedule(steps=1300, warmup=40, muon_lr=0.003, adamw_lr=6e-4, cooldown=0.7, average=0.995, evaluate_every=300),
        renewed=True,
    )


def mini_again_autoencoder(home: Path) -> AutoencoderRecipe:
    """And again, with twice the share of images, a half of them no world's."""
    few = mini_renewed_autoencoder(home)
    mix = ((1, 96, 12), (1, 96, 12), (9, 96, 3), (17, 96, 2), (33, 96, 1))
    return replace(
        few,
        config=replace(few.config, mix=mix),
        schedule=replace(few.schedule, steps=560, cooldown=0.8, evaluate_every=280, seed=7),
    )


def mini_whole_autoencoder(home: Path) -> AutoencoderRecipe:
    """And again, two steps in three on images: photographs are what it is furthest from."""
    few = mini_again_autoencoder(home)
    mix = ((1, 96, 12),) * 6 + ((9, 96, 3), (17, 96, 2), (33, 96, 1))
    return replace(
        few, config=replace(few.config, mix=mix), schedule=replace(few.schedule, steps=600, evaluate_every=300, seed=12)
    )


def mini_latents(home: Path) -> ClipsRecipe:
    """Two-chunk clips as latents, for everything after the autoencoder."""
    return ClipsRecipe(home / "latents", count=260, frames=65, latents=True)


def mini_doors(home: Path) -> ClipsRecipe:
    """And clips that come into view of the next room, whose walls only the words tell of."""
    return ClipsRecipe(home / "latents", count=220, frames=65, latents=True, first=5000, kind="door")


def mini_reading(home: Path) -> ReadingRecipe:
    """The text encoder, before anything is drawn from what it reads."""
    return ReadingRecipe(
        ReadingConfig(),
        Schedule(steps=500, warmup=20, muon_lr=0.01, adamw_lr=2e-3, adamw=r"shared|head", cooldown=0.6, average=0.99,
                 evaluate_every=300),
    )  # fmt: skip


def mini_denoiser(home: Path) -> DenoiserRecipe:
    """Chunks with a memory, as they come at inference."""
    return DenoiserRecipe(
        DenoiserConfig(latents=home / "latents"),
        Schedule(
            steps=730,
            warmup=40,
            muon_lr=0.007,
            adamw_lr=1e-3,
            adamw=r"patch_embedding|proj_out\.|shared|detail",
            cooldown=0.8,
            average=0.995,
            evaluate_every=200,
        ),
    )


def mini_views(home: Path) -> ClipsRecipe:
    """A glance at each of many more worlds: with the long clips alone the depth head learns their 244 worlds by heart
    (error of log depth .04 on them, .2 on others)."""
    return ClipsRecipe(home / "views", count=1800, frames=5, latents=True, first=1000)


def mini_depth_head(home: Path) -> DepthHeadRecipe:
    """Depth from latents."""
    return DepthHeadRecipe(
        DepthHeadConfig(latents=home / "latents", views=home / "views"),
        Schedule(steps=2000, muon_lr=0.01, adamw_lr=1e-3, cooldown=0.6, evaluate_every=200),
    )


def mini_memories(home: Path) -> DenoiserRecipe:
    """Then with what a rollout gives: the depth head's depth in half of the clips, and other memories among ours."""
    return DenoiserRecipe(
        DenoiserConfig(latents=home / "latents", no_memory=0.25, pixels=0.12, own_depth=0.5),
        Schedule(
            steps=600,
            warmup=20,
            muon_lr=0.004,
            adamw_lr=6e-4,
            adamw=r"patch_embedding|proj_out\.|shared|detail",
            cooldown=1.0,
            average=0.99,
            seed=1,
            evaluate_every=200,
        ),
        start=home / "mini_denoiser",
    )


def mini_detail(home: Path) -> DenoiserRecipe:
    """The detail path alone, at half the price of a step: how far what is remembered is to be trusted by a sampler that
    has its own guess before it."""
    few = mini_memories(home)
    return replace(
        few,
        config=replace(few.config, train=("detail",), sampled=0.65, own=0.1, latent_noise=0.08, pixels=0.06),
        schedule=replace(
            few.schedule, steps=180, muon_lr=0.007, adamw_lr=1e-3, adamw=r"enter|leave", average=0.98, seed=2
        ),
        start=None,
    )


def mini_renewed_latents(home: Path) -> ClipsRecipe:
    """The first 420 of the clips of every kind, as latents of the renewed autoencoder."""
    return ClipsRecipe(home / "renewed", count=420, frames=65, latents=True, source=home / "long", bf16=True)


def mini_renewed_doors(home: Path) -> ClipsRecipe:
    """And 160 of doors."""
    return ClipsRecipe(
        home / "renewed", count=160, frames=65, latents=True, first=5000, source=home / "long", bf16=True
    )


def mini_again_latents(home: Path) -> ClipsRecipe:
    """The clips of every kind that nothing but the autoencoder has seen yet."""
    return replace(mini_renewed_latents(home), folder=home / "again", count=380, first=420)


def mini_again_doors(home: Path) -> ClipsRecipe:
    """And those of doors."""
    return replace(mini_renewed_doors(home), folder=home / "again", count=140, first=5160)


def mini_whole_latents(home: Path) -> ClipsRecipe:
    """All clips of every kind."""
    return replace(mini_renewed_latents(home), folder=home / "whole", count=800)


def mini_whole_doors(home: Path) -> ClipsRecipe:
    """And all of doors."""
    return replace(mini_renewed_doors(home), folder=home / "whole", count=300)


def mini_renewed_depth_head(home: Path) -> DepthHeadRecipe:
    """Depth again, from the renewed latents of three times the worlds."""
    return DepthHeadRecipe(
        DepthHeadConfig(latents=home / "renewed"),
        Schedule(steps=500, warmup=20, muon_lr=0.006, adamw_lr=6e-4, cooldown=0.8, average=0.99, evaluate_every=250),
        renewed=True,
    )


def mini_renewed_denoiser(home: Path) -> DenoiserRecipe:
    """Transformer and branch again, on twice the worlds: without dead channels, for words, and for drafts, which are
    what glimpses are."""
    return DenoiserRecipe(
        DenoiserConfig(
            latents=home / "renewed",
            no_memory=0.2,
            pixels=0.03,
            own_depth=0.4,
            train=("transformer", "memory_branch"),
            own=0.03,
            told=0.1,
            apart=0.35,
            brief=0.5,
            no_text=0.1,
            bf16=True,
            codec_bf16=True,
        ),
        Schedule(
            steps=620,
            warmup=30,
            muon_lr=0.004,
            adamw_lr=6e-4,
            adamw=r"patch_embedding|proj_out\.|detail",
            cooldown=0.9,
            average=0.99,
            seed=4,
            evaluate_every=310,
            muon_bf16=True,
        ),
        renewed=True,
    )


def mini_renewed_detail(home: Path) -> DenoiserRecipe:
    """And the detail path by itself, where the sampler's last step begins, of drafts as well."""
    few = mini_renewed_denoiser(home)
    return replace(
        few,
        config=replace(
            few.config, train=("detail",), sampled=0.65, unknown=0.4, own=0.08, told=0.0, apart=0.35, latent_noise=0.08
        ),
        schedule=replace(
            few.schedule, steps=230, muon_lr=0.006, adamw_lr=8e-4, adamw=r"enter|leave", cooldown=1.0, average=0.98,
            seed=5, evaluate_every=300,
        ),
        renewed=False,
    )  # fmt: skip


def mini_renewed_words(home: Path) -> DenoiserRecipe:
    """What of the transformer reads the words, by itself, and nearly always where there is nothing but noise yet: a
    sampler decides there what becomes of them; where half of a picture shows through, its words tell nothing new."""
    few = mini_renewed_denoiser(home)
    return replace(
        few,
        config=replace(
            few.config, train=("words",), told=0.5, apart=1.0, own=0.0, pixels=0.0, own_depth=0.0, fresh=0.5, shift=40.0
        ),
        schedule=replace(
            few.schedule, steps=300, warmup=20, muon_lr=0.009, adamw_lr=1.5e-3, adamw=r"norms", cooldown=0.6,
            average=0.98, seed=6, evaluate_every=300,
        ),
        renewed=False,
    )  # fmt: skip


def mini_again_denoiser(home: Path) -> DenoiserRecipe:
    """And again, for longer and on worlds that it has not seen. Half of the steps are glimpses, which teach it to go on
    with what it sees; one in six is the sampler's last one, where what is remembered becomes the picture."""
    few = mini_renewed_denoiser(home)
    return replace(
        few,
        config=replace(
            few.config, latents=home / "again", told=0.05, apart=0.5, apart_shift=10.0, sampled=0.16, unknown=0.15
        ),
        schedule=replace(few.schedule, steps=1200, warmup=40, muon_lr=0.005, average=0.995, seed=8, evaluate_every=400),
        renewed=False,
    )


def mini_again_detail(home: Path) -> DenoiserRecipe:
    """And the detail path after it."""
    few = mini_renewed_detail(home)
    return replace(
        few, config=replace(few.config, latents=home / "again"), schedule=replace(few.schedule, steps=340, seed=9)
    )


def mini_again_words(home: Path) -> DenoiserRecipe:
    """And what reads the words."""
    few = mini_renewed_words(home)
    return replace(
        few, config=replace(few.config, latents=home / "again"), schedule=replace(few.schedule, steps=400, seed=10)
    )


def mini_again_depth_head(home: Path) -> DepthHeadRecipe:
    """And depth, from the latents as they are now."""
    few = mini_renewed_depth_head(home)
    schedule = replace(few.schedule, seed=11)
    return replace(few, config=DepthHeadConfig(latents=home / "again"), schedule=schedule, renewed=False)


def mini_whole_denoiser(home: Path) -> DenoiserRecipe:
    """And once more, on all worlds: with samplers of several lengths, and errors that count as pixels see them."""
    few = mini_again_denoiser(home)
    return replace(
        few,
        config=replace(
            few.config, latents=home / "whole", sampled=0.2, own_steps=SAMPLERS, pixel_weighted=True, told=0.08
        ),
        schedule=replace(few.schedule, steps=1500, seed=13, evaluate_every=500),
    )


def mini_whole_detail(home: Path) -> DenoiserRecipe:
    """And the detail path after it."""
    few = mini_again_detail(home)
    return replace(
        few,
        config=replace(few.config, latents=home / "whole", own_steps=SAMPLERS, pixel_weighted=True),
        schedule=replace(few.schedule, seed=14),
    )


def mini_whole_words(home: Path) -> DenoiserRecipe:
    """And what reads the words, where there is less noise, too: with nothing but noise it learnt to rely on words."""
    few = mini_again_words(home)
    return replace(
        few,
        config=replace(few.config, latents=home / "whole", shift=15.0),
        schedule=replace(few.schedule, steps=260, seed=15),
    )


def mini_whole_depth_head(home: Path) -> DepthHeadRecipe:
    """And depth, from all of them."""
    few = mini_again_depth_head(home)
    return replace(
        few, config=DepthHeadConfig(latents=home / "whole"), schedule=replace(few.schedule, steps=800, seed=16)
    )


def mini_joint_denoiser(home: Path) -> DenoiserRecipe:
    """And once more, with what reads the words from its own run on: by itself it had cost drawing without a memory.
    Half of the glimpses are what a draft of the next chunk is."""
    few = mini_whole_denoiser(home)
    return replace(
        few,
        config=replace(few.config, told=0.12, drafted=0.5),
        schedule=replace(few.schedule, seed=17),
    )


def mini_joint_detail(home: Path) -> DenoiserRecipe:
    """And the detail path after it."""
    few = mini_whole_detail(home)
    return replace(
        few,
        config=replace(few.config, drafted=0.5),
        schedule=replace(few.schedule, steps=250, seed=18),
    )


def mini_words(home: Path) -> DenoiserRecipe:
    """What reads the words alone: with everything at once it learns nothing, for what a clip's first frame and memory
    show needs no words."""
    few = mini_memories(home)
    return replace(
        few,
        config=replace(
            few.config,
            train=("words", "text_encoder"),
            views=home / "views",
            told=0.5,
            apart=0.65,
            brief=0.6,
            shift=8.0,
            no_text=0.08,
            fresh=0.5,
            no_memory=0.3,
            pixels=0.0,
        ),
        schedule=replace(
            few.schedule, steps=1000, muon_lr=0.009, adamw_lr=1.5e-3, adamw=r"shared|norms", cooldown=0.7, seed=3
        ),
        start=None,
    )


def mini_gpu_clips(home: Path) -> ClipsRecipe:
    """Ten times the worlds: 6 GB."""
    return replace(mini_clips(home), count=1200, minutes=1.0)


def mini_gpu_images(home: Path) -> AutoencoderRecipe:
    """Batches eight times as large."""
    few = mini_images(home)
    return replace(
        few,
        config=replace(few.config, mix=((1, 64, 64),)),
        schedule=on_gpu(few.schedule, minutes=0.75, average=0.99),
    )


def mini_gpu_autoencoder(home: Path) -> AutoencoderRecipe:
    """Larger crops, and eight times as many clips in a step, so its direction is known and the rate may be higher."""
    few = mini_autoencoder(home)
    return replace(
        few,
        config=replace(few.config, mix=((9, 96, 24), (17, 96, 16), (33, 96, 8))),
        schedule=on_gpu(few.schedule, minutes=3.5, muon_lr=0.006, adamw_lr=1e-3),
    )


def mini_gpu_decoder(home: Path) -> DecoderRecipe:
    """The same windows of eight clips."""
    few = mini_decoder(home)
    return replace(
        few,
        config=replace(few.config, batch=8),
        schedule=on_gpu(few.schedule, minutes=2.25, muon_lr=0.003, adamw_lr=6e-4),
    )


def mini_gpu_latents(home: Path) -> ClipsRecipe:
    """Three-chunk clips of up to 3,000 worlds."""
    return replace(mini_latents(home), count=3000, frames=97, minutes=2.5)


def mini_gpu_views(home: Path) -> ClipsRecipe:
    """And of up to 6,000 more."""
    return replace(mini_views(home), count=6000, first=10_000, minutes=0.5)


def mini_gpu_depth_head(home: Path) -> DepthHeadRecipe:
    """Batches sixteen times as large. Few clips are kept, here and below: every worker would keep its own."""
    few = mini_depth_head(home)
    return replace(
        few,
        config=replace(few.config, batch=512, cached=64),
        schedule=on_gpu(few.schedule, minutes=1.0, reuse=2),
    )


def mini_gpu_denoiser(home: Path) -> DenoiserRecipe:
    """Batches sixteen times as large, in bfloat16. A memory takes a core longer than the GPU takes for a sample of a
    step, so each is seen three times."""
    few = mini_denoiser(home)
    return replace(
        few,
        config=replace(few.config, batch=64, bf16=True, cached=64),
        schedule=on_gpu(few.schedule, minutes=6.0, reuse=3, warmup=100, muon_lr=0.014, adamw_lr=2e-3, average=0.998),
    )


def mini_gpu_memories(home: Path) -> DenoiserRecipe:
    """The dear samples, with autoencoder and depth head on the cores: fewer with pixels, each seen twelve times."""
    few = mini_memories(home)
    return replace(
        few,
        config=replace(few.config, batch=64, bf16=True, cached=64, pixels=0.04),
        schedule=on_gpu(few.schedule, minutes=2.0, reuse=12, muon_lr=0.006, adamw_lr=1e-3, average=0.995),
    )


def mini_gpu_detail(home: Path) -> DenoiserRecipe:
    """The same in batches sixteen times as large."""
    few = mini_detail(home)
    return replace(
        few,
        config=replace(few.config, batch=64, bf16=True, cached=64, pixels=0.04),
        schedule=on_gpu(few.schedule, minutes=1.5, reuse=6, average=0.995),
    )


def mini_gpu_words(home: Path) -> DenoiserRecipe:
    """The same, and a minute of it: what learns is a sixth of the weights."""
    few = mini_words(home)
    return replace(
        few,
        config=replace(few.config, batch=64, bf16=True, cached=64),
        schedule=on_gpu(few.schedule, minutes=1.0, reuse=3, average=0.995),
    )


def on_gpu(schedule: Schedule, *, minutes: float, **changes: Any) -> Schedule:
    """The schedule by the clock, with a core for every worker but two of a machine's sixteen, and fewer looks."""
    return replace(schedule, steps=100_000, minutes=minutes, workers=14, log_every=50, evaluate_every=1000, **changes)


def mini_export(home: Path) -> ExportRecipe:
    """The weights that ship."""
    return ExportRecipe(home / "mini")


def wan_stage1(home: Path) -> FinetuneRecipe:
    """The memory branch alone, beside a frozen backbone; as published: shift 5, 33 frames, prompt dropout 0.1, and a
    batch of 64 with 8 processes.

    Ours: memories through the gate with depth noise, and a tenth of the steps on the model's own chunks. The published
    code has a learning rate of 1e-5 to go on from a trained branch; a fresh one, whose projections are zero, takes ten
    times that. Not run at full size.
    """
    return FinetuneRecipe(
        WAN,
        DenoiserConfig(
            latents=home / "shards",
            batch=1,
            shift=5.0,
            fresh=0.2,
            no_memory=0.1,
            no_text=0.1,
            max_preceding=2,
            max_references=4,
            min_sigma=1e-3,
            train=("memory_branch",),
            per_frame=True,
            own=0.1,
            bf16=True,
            checkpoint=True,
            cached=32,
        ),
        Schedule(
            steps=10_000,
            warmup=500,
            adamw_lr=1e-4,
            adamw=".",
            cooldown=0.2,
            average=0.999,
            evaluate_every=500,
            checkpoint_seconds=1800,
            accumulate=8,
            shard=True,
        ),
    )


def wan_stage2(home: Path) -> FinetuneRecipe:
    """Then the branch and a LoRA of rank 64 on the backbone's self-attention, at a fifth of the rate."""
    first = wan_stage1(home)
    return replace(
        first,
        config=replace(first.config, train=("transformer", "memory_branch"), lora_rank=64),
        schedule=replace(first.schedule, adamw_lr=2e-5, seed=1),
        start=home / "wan_stage1",
    )


def depth_head(home: Path) -> DistilRecipe:
    """Depth from a released model's latents, learnt from the depth that `mirage prepare` found for the clips."""
    return DistilRecipe(
        DepthHeadConfig(latents=home / "shards", batch=16, cached=64),
        Schedule(steps=5_000, muon_lr=0.01, adamw_lr=1e-3, cooldown=0.6, evaluate_every=500, checkpoint_seconds=600),
    )


RECIPES: dict[str, Callable[[Path], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        mini_bundled,
        mini_clips,
        mini_images,
        mini_autoencoder,
        mini_long_clips,
        mini_long_doors,
        mini_stills,
        mini_renewed_autoencoder,
        mini_again_autoencoder,
        mini_whole_autoencoder,
        mini_latents,
        mini_views,
        mini_doors,
        mini_reading,
        mini_decoder,
        mini_denoiser,
        mini_depth_head,
        mini_memories,
        mini_detail,
        mini_renewed_latents,
        mini_renewed_doors,
        mini_again_latents,
        mini_again_doors,
        mini_whole_latents,
        mini_whole_doors,
        mini_renewed_depth_head,
        mini_renewed_denoiser,
        mini_renewed_detail,
        mini_renewed_words,
        mini_again_denoiser,
        mini_again_detail,
        mini_again_words,
        mini_again_depth_head,
        mini_whole_denoiser,
        mini_whole_detail,
        mini_whole_words,
        mini_whole_depth_head,
        mini_joint_denoiser,
        mini_joint_detail,
        mini_words,
        mini_export,
        mini_gpu_clips,
        mini_gpu_images,
        mini_gpu_autoencoder,
        mini_gpu_decoder,
        mini_gpu_latents,
        mini_gpu_views,
        mini_gpu_depth_head,
        mini_gpu_denoiser,
        mini_gpu_memories,
        mini_gpu_detail,
        mini_gpu_words,
        wan_stage1,
        wan_stage2,
        depth_head,
    )
}
