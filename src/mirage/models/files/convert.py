"""Other people's checkpoints -> our layout: `convert` is all of it; read it first.

    Wan2.2-TI2V-5B/  diffusion_pytorch_model-0000*-of-*.safetensors   -> transformer/      a folder in diffusers layout,
                     Wan2.2_VAE.pth                                   -> vae/              which diffusers loads too
                     models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl -> text_encoder/, tokenizer/
    ComfyUI's three  wan2.2_ti2v_5B_fp16, wan2.2_vae, umt5_xxl_fp8_e4m3fn_scaled    -> the same: a file is told by what
                     it holds, not by its name
    a published side branch (vace_*)                                  -> branch.safetensors
    a LoRA (pipe.dit.*, PEFT)                                         -> lora.safetensors

Every tensor must have its place, by name and shape, in a network built from the file's own sizes on the meta device.
Weights go from file to file a shard at a time, so memory does not grow with the model; fp8 weights with a scale become
the float32 numbers that they stand for. `parts.py` builds the networks.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from mirage.errors import InputError
from mirage.files import check_writable, making
from mirage.formats.source import read_bytes, read_object
from mirage.models import wan22
from mirage.models.files.branchfile import BranchFile, save_branch
from mirage.models.files.checkpoint import Checkpoint, one_line, open_checkpoint, open_folder
from mirage.models.files.lorafile import LoraFile, save_lora
from mirage.models.files.parts import NETWORKS, Network, Part, parts_of
from mirage.models.files.scaled import unscaled
from mirage.models.files.sentencepiece import tokenizer_of
from mirage.models.loading import quiet

SHARD_BYTES = 2 * 2**30
ONE_FILE = ".safetensors"


WHOLE = {
    "transformer": "transformer (diffusion_pytorch_model*.safetensors, wan2.2_ti2v_5B*.safetensors)",
    "vae": "VAE (Wan2.2_VAE.pth, wan2.2_vae.safetensors)",
    "text_encoder": "text encoder (models_t5_umt5-xxl-*.pth, umt5_xxl*.safetensors)",
    "tokenizer": "tokenizer (google/umt5-xxl/tokenizer.json, or inside ComfyUI's umt5)",
}
"""What a whole model is of, and what people have it as."""
SPIECE = "spiece_model"
"""What ComfyUI calls the tokenizer inside its umt5 file."""


def convert(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    dtype: torch.dtype | None = None,
    heads: int | None = None,
    alpha: float | None = None,
    branch_layers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Path]:
    """Convert files or a folder and return what was written, by kind. `InputError` says what did not match.

    A model comes whole or not at all, but for a tokenizer that can not be read: it stays as it came, see
    `tokenizer_fault`.

    source         a file, a folder, or several: the parts of one model
    out            a .safetensors file for a branch or a LoRA alone; else a new folder. Whole or not at all.
    dtype          of the weights written; None: as they are stored, float32 where fp8 had a scale
    heads          attention heads, where no config.json says so; None: one for every 128 channels, as in all of Wan
    alpha          of a LoRA, instead of what it says
    branch_layers  of the backbone, that a published branch hints; None: as many blocks as it has usually do
    progress       called with how many weights are done, and of how many
    """
    sources = [Path(one) for one in ([source] if isinstance(source, str | Path) else source)]
    out = Path(out)
    parts, tokenizer = _looked_at(sources, heads=heads, alpha=alpha, branch_layers=branch_layers)
    total = sum(part.numel(name) for part in parts.values() if isinstance(part, Network) for name in part.names)
    done = 0

    def show(added: int) -> None:
        nonlocal done
        done += added
        progress(done, total)

    if out.suffix == ONE_FILE:
        if len(parts) != 1 or isinstance(next(iter(parts.values())), Network):
            raise InputError(
                f"{_named(sources)} holds {', '.join(parts)}; expected a folder to write, got the file {out}"
            )
        check_writable(out)
        ((kind, part),) = parts.items()
        _write(part, out, dtype, show)
        return {kind: out}
    with making(out) as folder:
        for kind, part in parts.items():
            _write(part, folder / (kind if isinstance(part, Network) else f"{kind}{ONE_FILE}"), dtype, show)
        if tokenizer is not None:
            tokenizer.write(folder)
    return {kind: out / (kind if isinstance(part, Network) else f"{kind}{ONE_FILE}") for kind, part in parts.items()}


def tokenizer_fault(model: Path) -> str | None:
    """What is wrong with the tokenizer of a converted model; None: nothing."""
    if (file := model / "tokenizer" / "spiece.model").is_file():
        try:
            tokenizer_of(read_bytes(file, accepts="a tokenizer"), source=file)
        except InputError as error:
            return str(error)
    return None


# -- what is there ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tokenizer:
    """Of a whole model; where the bytes that came are no tokenizer, they themselves."""

    tokenizer: PreTrainedTokenizerBase | None
    data: bytes = b""

    def write(self, folder: Path) -> None:
        """The tokenizer, the scheduler that Wan2.2 has, and the index that makes a model of the folder."""
        name = "T5TokenizerFast" if self.tokenizer is None else type(self.tokenizer).__name__
        with quiet():
            if self.tokenizer is None:
                (folder / "tokenizer").mkdir()
                (folder / "tokenizer" / "spiece.model").write_bytes(self.data)
            else:
                self.tokenizer.save_pretrained(folder / "tokenizer")
            UniPCMultistepScheduler(**wan22.SCHEDULER).save_pretrained(folder / "scheduler")
        index = {**wan22.INDEX, "tokenizer": ["transformers", name]}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _looked_at(
    sources: list[Path], *, heads: int | None, alpha: float | None, branch_layers: Sequence[int] | None
) -> tuple[dict[str, Part], _Tokenizer | None]:
    """The parts in files or folders, by kind, and the tokenizer of a whole model."""
    for source in sources:
        if source.is_dir() and (source / "model_index.json").is_file():
            raise InputError(f"{source} is in diffusers layout already; it loads as it is")
    opened = [
        one for source in sources for one in (open_folder(source) if source.is_dir() else [open_checkpoint(source)])
    ]
    parts: dict[str, Part] = {}
    spiece: list[tuple[Checkpoint, str]] = []
    for weights in opened:
        weights = unscaled(weights)
        inside = [name for name in weights.shapes if name.rpartition(".")[2] == SPIECE]
        spiece += [(weights, name) for name in inside]
        if not (alone := weights.only(name for name in weights.shapes if name not in inside)).shapes:
            raise InputError(f"{weights.source} holds no tensors")
        its = parts_of(alone, heads=heads or _said_heads(weights.source), alpha=alpha, branch_layers=branch_layers)
        for kind, part in its.items():
            if kind in parts:
                raise InputError(f"{_named(sources)} has two files for the {kind.replace('_', ' ')}, "
                                 f"{parts[kind].weights.source.name}, {weights.source.name}; expected one")  # fmt: skip
            parts[kind] = part
    if not parts:
        raise InputError(f"{_named(sources)} holds no weights; accepted: safetensors and PyTorch files")
    tokenizers = [file.parent for source in sources if source.is_dir() for file in source.glob("**/tokenizer.json")]
    tokenizers += [file.parent for source in sources if source.is_dir() for file in source.glob("**/spiece.model")]
    found = (NETWORKS.keys() & parts.keys()) | ({"tokenizer"} if tokenizers or spiece else set())
    alone = {"text_encoder", "tokenizer"} if spiece else {"tokenizer"}
    if len(found - alone) + bool(found & alone) <= 1 and found != {"tokenizer"}:
        return parts, None  # one network, or none
    if lacking := WHOLE.keys() - found:
        raise InputError(f"{_named(sources)} is no whole Wan2.2 model: it lacks the "
                         f"{', the '.join(what for kind, what in WHOLE.items() if kind in lacking)}")  # fmt: skip
    _check_fit(parts, _named(sources))
    return parts, _tokenizer(spiece, tokenizers)


def _tokenizer(spiece: list[tuple[Checkpoint, str]], folders: list[Path]) -> _Tokenizer:
    """From a folder, as the original release has it, or from inside ComfyUI's umt5."""
    if len(set(folders)) > 1:
        raise InputError(
            f"there are {len(set(folders))} tokenizers, in {', '.join(map(str, folders[:3]))}; expected one"
        )
    if not folders:
        weights, name = spiece[0]
        data = bytes(weights.read(name).to(torch.uint8).flatten().numpy())
        try:
            return _Tokenizer(tokenizer_of(data, source=weights.source))
        except InputError:
            return _Tokenizer(None, data)  # the networks are worth keeping; `tokenizer_fault` says the rest
    try:
        if not (folders[0] / "tokenizer.json").is_file():
            data = read_bytes(folders[0] / "spiece.model", accepts="a tokenizer")
            return _Tokenizer(tokenizer_of(data, source=folders[0]))
        with quiet():
            return _Tokenizer(AutoTokenizer.from_pretrained(folders[0], local_files_only=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the tokenizer in {folders[0]} does not load: {one_line(error)}") from error


def _check_fit(parts: dict[str, Part], source: str) -> None:
    """The three networks are for each other."""
    networks: Any = parts
    transformer, vae, text = (networks[kind].part.config for kind in NETWORKS)
    for what, its, expected in (
        ("channels of the VAE's latents", vae.z_dim, transformer.in_channels),
        ("channels of the text encoder", text.d_model, transformer.text_dim),
    ):
        if its != expected:
            raise InputError(f"{source}: the {what} are {its} and the transformer takes {expected}; expected parts of "
                             f"one model")  # fmt: skip


def _said_heads(source: Path) -> int | None:
    """What the original config.json beside the weights says; the weights do not."""
    file = (source if source.is_dir() else source.parent) / "config.json"
    heads = read_object(file, accepts="a configuration").get("num_heads") if file.is_file() else None
    if heads is not None and (type(heads) is not int or heads < 1):
        raise InputError(f"{file} says num_heads {str(heads)[:40]}; expected a whole number above 0")
    return heads


def _named(sources: list[Path]) -> str:
    return ", ".join(map(str, sources))


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(part: Part, target: Path, dtype: torch.dtype | None, show: Callable[[int], None]) -> None:
    if isinstance(part, BranchFile):
        save_branch(target, part.build(dtype))
    elif isinstance(part, LoraFile):
        save_lora(target, part, dtype=dtype)
    else:
        _write_network(part, target, dtype, show)


def _write_network(network: Network, folder: Path, dtype: torch.dtype | None, show: Callable[[int], None]) -> None:
    """config.json and weights, in shards of at most SHARD_BYTES, one of them in memory at a time."""
    folder.mkdir()
    part: Any = network.part
    with quiet():
        (part.config.save_pretrained if isinstance(part, UMT5EncoderModel) else part.save_config)(folder)
    stem = "model" if isinstance(part, UMT5EncoderModel) else "diffusion_pytorch_model"
    kept = set(getattr(part, "_keep_in_fp32_modules", None) or ())

    def numbers(name: str) -> torch.dtype:
        stored = network.weights.dtypes[network.names[name]]
        return stored if dtype is None or kept & set(name.split(".")) else dtype

    shards: list[list[str]] = [[]]
    held = 0
    for name in sorted(network.names):
        count = network.numel(name) * numbers(name).itemsize
        if shards[-1] and held + count > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += count
    where: dict[str, str] = {}
    size = 0
    for number, names in enumerate(shards, start=1):
        file = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        state: dict[str, Tensor] = {}
        for name in names:
            state[name] = network.weights.read(network.names[name]).to(numbers(name)).contiguous()
            show(network.numel(name))
        save_file(state, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
        size += sum(value.nbytes for value in state.values())
    if len(shards) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
