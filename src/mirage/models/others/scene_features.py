"""DINOv2's one vector for a picture, on weights that the user already has: do two pictures show the same scene?

`B` pictures of `H W` pixels, `D` numbers a picture. The picture is stretched to the square that DINOv2 is evaluated at.
"""

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Dinov2Model

from mirage.errors import InputError
from mirage.models.others.frame_depth import IMAGENET

SIDE = 224  # pixels


class SceneFeatures:
    """Pictures [B,3,H,W] in [0, 1] -> unit vectors [B,D]: the class token behind the last normalisation."""

    def __init__(self, model: Dinov2Model) -> None:
        its: Any = model.config
        self.model: Any = model.eval().requires_grad_(False)
        self.side = SIDE // its.patch_size * its.patch_size

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "SceneFeatures":
        """From a folder in transformers' layout (config.json, model.safetensors); nothing is downloaded."""
        if not (Path(folder) / "config.json").is_file():
            needed = "config.json and model.safetensors (transformers' layout, as facebook/dinov2-base)"
            raise InputError(f"DINOv2 weights missing: {folder} has no {needed}")
        try:
            model = Dinov2Model.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise InputError(f"DINOv2 in {folder} does not load: {' '.join(str(error).split())[:300]}") from error
        return cls(model)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
        seen = F.interpolate(pictures, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        found = self.model(pixel_values=((seen - mean) / deviation).to(self.model.dtype))
        return F.normalize(found.pooler_output.float(), dim=-1)

    def alike(self, pictures: Tensor, others: Tensor) -> Tensor:
        """Cosine of the vectors of two rows of pictures: [B]."""
        return (self(pictures) * self(others)).sum(-1)
