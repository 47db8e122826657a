#!/bin/sh
# Ctrl-C (or any exception of a signal handler) while safetensors gives a tensor to torch may come out as a ValueError.
#
# Version:   torch 2.13.0, safetensors 0.8.0
# Expected:  KeyboardInterrupt, which `except Exception` does not catch: a loader that says "this checkpoint is damaged" for every
#            ValueError, or tries the next file, is not fooled by somebody who wants to stop.
# Behaviour: safetensors cuts the tensor out of torch's storage in Python and hands it to torch, which asks it for a first item
#            to find its shape. What is raised meanwhile is dropped and replaced by "could not determine the shape of object type",
#            with neither cause nor context; so with torch.tensor and any sequence. A moment earlier it is a KeyboardInterrupt.
#            Nothing is stopped: the interrupt is used up, and who goes on after the ValueError goes on.
# Seen:      2.13.0 0.8.0
#            item 1 of the storage: KeyboardInterrupt
#            item 2 of the storage: ValueError: could not determine the shape of object type 'torch.storage.UntypedStorage'
#            a sequence of one's own: ValueError: could not determine the shape of object type 'Rows'
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "safetensors==0.8.0" "numpy==2.3.5"
cat > "$folder/try.py" <<'PY'
import os
import signal
import sys

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file


def came(work):
    try:
        work()
    except BaseException as error:
        words = f": {error}" if str(error) else ""
        return f"{type(error).__name__}{words}{' (has a cause)' if error.__cause__ or error.__context__ else ''}"
    finally:
        sys.setprofile(None)
    return "nothing"


def read(number):
    """The tensor, with Ctrl-C where torch's storage is asked for an item for the number-th time."""
    asked = []

    def look(frame, event, _):
        if event == "call" and frame.f_code.co_name == "__getitem__" and "storage" in frame.f_code.co_filename:
            asked.append(frame)
            if len(asked) == number:
                os.kill(os.getpid(), signal.SIGINT)

    with safe_open("a.safetensors", framework="pt") as file:
        sys.setprofile(look)
        file.get_tensor("a")


class Rows:
    def __len__(self):
        return 3

    def __getitem__(self, at):
        os.kill(os.getpid(), signal.SIGINT)
        return float(at)


signal.signal(signal.SIGINT, signal.default_int_handler)
save_file({"a": torch.zeros(3, 4)}, "a.safetensors")
print(torch.__version__.split("+")[0], safetensors.__version__)
for number in (1, 2):
    print(f"item {number} of the storage:", came(lambda: read(number)))
print("a sequence of one's own:", came(lambda: torch.tensor(Rows())))
PY
(cd "$folder" && venv/bin/python -W ignore try.py) > "$folder/seen"
cat "$folder/seen"
cat > "$folder/expected" <<'TXT'
2.13.0 0.8.0
item 1 of the storage: KeyboardInterrupt
item 2 of the storage: ValueError: could not determine the shape of object type 'torch.storage.UntypedStorage'
a sequence of one's own: ValueError: could not determine the shape of object type 'Rows'
TXT
cmp "$folder/seen" "$folder/expected"
