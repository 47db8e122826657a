"""The published training data (`formats/published.py`) becomes ready-made chunks (`clips.py`)."""

import json
import time
from pathlib import Path
from typing import Any

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.published import read_sample, sample_names
from mirage.training import parallel
from mirage.training.clips import ReadyChunk, chunk_path, save_chunk


def prepare_published(folder: Path, out: Path) -> dict[str, Any]:
    """Every sample of the published layout, packed in LMDB or not, as a chunk in `out`; what is there is not made
    again, what cannot be read is listed in the report. Processes that call this together share the work."""
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    left_out = []
    names = sample_names(folder)
    for i, (shard, name) in enumerate(names):
        path = chunk_path(out, f"{shard.stem}-{name}")
        if i % parallel.world_size() != parallel.rank() or path.is_file():
            continue
        try:
            sample = read_sample(shard, name)
        except InputError as error:
            left_out.append({"name": f"{shard.stem}/{name}", "stage": "read", "reason": str(error)})
            continue
        chunk = ReadyChunk(
            sample.target,
            sample.projection,
            sample.preceding,
            sample.references,
            sample.caption,
            sample.preceding_projection,
        )
        save_chunk(path, chunk)
    parallel.wait()
    files = list(out.glob("chunk-*.safetensors"))
    content = {
        "clips": len(files),
        "skipped": len(names) - len(files),
        "bytes": sum(f.stat().st_size for f in files),
        "seconds": {"read": round(time.perf_counter() - started, 2)},
        "left_out": left_out,
    }
    if parallel.rank() == 0:
        with replacing(out / "report.json") as beside:
            beside.write_text(json.dumps(content, indent=1))
        with replacing(out / "report.txt") as beside:
            beside.write_text(
                f"{len(files)} chunks of {len(names)} samples\n"
                + "".join(f"left out {one['name']}: {one['reason']}\n" for one in left_out)
            )
    return content
