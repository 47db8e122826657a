#!/bin/sh
# Since 0.8 safetensors' save_file puts a new file in the place of the one that it is given; until 0.7 it wrote into it.
#
# Version:   safetensors 0.8.0, beside 0.7.0
# Expected:  as open(path, "wb") does, and as earlier releases did: `latest.safetensors`, a link to the checkpoint that is
#            meant, stays a link and that checkpoint gets the new weights; a second name (hard link) shows them too; a
#            program that made the file itself, to hold a lock on it while the library fills it, still has the file.
# Behaviour: 0.8 writes .tmpXXXXXX in the same folder and renames it over the path. The link becomes a plain file and what it
#            meant keeps its old weights, without a word; hard links part; a lock (flock) that was taken on the file is on
#            one that has no name any more, so another process finds the path free. What is killed in between leaves the
#            .tmpXXXXXX, under a name that says nothing of the file it was for. Bind-mounted single files cannot be renamed over.
# Seen:      0.7.0  link stays True, what it means has [1. 1.]; hard link has [2. 2.]; the open file is it True
#            0.8.0  link stays False, what it means has [0. 0.]; hard link has [0. 0.]; the open file is it False
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PY'
import os

import numpy
import safetensors
from safetensors.numpy import load_file, save_file

save_file({"a": numpy.zeros(2)}, "step-1.safetensors")
os.symlink("step-1.safetensors", "latest.safetensors")
save_file({"a": numpy.ones(2)}, "latest.safetensors")
stays, means = os.path.islink("latest.safetensors"), load_file("step-1.safetensors")["a"]
os.link("step-1.safetensors", "second.safetensors")
save_file({"a": numpy.full(2, 2.0)}, "step-1.safetensors")
second = load_file("second.safetensors")["a"]
with open("step-1.safetensors", "rb") as held:
    save_file({"a": numpy.full(2, 3.0)}, "step-1.safetensors")
    same = os.fstat(held.fileno()).st_ino == os.stat("step-1.safetensors").st_ino
print(f"{safetensors.__version__}  link stays {stays}, what it means has {means}; hard link has {second}; the open file is it {same}")
PY
for version in 0.7.0 0.8.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q "numpy==2.3.5" "safetensors==$version"
    mkdir "$folder/$version.d"
    (cd "$folder/$version.d" && "$folder/$version/bin/python" "$folder/try.py")
done > "$folder/seen"
cat "$folder/seen"
cat > "$folder/expected" <<'TXT'
0.7.0  link stays True, what it means has [1. 1.]; hard link has [2. 2.]; the open file is it True
0.8.0  link stays False, what it means has [0. 0.]; hard link has [0. 0.]; the open file is it False
TXT
cmp "$folder/seen" "$folder/expected"
