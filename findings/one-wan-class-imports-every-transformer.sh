#!/bin/sh
# diffusers is lazy about names, not about models: one class of Wan imports every other transformer, UNet and torch's compiler.
#
# Version:   diffusers 0.42.1, torch 2.13.0
# Expected:  `from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan` (or the same through diffusers'
#            lazy namespace) reads the module of that class and what it is made of: attention, normalisation, the mixins.
# Behaviour: autoencoders/__init__.py imports all autoencoders; their vae.py asks unets.unet_2d_blocks for a block, whose
#            package imports all UNets, which ask transformers.dual_transformer_2d, whose package imports all transformers.
#            A decorator there, @torch.compiler.disable, imports torch._dynamo, symbolic shapes and sympy, though nothing is
#            compiled; as does diffusers.utils.torch_utils, for the name of an identity. Every program of one model
#            waits for that when it starts.
# Seen:      76 modules of transformers, 41 of autoencoders, 14 of unets; torch._dynamo and sympy True, with torch alone False
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "diffusers==0.42.1" "numpy==2.3.5"
"$folder/venv/bin/python" - > "$folder/seen" <<'PY'
import sys

import torch

before = {name for name in ("torch._dynamo", "sympy") if name in sys.modules}
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

assert AutoencoderKLWan.__module__ == "diffusers.models.autoencoders.autoencoder_kl_wan"


def more_than(package, count):
    its = [name for name in sys.modules if name.startswith(f"diffusers.models.{package}.")]
    print(f"{len(its)} modules of {package}", file=sys.stderr)
    return len(its) > count


print("torch alone:", *(f"{name} {name in before}" for name in ("torch._dynamo", "sympy")))
print("more than 60 transformers", more_than("transformers", 60))
print("more than 20 autoencoders", more_than("autoencoders", 20))
print("more than 10 UNets", more_than("unets", 10))
print("then:", *(f"{name} {name in sys.modules}" for name in ("torch._dynamo", "sympy")))
PY
cat "$folder/seen"
cat > "$folder/expected" <<'TXT'
torch alone: torch._dynamo False sympy False
more than 60 transformers True
more than 20 autoencoders True
more than 10 UNets True
then: torch._dynamo True sympy True
TXT
cmp "$folder/seen" "$folder/expected"
