#!/bin/sh
# A Wan LoRA's differences of norms and modulations are dropped by diffusers without a warning, however large they are.
#
# Versions:  torch 2.13.0, diffusers 0.42.1, peft 0.21.2, transformers 5.23.0
# Expected:  lightx2v's and other extracted LoRAs hold, beside pairs, `.diff` and `.diff_b`: what is added to a weight or bias
#            itself. ComfyUI adds all of them. A loader that does not take one says so, as diffusers does of other keys.
# Behaviour: `diff_b` of linear layers is kept (as lora_B.bias); `diff` and `diff_b` of norms and the `diff` of a block's
#            modulation are removed at log level debug or info. With the default log level nothing is said, and the merged
#            model is another one than ComfyUI's.
# Seen:      kept: transformer.blocks.0.attn1.to_q.lora_A.weight, ...lora_B.weight, ...lora_B.bias
#            said at level warning or above: nothing
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "diffusers==0.42.1" "peft==0.21.2" "transformers==5.23.0" "accelerate==1.15.0"
cat > "$folder/try.py" <<'PY'
import io
import logging

import torch
from diffusers.loaders import WanLoraLoaderMixin
from diffusers.utils import logging as diffusers_logging

said = io.StringIO()
diffusers_logging.get_logger("diffusers").addHandler(logging.StreamHandler(said))
at = "diffusion_model.blocks.0."
state = {
    f"{at}self_attn.q.lora_down.weight": torch.ones(2, 24),
    f"{at}self_attn.q.lora_up.weight": torch.ones(24, 2),
    f"{at}self_attn.q.diff_b": torch.ones(24),
    f"{at}norm3.diff": torch.full((24,), 5.0),
    f"{at}norm3.diff_b": torch.full((24,), 5.0),
    f"{at}self_attn.norm_q.diff": torch.full((24,), 5.0),
    f"{at}modulation.diff": torch.full((1, 6, 24), 5.0),
}
kept = WanLoraLoaderMixin.lora_state_dict(dict(state))
print("kept:", *sorted(kept))
print("said:", said.getvalue() or "nothing")
assert {name.removeprefix("transformer.blocks.0.attn1.to_q.") for name in kept} == {
    "lora_A.weight", "lora_B.weight", "lora_B.bias"
}, "other keys are kept now"
assert not said.getvalue(), "it is said now"
PY
"$folder/venv/bin/python" "$folder/try.py"
