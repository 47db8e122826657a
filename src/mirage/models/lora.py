"""A LoRA (low-rank adapter, arXiv 2106.09685) to train on the transformer's self-attention.

    weight' = weight + (alpha / rank) B A          A [rank,in] random, B [out,rank] zero: at first it changes nothing

Loading one from a file is another matter; this file makes fresh ones and names what was learnt.
"""

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from peft import LoraConfig
from torch import Tensor

SELF_ATTENTION = r"blocks\.\d+\.attn1\.(to_q|to_k|to_v|to_out\.0)"
"""As a full match, so that nothing else of the model, such as a memory branch, is hit by its name."""
ADAPTER = "default"


def attach_lora(transformer: WanTransformer3DModel, *, rank: int, targets: str = SELF_ATTENTION, seed: int = 0) -> None:
    """Freeze the transformer and put a LoRA on the modules that `targets` names, alpha equal to rank. The same seed
    gives the same A in every process; weights of the adapter are float32."""
    transformer.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), ADAPTER)
    for name, weight in transformer.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
            weight.requires_grad_(True)


def lora_state(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of parameters by name, those of the LoRA, as diffusers' files call them (`transformer.*.lora_A.weight`)."""
    return {
        f"transformer.{name.replace(f'.{ADAPTER}.', '.')}": value for name, value in weights.items() if "lora_" in name
    }
