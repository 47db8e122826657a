#!/bin/sh
# A fragmented MP4 that is flushed after every frame still lacks the newest one: a process that is killed loses it.
#
# Versions:  av 18.1.0 (libavformat 62.12.102 of FFmpeg 8.1.2), numpy 2.4.6
# Expected:  with movflags frag_every_frame and fflags flush_packets, a file that is being written holds every frame whose
#            packets were muxed: the point of fragments is that what is there plays after a kill. The more so once the
#            encoder has been drained (`encode(None)`), when no packet is left in it.
# Behaviour: the muxer writes a fragment when the *next* packet comes, so the newest frame stays in memory until more follow
#            or the container is closed; PyAV has no call for libavformat's flush (`av_write_frame(s, NULL)`). Matroska is
#            the same with a whole cluster: nothing can be read until 5 s or 5 MB are over. Who writes a film in chunks and
#            wants the finished ones after SIGKILL must close a muxer a chunk (movflags frag_discont keeps the clock) and
#            append its boxes to the file.
# Seen:      8 of 8 packets muxed, encoder drained: mp4 holds 7 frames, mkv 0; after close() both hold 8.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "av==18.1.0" "numpy==2.4.6"
cat > "$folder/try.py" <<'PY'
import sys

import av
import numpy as np


def readable(path):
    try:
        with av.open(path) as film:
            return sum(1 for _ in film.decode(video=0))
    except (av.FFmpegError, FileNotFoundError, IndexError):
        return 0


seen = {}
for suffix, flags in ((".mp4", "+frag_every_frame+empty_moov+default_base_moof"), (".mkv", None)):
    path = sys.argv[1] + "/film" + suffix
    options = {"fflags": "+flush_packets", **({"movflags": flags} if flags else {})}
    film = av.open(path, "w", options=options)
    stream = film.add_stream("libx264", rate=16)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    muxed = 0
    for number in range(8):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), format="rgb24")
        for packet in stream.encode(frame.reformat(format="yuv420p")):
            film.mux(packet)
            muxed += 1
    for packet in stream.encode(None):
        film.mux(packet)
        muxed += 1
    before = readable(path)
    film.close()
    seen[suffix] = muxed, before, readable(path)
    print(f"{suffix}: {muxed} packets muxed, {before} frames can be read, {seen[suffix][2]} after close()")
assert seen[".mp4"] == (8, 7, 8), "the MP4 muxer no longer holds the newest frame back"
assert seen[".mkv"] == (8, 0, 8), "the Matroska muxer no longer holds its cluster back"
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder"
