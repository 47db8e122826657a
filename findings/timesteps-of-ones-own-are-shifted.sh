#!/bin/sh
# Flow matching schedulers of a Wan model and the timesteps that a step-distilled LoRA was made for: the noise levels are
# shifted once more, also where sigmas and timesteps are both given; with Euler the network is then told another level than
# the sample has.
#
# Versions:  diffusers 0.42.1, torch 2.13.0
# Expected:  few-step models come with their timesteps (say 1000, 750, 500, 250, the shift already in them). set_timesteps with
#            these, or with sigmas of a thousandth each, or with both ("to control them separately", as the warning has it),
#            steps at sigma = 1, 0.75, 0.5, 0.25 and tells the network the same.
# Behaviour: FlowMatchEulerDiscreteScheduler(shift=5): timesteps alone, and timesteps with sigmas: timesteps are
#            1000, 750, 500, 250 as given, sigmas 1, 0.9375, 0.8333, 0.625. Sigmas alone: both are shifted.
#            UniPCMultistepScheduler(flow_shift=5): sigmas are shifted; timesteps cannot be given.
#            Right is a scheduler of shift 1 for such a list, or dividing the shift out of the sigmas.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 numpy
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import diffusers
import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

asked = [1000.0, 750.0, 500.0, 250.0]
sigmas = [timestep / 1000 for timestep in asked]
shifted = [5 * sigma / (1 + 4 * sigma) for sigma in sigmas]
print("diffusers", diffusers.__version__)


def seen(name, scheduler):
    levels, told = scheduler.sigmas[:4].tolist(), [float(t) for t in scheduler.timesteps]
    print(f"{name}: sigmas {[round(s, 4) for s in levels]}, timesteps {[round(t) for t in told]}")
    return levels, told


euler = FlowMatchEulerDiscreteScheduler(shift=5.0)
for name, given in {
    "Euler, timesteps": {"timesteps": asked},
    "Euler, both": {"timesteps": asked, "sigmas": sigmas},
}.items():
    euler.set_timesteps(**given)
    levels, told = seen(name, euler)
    assert np.allclose(told, asked)
    assert np.allclose(levels, shifted, atol=1e-4)  # 0.9375 where the network is told 750
euler.set_timesteps(sigmas=sigmas)
levels, told = seen("Euler, sigmas", euler)
assert np.allclose(levels, shifted, atol=1e-4)
assert np.allclose(told, [1000 * s for s in shifted], atol=0.1)
unipc = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0)
unipc.set_timesteps(sigmas=np.array(sigmas))
levels, _ = seen("UniPC, sigmas", unipc)
assert np.allclose(levels, shifted, atol=1e-3)
plain = FlowMatchEulerDiscreteScheduler(shift=1.0)
plain.set_timesteps(sigmas=sigmas)
levels, told = seen("Euler of shift 1, sigmas", plain)
assert np.allclose(levels, sigmas, atol=1e-4)
assert np.allclose(told, asked, atol=0.1)
PYTHON
