#!/bin/sh
# pycolmap 4.2.1 (COLMAP 3.12 and later): the poses of images.txt are not read where frames.txt stands beside it.
#
# Behaviour: a text model has a pose per image in images.txt and, since rigs came, a pose per frame in frames.txt. Reading
#   the model takes the frames' poses and drops those of images.txt, without a word where the two differ.
# Expected: scripts of ten years edit or write images.txt (poses of known cameras, aligned or scaled models) and expect its
#   poses to be what is loaded; the format's page still describes the pose columns of images.txt first.
# Seen: image 2 is written at x = 1 by pycolmap, its line in images.txt is then changed to x = 7; it is read back at x = 1.
#   Without frames.txt and rigs.txt the same folder is read at x = 7.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pycolmap==4.2.1 numpy
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import pathlib

import pycolmap

root = pathlib.Path("model")
root.mkdir()
(root / "cameras.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
(root / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n2 1 0 0 0 -1 0 0 1 b.jpg\n\n")
(root / "points3D.txt").write_text("# none\n")
pycolmap.Reconstruction(root).write_text(root)  # COLMAP's own writing adds rigs.txt and frames.txt
names = sorted(path.name for path in root.iterdir())
print("written by pycolmap:", names)
assert {"rigs.txt", "frames.txt"} <= set(names)


def centre_of_b() -> float:
    model = pycolmap.Reconstruction(root)
    image = next(image for image in model.images.values() if image.name == "b.jpg")
    return float(image.projection_center()[0])


text = (root / "images.txt").read_text().splitlines()
at = next(i for i, line in enumerate(text) if line.endswith("b.jpg"))
words = text[at].split()
words[5] = "-7"
text[at] = " ".join(words)
(root / "images.txt").write_text("\n".join(text) + "\n")
with_frames = centre_of_b()
(root / "frames.txt").unlink()
(root / "rigs.txt").unlink()
without = centre_of_b()
print("x of b.jpg, written as 7 in images.txt:", with_frames, "with frames.txt,", without, "without")
assert abs(with_frames - 1) < 1e-9, "images.txt is read again: the finding is out of date"
assert abs(without - 7) < 1e-9
PYTHON
