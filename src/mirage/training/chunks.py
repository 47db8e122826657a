"""Ready-made chunks on disk: the published training data, which has projections in place of cameras and depth.

One safetensors file a chunk, made from LMDB (formats/published.py) by `prepare_published`, the caption in its header:
    target f16 [T,C,h,w], memory f16 [T,C,h,w], preceding f16 [P,C,h,w], references f16 [R,C,h,w]
A cell of the memory whose channels are all zero is a hole; that is how the published projection says it.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.published import read_sample, sample_names
from mirage.models.condition import Condition
from mirage.training import parallel


@dataclass(frozen=True)
class ReadyChunk:
    """`target` and `memory` [T,C,h,w] with `known` [T,h,w], `preceding` and `references` [n,C,h,w], `caption`."""

    target: Tensor
    memory: Tensor
    preceding: Tensor
    references: Tensor
    caption: str

    @property
    def known(self) -> Tensor:
        return (self.memory != 0).any(dim=1)

    def condition(self, text: Tensor, *, preceding: int, references: int) -> Condition:
        """As many preceding and reference frames as asked, the newest and the first ones; where there are fewer, the
        chunk's own first frame stands in. Cameras are not known: offsets and rays are 0, as are memory's holes."""
        memory = rearrange(self.memory, "t c h w -> 1 c t h w")
        first = self.target[:1]
        before = torch.cat([first.expand(preceding, -1, -1, -1), self.preceding])[len(self.preceding) :]
        views = torch.cat([self.references, first.expand(references, -1, -1, -1)])[:references]
        return Condition(
            memory=memory,
            mask=rearrange(self.known.float(), "t h w -> 1 1 t h w"),
            offset=torch.zeros_like(memory[:, :1]).expand(-1, 2, -1, -1, -1),
            rays=torch.zeros_like(memory[:, :1]).expand(-1, 6, -1, -1, -1),
            first=rearrange(first, "t c h w -> 1 c t h w"),
            preceding=rearrange(before, "t c h w -> 1 c t h w"),
            references=rearrange(views, "t c h w -> 1 c t h w"),
            text=text,
        )


def load_chunk(path: Path) -> ReadyChunk:
    with safe_open(path, framework="pt") as file:
        held = {key: file.get_tensor(key).float() for key in file.keys()}
        caption = (file.metadata() or {}).get("caption", "")
    if held.keys() != {"target", "memory", "preceding", "references"}:
        raise InputError(f"{path} is no ready-made chunk; it holds {', '.join(sorted(held))}")
    return ReadyChunk(held["target"], held["memory"], held["preceding"], held["references"], caption)


def prepare_published(folder: Path, out: Path) -> dict[str, Any]:
    """Every sample of the published LMDB as a chunk in `out`; what is there is not made again, what cannot be read is
    listed in the report. Processes that call this together share the work."""
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    left_out = []
    names = sample_names(folder)
    for i, (shard, name) in enumerate(names):
        path = out / f"chunk-{shard.stem}-{name}.safetensors"
        if i % parallel.world_size() != parallel.rank() or path.is_file():
            continue
        try:
            sample = read_sample(shard, name)
        except InputError as error:
            left_out.append({"name": f"{shard.stem}/{name}", "stage": "read", "reason": str(error)})
            continue
        tensors = {
            "target": sample.target,
            "memory": sample.projection,
            "preceding": sample.preceding,
            "references": sample.references,
        }
        with replacing(path) as beside:
            save_file(
                {k: t.half().contiguous() for k, t in tensors.items()}, beside, metadata={"caption": sample.caption}
            )
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
