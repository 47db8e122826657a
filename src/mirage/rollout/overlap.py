"""Decoding beside denoising: while the next chunk is made, a second thread decodes the last one.

    this thread    make 0 | make 1   | make 2   | wait
    second thread         | decode 0 | decode 1 | decode 2         on a GPU in a stream of its own
    handed out                       0          1         2

What comes out is what asking each chunk for its frames gives, to the bit and in the same order, one chunk later.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from mirage.models.world import WorldModel
from mirage.rollout.chunk import Chunk


def overlapped(chunks: Iterable[Chunk], *, device: torch.device | str) -> Iterator[Chunk]:
    """The chunks of a walk on `device`, in order, each with its frames decoded.

    What the decoder raises is raised here, in place of its chunk. If making a chunk fails or is stopped, those made
    before still come, and then the exception. Who stops asking waits for at most the decoding at hand; nothing runs on.
    """
    made, device = iter(chunks), torch.device(device)
    beside = torch.cuda.Stream(device) if device.type == "cuda" else None
    worker = ThreadPoolExecutor(max_workers=1)
    decoding: Future[Chunk] | None = None
    ended: BaseException | None = None
    try:
        while ended is None:
            following: Future[Chunk] | None = None
            try:
                following = worker.submit(_decoded, next(made), beside, _now(beside))
            except BaseException as error:  # also Ctrl-C; raised again below
                ended = error
            if decoding is not None:
                yield decoding.result()
            decoding = following
    finally:
        worker.shutdown(cancel_futures=True)
    if not isinstance(ended, StopIteration):
        raise ended


def overlaps(model: WorldModel) -> bool:
    """Whether it is worth it and possible: on a GPU, and with the autoencoder there while other networks run. A CPU is
    busy already."""
    return model.runs_on.type == "cuda" and model.offload == "none"


def _decoded(chunk: Chunk, beside: torch.cuda.Stream | None, asked_in: torch.cuda.Stream | None) -> Chunk:
    """The chunk with its frames there, made in the stream `beside` for those who work in `asked_in`."""
    if beside is None or asked_in is None:
        _ = chunk.frames
    else:
        beside.wait_stream(asked_in)
        with torch.cuda.stream(beside):
            chunk.frames.record_stream(asked_in)
    return chunk


def _now(beside: torch.cuda.Stream | None) -> torch.cuda.Stream | None:
    """The stream in which the caller works."""
    return None if beside is None else torch.cuda.current_stream(beside.device)
