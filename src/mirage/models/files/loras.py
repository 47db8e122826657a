"""LoRAs onto a transformer: several of them, each with its strength, their sum.

    load_loras(["style.safetensors:0.8", "steps.safetensors"], model.transformer)

    weight' = weight + sum over LoRAs of strength * (alpha / rank) * B @ A

Pairs on linear layers are attached by PEFT and not merged, so that weights of fewer bits keep theirs and
`transformer.unload_lora()` takes them off; convolutions, norms, biases and modulations, which come as differences, are
added to the weights themselves. A LoRA for another network is told from headers and configurations alone.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from mirage.errors import InputError
from mirage.models.files.checkpoint import Checkpoint, one_line, open_checkpoint
from mirage.models.files.keys import is_branch
from mirage.models.files.lora_spec import LoraSpec, lora_specs
from mirage.models.files.lorafile import LoraFile, read_lora

ADAPTER = "lora"

Given = str | Path | LoraSpec | Sequence[str | Path | LoraSpec] | None
Loras = Sequence[tuple[LoraSpec, LoraFile]]


def load_loras(given: Given, transformer: WanTransformer3DModel, *, alpha: float | None = None) -> None:
    """Put the LoRAs in these files onto the transformer; the adapters of PEFT are called "lora", "lora_2", ...

    alpha: instead of what the files say. `InputError` for one that does not fit, before the transformer is changed.
    """
    loras = read_loras(given, alpha=alpha)
    check_loras(loras, transformer)
    attach_loras(loras, transformer)


def read_loras(given: Given, *, branch: str | Path | None = None, alpha: float | None = None) -> Loras:
    """The files looked at, not read. branch: a branch's file, whose LoRA, if it has one, was trained with it: it comes
    first unless it is asked for by itself."""
    specs = asked_for(given, branch=branch)
    return [(spec, read_lora(_lora_alone(open_checkpoint(spec.path)), alpha=alpha)) for spec in specs]


def asked_for(given: Given, *, branch: str | Path | None = None) -> tuple[LoraSpec, ...]:
    """Every LoRA that will be put on, in order; see `read_loras`."""
    specs = lora_specs(given)
    if branch is not None and Path(branch).resolve() not in {spec.path.resolve() for spec in specs}:
        weights = open_checkpoint(branch)
        if (lora := _lora_alone(weights)).shapes and len(lora.shapes) < len(weights.shapes):
            return (LoraSpec(Path(branch)), *specs)
    return specs


def check_loras(loras: Loras, model: Path | WanTransformer3DModel) -> None:
    """`InputError` unless every LoRA is for this transformer, or that of a model's folder; no weights are read."""
    if not loras:
        return
    try:
        config: Any = (
            model.config if isinstance(model, nn.Module) else WanTransformer3DModel.load_config(model / "transformer")
        )
        with torch.device("meta"):
            expected: Any = WanTransformer3DModel.from_config(dict(config))
    except (OSError, ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"model {model} has no usable configuration of its transformer: {one_line(error)}") from error
    shapes = {name: tuple(value.shape) for name, value in expected.named_parameters()}
    for spec, lora in loras:
        of = lora.weights.shapes
        for module, (a, b) in lora.pairs.items():
            its = shapes.get(f"{module}.weight")
            if its is None or len(its) < 2:
                raise InputError(f"LoRA {spec.path} is for {module}, which is no layer of this model")
            found = (of[b][0], _product(of[a][1:]))
            if found != (its[0], _product(its[1:])):
                raise InputError(f"LoRA {spec.path} is for another backbone: its {module} is {found[1]} -> {found[0]}, "
                                 f"this model's {_product(its[1:])} -> {its[0]}")  # fmt: skip
        for name, (given, _) in lora.added.items():
            if shapes.get(name) != of[given]:
                here = list(shapes[name]) if name in shapes else "nothing"
                raise InputError(f"LoRA {spec.path} is for another backbone: its {given} is {list(of[given])}, this "
                                 f"model's {name} is {here}")  # fmt: skip


@torch.no_grad()
def attach_loras(loras: Loras, transformer: WanTransformer3DModel) -> None:
    """Those of `read_loras`, after `check_loras`: the transformer's layers get them, on its device."""
    its: Any = transformer
    weights: dict[str, float] = {}
    for number, (spec, lora) in enumerate(loras, start=1):
        modules = dict(transformer.named_modules())
        linear = {name for name in lora.pairs if isinstance(_base(modules[name]), nn.Linear)}
        for parameter, difference in _differences(lora, skip=linear):
            _add(transformer, parameter, spec.strength * difference, source=spec.path)
        if linear:
            name = ADAPTER if number == 1 else f"{ADAPTER}_{number}"
            alone = lora.only(linear)
            its.load_lora_adapter(alone.state(), prefix=None, adapter_name=name, metadata=alone.config())
            weights[name] = spec.strength
    if weights:
        its.set_adapters(list(weights), weights=list(weights.values()))


@contextmanager
def merged(transformer: nn.Module) -> Iterator[None]:
    """While it lasts, `transformer.state_dict()` is that of plain layers with every active LoRA in their weights, no
    matter who put it on; the transformer itself stays as it is. So it is saved by diffusers and loads anywhere.

    `InputError` where weights of fewer bits have a LoRA: they do not hold its sum.
    """
    layers = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, BaseTunerLayer)}
    if layers and getattr(transformer, "hf_quantizer", None) is not None:
        raise InputError("a quantised model with a LoRA is not saved; accepted: the LoRA on a model as it was stored")

    def plain(module: nn.Module, state: dict[str, Tensor], prefix: str, local: Any) -> None:
        for name, layer in layers.items():
            for key in [key for key in state if key.startswith(f"{prefix}{name}.")]:
                del state[key]
            twin: Any = copy.deepcopy(layer)
            if twin.disable_adapters and twin.merged:
                twin.unmerge()
            elif not twin.disable_adapters and set(twin.active_adapters) - set(twin.merged_adapters):
                twin.merge()
            state |= {f"{prefix}{name}.{key}": value for key, value in twin.get_base_layer().state_dict().items()}

    hook = transformer.register_state_dict_post_hook(plain)
    try:
        yield
    finally:
        hook.remove()


def _lora_alone(weights: Checkpoint) -> Checkpoint:
    """Without the branch that may be in the same file."""
    return weights.only(name for name in weights.shapes if not is_branch(name))


def _product(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def _base(module: nn.Module) -> nn.Module:
    return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


def _differences(lora: LoraFile, *, skip: set[str]) -> Iterator[tuple[str, Tensor]]:
    """Parameter and what is added to it, float32, of all that PEFT does not attach."""
    for module in lora.pairs.keys() - skip:
        yield f"{module}.weight", lora.product(module)
    for parameter, (name, times) in lora.added.items():
        yield parameter, times * lora.read(name).float()


def _add(transformer: nn.Module, parameter: str, difference: Tensor, *, source: Path) -> None:
    module, _, leaf = parameter.rpartition(".")
    weight = getattr(_base(transformer.get_submodule(module)), leaf)
    if not weight.is_floating_point() or difference.numel() != weight.numel() or type(weight.data) is not Tensor:
        raise InputError(f"LoRA {source} changes {parameter} itself, which has fewer bits in this quantised model; "
                         f"accepted: the model as it is stored")  # fmt: skip
    weight.data = (weight.data.float() + difference.view(weight.shape).to(weight.device)).to(weight.dtype)
