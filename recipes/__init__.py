"""What makes Mirage's models: functions that take the folder of all runs and return a whole run.

    ninth.py   the bundled model, from the weights before it
    mini.py    a model of its sizes, from nothing
    wan.py     a memory for Wan2.2-TI2V-5B, or another released model, from clips that `mirage prepare` left

`mirage train --recipe mini:denoiser --out runs` runs one; docs/training.md is the guide.
"""
