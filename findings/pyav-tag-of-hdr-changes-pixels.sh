#!/bin/sh
# PyAV's `dst_color_trc` is "metadata only" in its documentation; with the tags of HDR it changes pixels, with others not.
#
# Versions:  av 18.1.0 (libswscale of FFmpeg 8.1), numpy 2.4.6
# Expected:  the docstring of `VideoReformatter.reformat` says of dst_color_trc: "This sets frame metadata only; it does not
#            perform a pixel-level transfer function conversion." So RGB whose values are PQ or HLG already can be tagged as
#            such on its way to yuv420p10le, and is the same RGB when it comes back.
# Behaviour: tagged PQ (16) or HLG (18), libswscale takes the untagged source for SDR and converts its curve as well: of 255
#            levels some move by more than 100. Tagged BT.709 or linear, nothing moves, so it is no rule that a linear tag
#            would show. Setting `frame.color_trc` after `reformat` tags and changes nothing: that is the way to write HDR.
# Seen, most that a grey ramp of 256 levels changes by in rgb24:
#            dst_color_trc=BT709 0, LINEAR 0, HLG 63, PQ 107; frame.color_trc = PQ afterwards 0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "av==18.1.0" "numpy==2.4.6"
cat > "$folder/try.py" <<'PY'
import av
import numpy as np
from av.video.reformatter import ColorTrc, VideoReformatter

assert "metadata only" in VideoReformatter.reformat.__doc__, "the documentation says something else now"
ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (16, 256, 3)).copy()
frame = av.VideoFrame.from_ndarray(ramp, format="rgb24")


def moved(tagged):
    return int(np.abs(tagged.to_ndarray().astype(int) - ramp).max())


seen = {}
for name, curve in (
    ("BT709", ColorTrc.BT709),
    ("LINEAR", ColorTrc.LINEAR),
    ("HLG", ColorTrc.ARIB_STD_B67),
    ("PQ", ColorTrc.SMPTE2084),
):
    tagged = frame.reformat(format="rgb24", dst_color_trc=curve)
    assert tagged.color_trc == curve
    seen[name] = moved(tagged)
    print(f"dst_color_trc={name:7} most change {seen[name]}")
after = frame.reformat(format="rgb24")
after.color_trc = ColorTrc.SMPTE2084
print(f"frame.color_trc = PQ   most change {moved(after)}")
assert seen["BT709"] == seen["LINEAR"] == moved(after) == 0, "other tags change pixels too now"
assert seen["HLG"] > 40 and seen["PQ"] > 80, "tags of HDR change no pixels any more"
PY
"$folder/venv/bin/python" "$folder/try.py"
