"""Wan2.2-TI2V-5B as published: the sizes of its networks, and what its weight files do not say.

Also parts of it with random weights: as slow as the real ones, for measuring without a download.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor

from mirage.models.fold import fold_time

LATENTS_MEAN = [
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
]  # fmt: skip
LATENTS_STD = [
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
]  # fmt: skip
"""Of each latent channel, over the videos that Wan2.2 was trained on; its latents are normalised by them."""

VAE: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
    "latents_mean": LATENTS_MEAN,
    "latents_std": LATENTS_STD,
}
TRANSFORMER: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 48,
    "out_channels": 48,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 14336,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
TEXT_ENCODER: dict[str, Any] = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-6,
    "dropout_rate": 0.1,
}
SCHEDULER: dict[str, Any] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "num_train_timesteps": 1000,
    "flow_shift": 5.0,
}
SAMPLING: dict[str, Any] = {
    "fps": 24.0,
    "default_steps": 50,
    "guidance_scale": 5.0,
    "negative_prompt": (
        "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
        "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
        "杂乱的背景，三条腿，背景人很多，倒着走"
    ),
}
"""How its authors sample (configs of github.com/Wan-Video/Wan2.2), by the names of `WorldModel`'s settings; the shift
is the scheduler's."""
PUBLISHED_SAMPLING: dict[str, Any] = {"fps": 16.0, "default_steps": 20, "guidance_scale": 1.0, "negative_prompt": ""}
"""How the published side branches are sampled (the inference script of github.com/microsoft/LatentSpatialMemory)."""
MEMORY_BRANCH: dict[str, Any] = {
    "layers": list(range(0, 30, 2)),
    "channels": 48,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "ffn_dim": 14336,
    "patch_size": [1, 2, 2],
}
"""Ours: what `MemoryBranch.from_transformer` makes, a block at every second layer."""
INDEX: dict[str, Any] = {
    "_class_name": "WanPipeline",
    "boundary_ratio": None,
    "expand_timesteps": True,
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "transformer_2": [None, None],
    "vae": ["diffusers", "AutoencoderKLWan"],
}
"""model_index.json of the folder in diffusers layout."""


def write_configs(folder: Path) -> None:
    """The configurations of a folder in diffusers layout, and nothing else: enough for `blueprint`, and to plan."""
    named = {"transformer": TRANSFORMER, "vae": VAE, "text_encoder": TEXT_ENCODER, "scheduler": SCHEDULER}
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2))
    for name, config in named.items():
        (folder / name).mkdir()
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (folder / name / file).write_text(json.dumps({"_class_name": INDEX[name][1], **config}, indent=2))


def random_autoencoder(*, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> AutoencoderKLWan:
    """0.7 billion weights that mean nothing. On a CPU its convolutions run folded, as a loaded model's do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae: Any = AutoencoderKLWan(**VAE)
    vae = vae.to(device, dtype).eval()
    return fold_time(vae) if vae.device.type == "cpu" else vae


def random_block(
    *, dtype: torch.dtype = torch.float32, dim: int = 3072, heads: int = 24, ffn_dim: int = 14336, text: int = 512
) -> Callable[[int], Tensor]:
    """One of the backbone's thirty blocks: a call runs it over so many tokens, beside `text` tokens of a prompt."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: Any = WanTransformerBlock(dim, ffn_dim, heads, "rms_norm_across_heads", cross_attn_norm=True)
    block = made.to(dtype).eval()

    @torch.no_grad()
    def run(tokens: int) -> Tensor:
        hidden = torch.ones(1, tokens, dim, dtype=dtype)
        turn = torch.ones(1, tokens, 1, dim // heads)
        return block(hidden, hidden.new_ones(1, text, dim), hidden.new_zeros(1, tokens, 6, dim), (turn, turn))

    return run
