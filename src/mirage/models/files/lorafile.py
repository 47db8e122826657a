"""What a LoRA's file holds, in whichever layout; nothing large is read before it is asked for.

    lora = read_lora(open_checkpoint("style.safetensors"))     # pairs, ranks and alphas, from the header
    lora.pairs["blocks.0.attn1.to_q"]                          # what the file calls its A and its B

    weight' = weight + (alpha / rank) * B @ A               A [rank,in], B [out,rank]; a convolution's have more axes
    bias'   = bias + diff_b, and so on                      `added`: differences of a weight or bias itself

Alpha is, in this order: what is asked for; a tensor `.alpha` beside the pair; `lora_alpha` in the header as diffusers
writes it, or in the adapter_config.json of PEFT's own adapter_model file; else the rank, which is how DiffSynth and the
published code apply their files. `loras.py` puts LoRAs onto a transformer.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.source import object_of, read_object
from mirage.models.files.checkpoint import SHOWN, Checkpoint
from mirage.models.files.keys import bare, lora_module, lora_part, other_adapter

FORMAT = "mirage-lora"
HOLDS = "the configuration of a LoRA"
REFUSED = ("use_dora", "use_qalora", "layer_replication", "alora_invocation_tokens", "modules_to_save")
"""Settings of PEFT with which a LoRA is more than its matrices."""
REBASED = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways of PEFT to begin a LoRA that change the weights which it is added to."""


@dataclass(frozen=True)
class LoraFile:
    """A LoRA that was looked at and not read yet. Modules and parameters have their names in diffusers.

    pairs       module -> what the file calls its A and its B
    rank, alpha per module
    added       parameter -> what the file calls its difference, and what that is multiplied by
    """

    source: Path
    pairs: Mapping[str, tuple[str, str]]
    rank: Mapping[str, int]
    alpha: Mapping[str, float]
    added: Mapping[str, tuple[str, float]]
    weights: Checkpoint

    def state(self) -> dict[str, Tensor]:
        """A and B of each pair, by the names of diffusers and PEFT, without a prefix."""
        return {
            f"{module}.lora_{part}.weight": self.read(name)
            for module, pair in self.pairs.items()
            for part, name in zip("AB", pair, strict=True)
        }

    def read(self, name: str) -> Tensor:
        """One tensor by the file's own name; fp8, which no product takes, as float32."""
        value = self.weights.read(name)
        return value.float() if value.element_size() == 1 else value

    def product(self, module: str) -> Tensor:
        """What a pair adds to its weight, B @ A times alpha / rank, float32; [out,in], a convolution's flattened."""
        a, b = (self.read(name).float().flatten(1) for name in self.pairs[module])
        return self.alpha[module] / self.rank[module] * b @ a

    def only(self, modules: Collection[str]) -> "LoraFile":
        """Without the pairs of other modules."""
        return replace(
            self,
            pairs={module: pair for module, pair in self.pairs.items() if module in modules},
            rank={module: rank for module, rank in self.rank.items() if module in modules},
            alpha={module: alpha for module, alpha in self.alpha.items() if module in modules},
        )

    def config(self) -> dict[str, Any]:
        """As PEFT's `LoraConfig` takes it."""
        if not self.pairs:
            return {}
        rank = Counter(self.rank.values()).most_common(1)[0][0]
        alpha = Counter(self.alpha.values()).most_common(1)[0][0]
        return {
            "r": rank,
            "lora_alpha": alpha,
            "rank_pattern": {module: value for module, value in self.rank.items() if value != rank},
            "alpha_pattern": {module: value for module, value in self.alpha.items() if value != alpha},
            "target_modules": sorted(self.pairs),
        }


def read_lora(weights: Checkpoint, *, alpha: float | None = None) -> LoraFile:
    """What LoRA a checkpoint holds; every tensor has its place, or the file is refused. alpha: instead of what it says.

    Adapters of other kinds (DoRA, LoKr, LoHa, ...) are refused by their name.
    """
    if other := next((f"{kind}: {name}" for name in weights.shapes if (kind := other_adapter(name))), None):
        raise InputError(f"{weights.source} is no plain LoRA but {other}; accepted: LoRA, pairs of A and B")
    weights.only(name for name in weights.shapes if not name.endswith(".alpha")).check_numbers()  # 16 may be an integer
    parts, strangers = _sorted(weights)
    if strangers or not parts:
        more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
        names = ", ".join(f"{name} {list(weights.shapes[name])}" for name in sorted(strangers)[:SHOWN])
        raise InputError(f"{weights.source} is no LoRA of Wan2.2's transformer: "
                         f"{f'no place or no pair for {names}{more}' if names else 'it is empty'}")  # fmt: skip
    pairs = {module: (held["A"], held["B"]) for module, held in parts.items() if "A" in held}
    rank: dict[str, int] = {}
    for module, names in pairs.items():
        a, b = (weights.shapes[name] for name in names)
        if min(len(a), len(b)) < 2 or a[0] != b[1] or a[0] == 0 or math.prod(b[2:]) != 1:
            raise InputError(f"{weights.source}: A {list(a)} and B {list(b)} of {module} do not multiply")
        rank[module] = a[0]
    said = _said(weights)
    alphas = {
        module: _checked(
            _alpha(weights, names[0], rank[module], parts[module].get("alpha"), said, alpha), weights.source
        )
        for module, names in pairs.items()
    }
    return LoraFile(weights.source, pairs, rank, alphas, _added(weights, parts, rank, alphas), weights)


def save_lora(path: str | os.PathLike[str], lora: LoraFile, *, dtype: torch.dtype | None = None) -> None:
    """One file in diffusers' own layout (`transformer.*`, its configuration in the header), whole or not at all.

    Differences of weights and biases, which diffusers has no names for, are `transformer.*.diff` and `diff_b`.
    """
    state = {f"transformer.{name}": value.to(dtype).contiguous() for name, value in lora.state().items()}
    for parameter, (name, times) in lora.added.items():
        module, _, leaf = parameter.rpartition(".")
        target = {"weight": f"{module}.diff", "bias": f"{module}.diff_b"}.get(leaf, f"{parameter}.diff")
        state[f"transformer.{target}"] = (times * lora.read(name)).to(dtype).contiguous()
    config = {f"transformer.{name}": value for name, value in lora.config().items()}
    header = {"format": "pt", "mirage": FORMAT, "lora_adapter_metadata": json.dumps(config)}
    with replacing(path, alone=True) as beside:
        save_file(state, beside, metadata=header)


def _sorted(weights: Checkpoint) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Module in diffusers -> part -> name in the file; and the names that have no place there."""
    parts: dict[str, dict[str, str]] = {}
    strangers = []
    for name in weights.shapes:
        module = lora_module(part[0]) if (part := lora_part(name)) else None
        if part is None or module is None:
            strangers.append(name)
        elif parts.setdefault(module, {}).setdefault(part[1], name) != name:
            raise InputError(f"{weights.source} holds {part[1]} of {module} twice: {parts[module][part[1]]}, {name}")
    for held in parts.values():
        lonely = {"A", "B"} & held.keys() if len({"A", "B"} & held.keys()) == 1 else set()
        lonely |= {"alpha", "B bias"} & held.keys() if not {"A", "B"} <= held.keys() else set()
        strangers += [held[part] for part in sorted(lonely)]
    return parts, strangers


def _added(
    weights: Checkpoint, parts: Mapping[str, Mapping[str, str]], rank: Mapping[str, int], alpha: Mapping[str, float]
) -> dict[str, tuple[str, float]]:
    added: dict[str, tuple[str, float]] = {}
    for module, held in parts.items():
        lone = module.endswith("scale_shift_table")  # a parameter itself, without weight or bias
        if "weight" in held:
            added[module if lone else f"{module}.weight"] = (held["weight"], 1.0)
        if "bias" in held:
            added[f"{module}.bias"] = (held["bias"], 1.0)
        if "B bias" in held:
            if "bias" in held:
                raise InputError(f"{weights.source} holds the bias of {module} twice: {held['bias']}, {held['B bias']}")
            added[f"{module}.bias"] = (held["B bias"], alpha[module] / rank[module])
    return added


def _alpha(
    weights: Checkpoint, name: str, rank: int, tensor: str | None, said: Mapping[str, Any], asked: float | None
) -> Any:
    """Of the pair whose A has that name, by PEFT's rule where the file or its neighbour has a configuration."""
    part = lora_part(name)
    module = part[0].removeprefix("base_model.model.") if part else name
    expected = _by_pattern(said, "rank", module, said.get("r"), source=weights.source)
    if expected is not None and expected != rank:
        raise InputError(f"{weights.source}: its configuration says rank {str(expected)[:40]} for {module}, "
                         f"whose matrices have {rank}")  # fmt: skip
    if asked is not None:
        return asked
    if tensor is not None:
        if weights.shapes[tensor] not in ((), (1,)):
            raise InputError(
                f"{weights.source}: {tensor} has shape {list(weights.shapes[tensor])}; expected one number"
            )
        return weights.read(tensor).float().item()
    value = _by_pattern(said, "alpha", module, said.get("lora_alpha", rank), source=weights.source)
    # rank-stabilised: the scale is alpha / sqrt(rank)
    return value * math.sqrt(rank) if said.get("use_rslora") and isinstance(value, int | float) else value


def _by_pattern(said: Mapping[str, Any], kind: str, module: str, default: Any, *, source: Path) -> Any:
    """PEFT's rule: the first pattern, a regular expression, that the module's name is or ends with after a dot."""
    for pattern, value in said[f"{kind}_pattern"].items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module) or re.match(rf"(.*\.)?({pattern})$", bare(module)):
                return value
        except re.error as error:
            raise InputError(f"{source} has the {kind}_pattern {pattern[:40]!r}, no regular expression") from error
    return default


def _checked(alpha: Any, source: Path) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
        raise InputError(f"{source} has alpha {str(alpha)[:40]}; expected a number of size below a million")
    return float(alpha)


def _said(weights: Checkpoint) -> dict[str, Any]:
    """The LoRA's configuration: from the header as diffusers writes it, or from beside PEFT's adapter_model."""
    folder = weights.source if weights.source.is_dir() else weights.source.parent
    beside = folder / "adapter_config.json"
    names = (
        [file.name for file in folder.glob("adapter_model.*")] if folder == weights.source else [weights.source.name]
    )
    own = beside.is_file() and any(name.startswith("adapter_model.") for name in names)
    if "lora_adapter_metadata" in weights.metadata:
        where = f"{weights.source}: its configuration"
        said = object_of(weights.metadata["lora_adapter_metadata"], source=where, accepts=HOLDS)
    else:
        said = read_object(beside, accepts=HOLDS) if own else {}
    plain = {name.removeprefix("transformer."): value for name, value in said.items()}
    if (kind := plain.get("peft_type")) not in (None, "LORA"):
        raise InputError(f"{weights.source} is an adapter of kind {str(kind)[:40]}; accepted: LORA")
    if odd := [name for name in REFUSED if plain.get(name)]:
        raise InputError(f"{weights.source} is a LoRA with {odd[0]}; accepted: a plain one")
    if str(plain.get("init_lora_weights")).startswith(REBASED):
        raise InputError(f"{weights.source} is a LoRA begun by {plain['init_lora_weights']}, which changes its "
                         f"backbone; accepted: one that PEFT made a plain one of when it was saved")  # fmt: skip
    patterns = {name: plain.get(name) for name in ("alpha_pattern", "rank_pattern")}
    return {**plain, **{name: value if isinstance(value, dict) else {} for name, value in patterns.items()}}
