#!/bin/sh
# A kohya/musubi Wan LoRA that was trained on some layers only does not load in diffusers: KeyError.
#
# Versions:  torch 2.13.0, diffusers 0.42.1, peft 0.21.2, transformers 5.23.0
# Expected:  musubi-tuner trains the layers that its patterns include; a LoRA of the self-attention alone is a common,
#            whole file, and the same LoRA under ComfyUI's names (diffusion_model.*) loads in diffusers.
# Behaviour: for names with `lora_unet_` the converter pops q, k, v, o of both attentions and both ffn layers of every block
#            without asking whether they are there, and blocks are counted from 0: a file of the self-attention alone, or of
#            blocks 10 to 20, is a KeyError of an internal name.
# Seen:      as ComfyUI has it: 8 tensors; as musubi has it: KeyError 'blocks_0_cross_attn_q.lora_down.weight'
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "diffusers==0.42.1" "peft==0.21.2" "transformers==5.23.0" "accelerate==1.15.0"
cat > "$folder/try.py" <<'PY'
import torch
from diffusers.loaders import WanLoraLoaderMixin

comfy, musubi = {}, {}
for part in "qkvo":
    for end, shape in (("lora_down.weight", (2, 24)), ("lora_up.weight", (24, 2)), ("alpha", ())):
        comfy[f"diffusion_model.blocks.0.self_attn.{part}.{end}"] = torch.ones(shape)
        musubi[f"lora_unet_blocks_0_self_attn_{part}.{end}"] = torch.ones(shape)
print("as ComfyUI has it:", len(WanLoraLoaderMixin.lora_state_dict(comfy)), "tensors")
try:
    WanLoraLoaderMixin.lora_state_dict(musubi)
except KeyError as error:
    print("as musubi has it: KeyError", error)
else:
    raise SystemExit("a musubi file of some layers loads now")
PY
"$folder/venv/bin/python" "$folder/try.py"
