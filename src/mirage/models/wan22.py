"""Parts of Wan2.2-TI2V-5B with random weights: as slow as the real ones, for measuring without a download."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor

from mirage.models.fold import fold_time

CONFIG: dict[str, Any] = {
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
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}
"""As published with the model (vae/config.json), but for the statistics of its latents."""


def random_autoencoder(*, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> AutoencoderKLWan:
    """0.7 billion weights that mean nothing. On a CPU its convolutions run folded, as a loaded model's do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae: Any = AutoencoderKLWan(**CONFIG)
    vae = vae.to(device, dtype).eval()
    return fold_time(vae) if vae.device.type == "cpu" else vae


def random_block(*, dtype: torch.dtype = torch.float32, dim: int = 3072, heads: int = 24, ffn_dim: int = 14336,
                 text: int = 512) -> Callable[[int], Tensor]:
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
