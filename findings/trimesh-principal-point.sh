#!/usr/bin/env bash
# trimesh 5.2.0 and Open3D's camera: a pixel matrix with a principal point that is not the middle.
#
# Behaviour: assigning trimesh.scene.Camera.K sets the camera's resolution to twice the principal point, without a word.
# So Open3D's own default, PrimeSense at 640 x 480 with (cx, cy) = (319.5, 239.5) because Open3D counts pixel centres
# from 0, becomes an image of 639 x 479, and a cropped image with cx = 200 becomes 400 wide: other rays, another count.
# A K that has skew is refused with an error, so people expect the same of a principal point that cannot be held.
#
# Output seen (the matrix is Open3D 0.20's PinholeCameraIntrinsic(PrimeSenseDefault), written out here):
#   before            640 x 480, 307200 rays
#   K of Open3D       639 x 479, 306081 rays
#   K of a crop       400 x 480, 192000 rays
#   K with skew       ValueError
#
# Exits with 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check trimesh==5.2.0 numpy scipy
cat > try.py <<'PY'
import sys

import numpy as np
import trimesh


def seen(camera):
    width, height = (int(side) for side in camera.resolution)
    return width, height, len(camera.to_rays()[0])


found = []
for what, K in (
    ("before", None),
    ("K of Open3D", [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]]),
    ("K of a crop", [[525, 0, 200], [0, 525, 240], [0, 0, 1]]),
):
    camera = trimesh.scene.Camera(resolution=(640, 480), fov=(60, 45))
    if K is not None:
        camera.K = np.array(K, dtype=float)
    found.append(seen(camera))
    print(f"{what:<17} {found[-1][0]} x {found[-1][1]}, {found[-1][2]} rays")
try:
    camera.K = np.array([[525, 3, 320], [0, 525, 240], [0, 0, 1]], dtype=float)
    found.append("no error")
except ValueError:
    found.append("ValueError")
print(f"{'K with skew':<17} {found[-1]}")
sys.exit(found != [(640, 480, 307200), (639, 479, 306081), (400, 480, 192000), "ValueError"])
PY
venv/bin/python try.py
