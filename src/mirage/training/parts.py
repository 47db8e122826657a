"""The parts of a bundled model, and where the weights of each come from: named, part by part.

A run leaves what it has taught as folders in diffusers' layout, which is also what a model is made of:

    runs/autoencoder/vae/      runs/denoiser/transformer/, memory_branch/      runs/export/model/vae/, transformer/, ...

So a part begins from any folder that has it: of a run, or of a model.
"""

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mirage.errors import InputError
from mirage.files import making
from mirage.models.fold import fold_time
from mirage.models.loading import BUNDLED, quiet
from mirage.models.tiny import MiniConfig, build_world
from mirage.models.world import WorldModel
from mirage.scenes import vocabulary

MINI = MiniConfig()
"""Sizes of the bundled model."""


@dataclass(frozen=True)
class Parts:
    """For each part of a model the folder that has it: of a run, or of a model ("mini": the one that ships); None: its
    weights are fresh."""

    vae: Path | str | None = None
    text_encoder: Path | str | None = None
    transformer: Path | str | None = None
    memory_branch: Path | str | None = None
    depth_head: Path | str | None = None

    @classmethod
    def of(cls, source: Path | str) -> "Parts":
        """All of them from one folder."""
        return cls(**{field.name: source for field in fields(cls)})

    def check(self) -> None:
        """Raise `InputError` for a part that is not where it is said to be."""
        for field in fields(self):
            source = getattr(self, field.name)
            if source is not None and not _part_folder(source, field.name).is_dir():
                raise InputError(f"{source} has no {field.name}; run the recipe that makes it first, or name a model")


def assembled(parts: Parts, sizes: MiniConfig = MINI) -> WorldModel:
    """A model of these sizes with these parts; fresh ones hear their words (`hear_words`)."""
    parts.check()
    model = build_world(sizes, words=vocabulary())
    hear_words(model, generator=torch.Generator().manual_seed(0))
    for field in fields(parts):
        source = getattr(parts, field.name)
        if source is not None:
            model.register_modules(**{field.name: _fitting(model, field.name, source)})
    fold_time(model.vae)
    return model


def leave(part: Any, folder: Path) -> None:
    """A part as a folder, whole or not at all, in the place of what was there. Where it was loaded from diffusers
    writes down beside it, and that is no part of it."""
    made = folder.with_name(f".{folder.name}-made")
    shutil.rmtree(made, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with making(made) as beside, quiet():
        part.save_pretrained(beside)
        for path in beside.rglob("config.json"):
            said = {key: value for key, value in json.loads(path.read_text()).items() if key != "_name_or_path"}
            path.write_text(json.dumps(said, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)


@torch.no_grad()
def hear_words(model: WorldModel, *, generator: torch.Generator, faint: float = 0.2) -> None:
    """Let what the text encoder says reach the transformer and its branch at full strength, through an embedding of
    unit gain, and add little to what they do, at first."""
    for part in model.transformer.condition_embedder.text_embedder.modules():
        if isinstance(part, nn.Linear):
            part.weight.normal_(0, part.in_features**-0.5, generator=generator)
            part.bias.zero_()
    assert model.memory_branch is not None
    for name, part in [*model.transformer.named_modules(), *model.memory_branch.named_modules()]:
        if name.endswith("attn2.to_out.0"):
            part.weight.mul_(faint)
            part.bias.mul_(faint)


def loaded(kind: Any, name: str, source: Path | str) -> Any:
    """A part of this class from a folder that has it, in float32."""
    with quiet():
        return kind.from_pretrained(_part_folder(source, name)).float()


def _fitting(model: WorldModel, name: str, source: Path | str) -> nn.Module:
    """A part, checked against the sizes of the model that it becomes part of."""
    own: nn.Module = getattr(model, name)
    part = loaded(type(own), name, source)
    shapes = [{key: p.shape for key, p in one.named_parameters()} for one in (own, part)]
    differing = sorted(key for key in shapes[0].keys() | shapes[1].keys() if shapes[0].get(key) != shapes[1].get(key))
    if differing:
        raise InputError(
            f"{name} of {source} is of other sizes: {len(differing)} parameters differ, the first is {differing[0]}"
        )
    return part


def _part_folder(source: Path | str, name: str) -> Path:
    """Where a part lies."""
    return BUNDLED.get(str(source), Path(source)) / name
