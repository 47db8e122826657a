#!/bin/sh
# `.alpha` beside a pair scales a Wan LoRA in diffusers under ComfyUI's names, and is ignored under diffusers' own.
#
# Versions:  torch 2.13.0, diffusers 0.42.1, peft 0.21.2, transformers 5.23.0
# Expected:  the same LoRA of rank 2 and alpha 1 counts B A half, whichever names its file has: kohya's `.alpha` means
#            alpha / rank to ComfyUI for every prefix, and to diffusers for `diffusion_model.*` and `lora_unet_*`.
# Behaviour: with `transformer.*` names the `.alpha` tensors pass through the loader and are left out when the adapter is
#            made: alpha is taken to be the rank, so the LoRA counts twice as much as it should, without a warning. A LoRA
#            renamed from kohya's layout to diffusers' has to be scaled, or the alpha put in the header's
#            lora_adapter_metadata.
# Seen:      B A counts, as diffusion_model.*: 0.5; as transformer.*: 1.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "diffusers==0.42.1" "peft==0.21.2" "transformers==5.23.0" "accelerate==1.15.0"
cat > "$folder/try.py" <<'PY'
import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders import WanLoraLoaderMixin


def tiny():
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8,
        freq_dim=16, ffn_dim=16, num_layers=1, cross_attn_norm=True,
    )


def counts(module):
    state = {
        f"{module}.lora_A.weight": torch.ones(2, 24),
        f"{module}.lora_B.weight": torch.ones(24, 2),
        f"{module}.alpha": torch.tensor(1.0),
    }
    transformer = tiny()
    before = transformer.blocks[0].attn1.to_q.weight.detach().clone()
    transformer.load_lora_adapter(WanLoraLoaderMixin.lora_state_dict(state), prefix="transformer")
    transformer.fuse_lora()
    added = transformer.blocks[0].attn1.to_q.base_layer.weight.detach() - before
    return float(added.mean()) / 2  # B A is 2 everywhere


comfy, own = counts("diffusion_model.blocks.0.self_attn.q"), counts("transformer.blocks.0.attn1.to_q")
print(f"B A counts, as diffusion_model.*: {comfy:.2f}; as transformer.*: {own:.2f}")
assert abs(comfy - 0.5) < 1e-3, "alpha no longer counts under ComfyUI's names"
assert abs(own - 1.0) < 1e-3, "alpha counts under diffusers' names now"
PY
"$folder/venv/bin/python" "$folder/try.py"
