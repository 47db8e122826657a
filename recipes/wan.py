"""A memory for a released model, Wan2.2-TI2V-5B unless `--model` names another.

    mirage prepare FOOTAGE --model Wan-AI/Wan2.2-TI2V-5B-Diffusers --out runs/shards
    mirage train --recipe wan:depth_head --out runs                # latents to depth, from the depth in the clips
    torchrun --nproc-per-node 8 -m mirage train --recipe wan:branch --out runs     # the memory branch alone
    torchrun --nproc-per-node 8 -m mirage train --recipe wan:lora --out runs       # the branch, and a LoRA
    torchrun --nproc-per-node 8 -m mirage train --recipe wan:published --branch vace.safetensors --out runs

Rates and lengths are as published where they are; nothing of this has been run at full size.
"""

from dataclasses import replace
from pathlib import Path

from mirage.training.denoiser import DenoiserConfig
from mirage.training.depth_head import DepthHeadConfig
from mirage.training.exercises import Exercises, Mix
from mirage.training.objective import Objective
from mirage.training.past import Augment
from mirage.training.runs import DepthHead, Finetune
from mirage.training.schedule import Schedule

WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"


def depth_head(home: Path) -> DepthHead:
    """Depth from the model's latents, learnt from the depth that `mirage prepare` found for the clips."""
    return DepthHead(
        DepthHeadConfig(home / "shards", batch=16, cached=64),
        Schedule(steps=5_000, muon_lr=0.01, adamw_lr=1e-3, cooldown=0.6, evaluate_every=500, checkpoint_seconds=600),
        hidden=128,
    )


def branch(home: Path) -> Finetune:
    """The memory branch alone, beside a frozen backbone; as published: shift 5, 33 frames, prompt dropout 0.1, and a
    batch of 64 with 8 processes.

    Ours: memories through the gate with depth noise, a tenth of the steps on the model's own chunks, and ten times the
    published learning rate, for a fresh branch, whose projections are zero.
    """
    return Finetune(
        WAN,
        DenoiserConfig(
            Exercises(
                home / "shards",
                Mix(chunk=0.9, relived=0.1),
                Augment(fresh=0.2, no_memory=0.1, no_prompt=0.1),
                batch=1,
                preceding=2,
                references=4,
                cached=32,
            ),
            Objective(shift=5.0, per_frame=True, min_sigma=1e-3),
            train=("memory_branch",),
            bf16=True,
            checkpoint=True,
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


def lora(home: Path) -> Finetune:
    """Then the branch and a LoRA of rank 64 on the backbone's self-attention, at a fifth of the rate."""
    first = branch(home)
    return replace(
        first,
        config=replace(first.config, train=("transformer", "memory_branch"), lora_rank=64),
        schedule=replace(first.schedule, adamw_lr=2e-5, seed=1),
        branch=home / "branch" / "memory_branch",
    )


def published(home: Path) -> Finetune:
    """On from a trained branch, such as a published one, at the published rate of 1e-5; on the chunks alone, for the
    published training data holds single chunks."""
    first = branch(home)
    exercises = replace(first.config.exercises, mix=Mix())
    return replace(
        first,
        config=replace(first.config, exercises=exercises),
        schedule=replace(first.schedule, adamw_lr=1e-5),
        branch=home / "vace.safetensors",
    )
