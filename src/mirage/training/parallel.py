"""Several processes: each works on its own batch, gradients are averaged; or the weights themselves are shared out.

On a CPU two processes of one thread train small convolutions nearly twice as fast as one process of two threads. They
are started here (`launch`), or by torchrun or `accelerate launch`, on one machine or many: both set the same variables.

With `shard` (FSDP2, torch's `fully_shard`) a process keeps its piece of each weight, gradient and state, and has whole
weights only of the block at work. `local` is that piece, `shared` the tensor of such pieces, `piece` the part of a
whole tensor.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterable
from multiprocessing import parent_process
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mirage.errors import InputError
from mirage.training.stopping import Stop, signals_noted

# glibc gives large blocks back to the system at once and asks for them again at the next step; a third of a small
# model's training time can go into that. Read by a process as it starts.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_TOP_PAD_": str(1 << 28)}


def launch(work: Callable[..., None], *args: object, processes: int) -> None:
    """Run `work(*args)` in `processes` processes that see each other (gloo); in this one if it is 1, or if torchrun
    has started this one as one of several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        try:
            work(*args)
        finally:
            dist.destroy_process_group()
    elif processes == 1:
        work(*args)
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ.update(ALLOCATOR)
        _start(processes, port, work, args)


def _start(processes: int, port: int, work: Callable[..., None], args: tuple) -> None:
    """In processes of their own, which hear what signals this one hears. What is wrong with the request is raised here
    as it was there."""
    stop = Stop()
    with signals_noted(stop):
        context = mp.start_processes(
            _enter, (processes, port, work, args), nprocs=processes, start_method="spawn", join=False
        )
        assert context is not None
        started: Any = context.processes
        told = False
        try:
            while not context.join(timeout=0.2):
                if stop.asked and not told:
                    told = True
                    for process in started:
                        if process.is_alive():
                            os.kill(process.pid, signal.Signals[stop.asked])
        except mp.ProcessRaisedException as error:
            last = str(error).rstrip().splitlines()[-1]
            marker = f"{InputError.__module__}.{InputError.__qualname__}: "
            if last.startswith(marker):
                raise InputError(last.removeprefix(marker)) from error
            raise
        except mp.ProcessExitedException:
            if not stop.asked:
                raise
    if stop.asked:
        raise stop.raised(f"stopped by {stop.asked}; the same command goes on from here")


def _enter(rank: int, processes: int, port: int, work: Callable[..., None], args: tuple) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    try:
        work(*args)
    finally:
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """A process whose parent was killed would go on, and write into a run that somebody has taken up again."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def any_of(word: bool) -> bool:
    """Whether one of the processes says so."""
    if world_size() == 1:
        return word
    said = torch.tensor(int(word), device=_device())
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


def each(values: list[float]) -> Tensor:
    """What every process has [processes, n], for all."""
    mine = torch.tensor(values, dtype=torch.float64, device=_device() if world_size() > 1 else None)
    if world_size() == 1:
        return mine[None]
    rows = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(rows, mine)
    return torch.stack(rows)


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes; a missing one counts as zero. Those of shared-out weights
    are means already."""
    parameters = [p for p in parameters if not isinstance(p, DTensor)]
    if world_size() == 1 or not parameters:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= world_size()
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> float:
    """Scale gradients down to a norm of `limit` over all of them together; returns the norm before."""
    if not any(isinstance(p, DTensor) for p in parameters):
        return float(nn.utils.clip_grad_norm_(parameters, limit))
    squares = [torch.zeros((), device=_device()), torch.zeros((), device=_device())]
    for p in parameters:
        if p.grad is not None:
            squares[isinstance(p, DTensor)] += local(p.grad).float().square().sum()
    dist.all_reduce(squares[1])
    norm = (squares[0] + squares[1]).sqrt()
    for p in parameters:
        if p.grad is not None:
            local(p.grad).mul_((limit / (norm + 1e-6)).clamp_max(1.0))
    return float(norm)


def average(value: float) -> float:
    """Mean of a number over the processes."""
    if world_size() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=_device())
    dist.all_reduce(tensor)
    return float(tensor / world_size())


def shard(network: nn.Module, blocks: Iterable[nn.Module], *, bf16: bool) -> None:
    """Share out the weights of `network`, each of its `blocks` by itself and all the rest together.

    A block's weights are gathered when it is called; those of the rest when `network` itself is, so it must be.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(network, mp_policy=policy)


def local(tensor: Tensor) -> Tensor:
    """This process's piece; all of it where nothing is shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shared(part: Tensor, like: Tensor) -> Tensor:
    """What is `part` here as a tensor that is shared out as `like`, in the same memory; itself, where that is not."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())


def is_shared(tensor: Tensor) -> bool:
    """Whether this process has a piece of it only."""
    return isinstance(tensor, DTensor)


def piece(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor that every process has."""
    if not isinstance(like, DTensor):
        return full
    there = full.to(like.device)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None).to_local()


def _device() -> torch.device:
    """Where the processes talk."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
