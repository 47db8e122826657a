#!/usr/bin/env bash
# pycolmap 4.2.1: a folder with two models in it, one as text and one as binary.
#
# Behaviour: Reconstruction(folder) reads the binary files whenever cameras.bin, images.bin and points3D.bin are there,
# silently, even where write_text() has just written a newer text model into the same folder. Take points3D.bin away
# alone, and the same call reads the text model; the other .bin files are then passed over, silently as well.
# People expect: what was written last, or an error about two models in one folder. `colmap model_converter` with the
# same folder for input and output makes just this mixture.
#
# Output seen:
#   text alone            first camera at x = 1
#   binary written too    first camera at x = 11
#   newer text over it    first camera at x = 11
#   points3D.bin removed  first camera at x = 21
#
# Exits with 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pycolmap==4.2.1 numpy
cat > try.py <<'PY'
import os
import sys

import pycolmap


def model(shift):
    made = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 500, 320, 240], camera_id=1)
    made.add_camera_with_trivial_rig(camera)
    for number in (1, 2, 3):
        image = pycolmap.Image(name=f"f{number}.png", camera_id=1, image_id=number)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(), [-(number + shift), 0, 0])
        made.add_image_with_trivial_frame(image, pose)
    return made


def first():
    read = pycolmap.Reconstruction("model").images[1]
    return round(float(read.projection_center()[0]), 6)


os.mkdir("model")
model(0).write_text("model")
seen = {"text alone": first()}
model(10).write_binary("model")
seen["binary written too"] = first()
model(20).write_text("model")
seen["newer text over it"] = first()
os.remove("model/points3D.bin")
seen["points3D.bin removed"] = first()
for what, x in seen.items():
    print(f"{what:<21} first camera at x = {x:g}")
sys.exit(list(seen.values()) != [1, 11, 11, 21])
PY
venv/bin/python try.py
