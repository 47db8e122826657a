#!/bin/sh
# A Wan transformer that is saved after fuse_lora loads without an error, with weights that are on the meta device.
#
# Versions:  torch 2.13.0, diffusers 0.42.1, peft 0.21.2, transformers 5.23.0
# Expected:  `fuse_lora()` merges a LoRA into the weights; `save_pretrained` then writes a plain transformer, which
#            `from_pretrained` loads again; or one of the two refuses.
# Behaviour: the fused layers keep their wrapper, so the file has `to_q.base_layer.weight` and the LoRA's matrices.
#            `from_pretrained` warns that weights are "newly initialized", in truth leaves to_q.weight on the meta device, and
#            returns the model. Only fuse_lora and then unload_lora gives a plain transformer, which keeps the sum.
# Seen:      saved: blocks.0.attn1.to_q.base_layer.bias, ...base_layer.weight, ...lora_A.default_0.weight, ...
#            loaded: to_q.weight on meta
#            after fuse_lora and unload_lora: the sum
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "diffusers==0.42.1" "peft==0.21.2" "transformers==5.23.0" "accelerate==1.15.0"
cat > "$folder/try.py" <<'PY'
import tempfile

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file


def tiny():
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8,
        freq_dim=16, ffn_dim=16, num_layers=1, cross_attn_norm=True,
    )


pair = {"blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 24), "blocks.0.attn1.to_q.lora_B.weight": torch.ones(24, 2)}
transformer, folder = tiny(), tempfile.mkdtemp()
before = transformer.blocks[0].attn1.to_q.weight.detach().clone()
transformer.load_lora_adapter(pair, prefix=None)
transformer.fuse_lora()
transformer.save_pretrained(folder)
saved = [name for name in load_file(f"{folder}/diffusion_pytorch_model.safetensors") if ".attn1.to_q." in name]
print("saved:", *saved)
again = WanTransformer3DModel.from_pretrained(folder).blocks[0].attn1.to_q.weight
print("loaded: to_q.weight on", again.device)
transformer.unload_lora()
after = transformer.blocks[0].attn1.to_q.weight.detach()
print("after fuse_lora and unload_lora:", "the weights of before" if torch.allclose(after, before) else "the sum")
assert not torch.allclose(after, before), "unloading takes the fused sum off now"
assert "blocks.0.attn1.to_q.base_layer.weight" in saved, "plain names are saved now"
assert again.device.type == "meta", "missing weights are no longer left on the meta device"
PY
"$folder/venv/bin/python" "$folder/try.py"
