#!/bin/sh
# FlowMatchEuler with shift s and UniPC with flow_shift s, in as many steps, visit other noise levels; Euler shifts its end
# twice.
#
# Versions:  torch 2.13.0, diffusers 0.42.1, peft 0.21.2, transformers 5.23.0
# Expected:  swapping a Wan pipeline's scheduler for the other one of the same shift (as many do) changes the solver, not
#            the noise levels: sigma' = s sigma / (1 + (s - 1) sigma) of evenly spaced sigmas.
# Behaviour: UniPC spaces N + 1 levels from 1 to 1/1000 and leaves the last out, so the last step begins at about
#            s / (N + s - 1). FlowMatchEuler spaces N levels from 1 to its sigma_min, which it has shifted already when it was
#            made, and shifts them again: the last step begins at 1/1000 shifted twice, 0.0602 for s = 8, however many steps
#            there are. In 4 steps of shift 8 the last step begins at noise 0.06 instead of 0.73, so distilled LoRAs look
#            other than with the scheduler that they were made for.
# Seen, shift 8, the last level before 0:   4 steps: Euler 0.0602, UniPC 0.7281    20 steps: Euler 0.0602, UniPC 0.3004
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "diffusers==0.42.1" "peft==0.21.2" "transformers==5.23.0" "accelerate==1.15.0"
cat > "$folder/try.py" <<'PY'
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

shift = 8.0
once = shift / 1000 / (1 + (shift - 1) / 1000)
twice = shift * once / (1 + (shift - 1) * once)
for steps in (4, 20):
    euler = FlowMatchEulerDiscreteScheduler(shift=shift)
    unipc = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    euler.set_timesteps(steps)
    unipc.set_timesteps(steps)
    ours, theirs = float(euler.sigmas[-2]), float(unipc.sigmas[-2])
    print(f"{steps} steps: Euler {ours:.4f}, UniPC {theirs:.4f}")
    assert abs(ours - twice) < 1e-3, "Euler's last level is no longer shifted twice"
    assert theirs > 4 * ours, "the two visit the same levels now"
PY
"$folder/venv/bin/python" "$folder/try.py"
