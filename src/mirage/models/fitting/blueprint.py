"""A world model without its weights: every network at its true size, on the meta device.

    blueprint("Wan2.2-TI2V-5B-Diffusers")       # a folder in diffusers layout; its configurations are enough

Built in seconds in no memory: for counting, for planning, for checking that a branch fits.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from huggingface_hub.errors import StrictDataclassError
from transformers import UMT5Config, UMT5EncoderModel

from mirage.errors import InputError
from mirage.models.depth_head import LatentDepthHead
from mirage.models.files.checkpoint import one_line
from mirage.models.files.index import configuration
from mirage.models.loading import check_fit, quiet
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel

NETWORKS: dict[str, Any] = {
    "vae": AutoencoderKLWan,
    "transformer": WanTransformer3DModel,
    "memory_branch": MemoryBranch,
    "depth_head": LatentDepthHead,
}
SETTINGS = (
    "chunk_frames",
    "height",
    "width",
    "default_steps",
    "text_length",
    "drafts",
    "noise_scale",
    "draft_guidance",
    "draft_steps",
    "fps",
    "guidance_scale",
    "negative_prompt",
)


def blueprint(folder: str | Path) -> WorldModel:
    """The `WorldModel` that a folder in diffusers layout describes, on the meta device and without a tokenizer."""
    folder = Path(folder)
    index = configuration(folder / "model_index.json")
    parts: dict[str, Any] = {"tokenizer": None}
    try:
        with quiet(), torch.device("meta"):
            for name, network in NETWORKS.items():
                if index.get(name, [None])[0] is not None:
                    parts[name] = network.from_config(configuration(folder / name / "config.json"))
            parts["text_encoder"] = UMT5EncoderModel(
                UMT5Config(**configuration(folder / "text_encoder" / "config.json"))
            )
        parts["scheduler"] = UniPCMultistepScheduler.from_config(
            configuration(folder / "scheduler" / "scheduler_config.json")
        )
        model = WorldModel(**parts, **{name: index[name] for name in SETTINGS if name in index})
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError) as error:
        raise InputError(f"model {folder} can not be built: {one_line(error)}") from error
    check_fit(model, folder)
    return model.eval()
