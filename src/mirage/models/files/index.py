"""A model's index, looked at first: what can be told from two small files is told before a byte of weights.

    index = look_first("Wan-AI/Wan2.2-TI2V-5B-Diffusers")     # a hub id: model_index.json and the scheduler's settings
    index.depth_head                                          # False: depth has to come from elsewhere

`look_first` is the first thing that loading does. A folder of another layout, two experts, networks of another family
and schedulers that give other steps are refused in one line; a flow matching Euler scheduler becomes a UniPC one of the
same shift.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from mirage.errors import InputError
from mirage.formats.source import read_object
from mirage.models.files.checkpoint import INDEX, PICKLES, check_content
from mirage.models.wan22 import INDEX as STOCK
from mirage.models.wan22 import SAMPLING

NAME = "model_index.json"
WEIGHTS = (".safetensors", INDEX, ".gguf", *PICKLES)
EXPECTED = {
    "transformer": "WanTransformer3DModel",
    "vae": "AutoencoderKLWan",
    "text_encoder": "UMT5EncoderModel",
}
BUNDLED = {"vae": "GroupedAutoencoder"}
"""What the bundled model has instead."""
UNIPC, EULER = "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"
OTHER_GRIDS = (
    "use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas",
    "stochastic_sampling", "shift_terminal",
)  # fmt: skip
"""Settings of a flow matching Euler scheduler that make its steps other than those of its shift."""


@dataclass(frozen=True)
class ModelIndex:
    """What a model says of itself: the class of each component, and the settings of its scheduler."""

    source: str
    components: Mapping[str, str]
    pipeline: str
    scheduler: Mapping[str, Any]

    @property
    def depth_head(self) -> bool:
        """Whether the model brings a depth head of its own."""
        return "depth_head" in self.components

    def replaced(self) -> dict[str, Any]:
        """What is given here instead of loaded, as `DiffusionPipeline.from_pretrained` takes it: Wan2.2's own ways of
        sampling, which the folder of a stock pipeline does not say; and UniPC of the same shift, where it has another
        flow matching scheduler."""
        sampling = SAMPLING if self.pipeline == STOCK["_class_name"] else {}
        if self.components.get("scheduler") != EULER:
            return sampling
        its = self.scheduler
        return sampling | {
            "scheduler": UniPCMultistepScheduler(
                prediction_type="flow_prediction",
                use_flow_sigmas=True,
                num_train_timesteps=its.get("num_train_timesteps", 1000),
                flow_shift=float(its.get("shift", 1.0)),
            )
        }


def look_first(name_or_path: str | Path) -> ModelIndex | None:
    """The index of a folder or hub id, checked; None where there is no such folder and no hub answers, which is for
    whoever loads to say. `InputError` for what will not load."""
    path = Path(name_or_path).expanduser()
    if path.is_file() and path.name.endswith(WEIGHTS):
        check_content(path)
        raise InputError(f"model {path} is one file; accepted: a folder in diffusers layout, which "
                         f"`mirage convert` makes of a model's files")  # fmt: skip
    if path.is_dir():
        index, scheduler = path / NAME, path / "scheduler" / "scheduler_config.json"
        if not index.is_file():
            raise InputError(_without_index(path))
        _check_pointers(path)
    elif isinstance(name_or_path, str) and re.fullmatch(r"\w[\w.-]*/[\w.-]+", name_or_path):
        fetched = _fetched(name_or_path)
        if fetched is None:
            return None
        index, scheduler = fetched
    else:
        return None
    parts = configuration(index)
    said = {name: value for name, value in parts.items() if isinstance(value, list) and len(value) == 2 and value[0]}
    found = ModelIndex(
        str(name_or_path),
        {name: str(value[1]) for name, value in said.items()},
        str(parts.get("_class_name")),
        configuration(scheduler) if scheduler is not None and scheduler.is_file() else {},
    )
    _check(found)
    return found


def _fetched(hub_id: str) -> tuple[Path, Path | None] | None:
    """Two small files of a hub's model, or None where the hub does not answer or has no such model."""
    try:
        index = Path(hf_hub_download(hub_id, NAME))
    except LocalEntryNotFoundError:
        return None  # no network and nothing kept: said by whoever fetches the rest
    except EntryNotFoundError as error:
        raise InputError(f"model {hub_id} has no {NAME} on the hub, so it is not in diffusers layout; accepted: its "
                         f"release of that layout, or its files made one by `mirage convert`") from error  # fmt: skip
    except (OSError, ValueError):
        return None
    try:
        return index, Path(hf_hub_download(hub_id, "scheduler/scheduler_config.json"))
    except (OSError, ValueError):
        return index, None


def _without_index(folder: Path) -> str:
    """Why a folder is no model: other people's weights, or none."""
    weights = [file.name for file in sorted(folder.iterdir()) if file.name.endswith(WEIGHTS)]
    if not weights:
        return f"model {folder} has no {NAME}; accepted: a folder in diffusers layout"
    return (f"model {folder} has no {NAME} but {weights[0]}: it is a release of another layout; accepted: a folder in "
            f"diffusers layout, which `mirage convert {folder}` makes of it")  # fmt: skip


def configuration(file: Path) -> dict[str, Any]:
    """What a model's index says, or the configuration of one of its parts."""
    return read_object(file, accepts="a model's configuration")


def _check_pointers(folder: Path) -> None:
    """No file stands for another one that was not fetched."""
    for file in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if file.suffix in (".safetensors", ".json", ".model", ".txt") and file.is_file():
            check_content(file)


def _check(index: ModelIndex) -> None:
    model, its = f"model {index.source}", index.components
    if "transformer_2" in its:
        raise InputError(
            f"{model} has two experts (transformer and transformer_2), as Wan2.2-A14B; accepted: one transformer"
        )
    for name, expected in EXPECTED.items():
        if its.get(name, expected) not in (expected, BUNDLED.get(name)):
            raise InputError(f"{model} has {its[name]} as its {name}; accepted: {expected}")
    kind, settings = its.get("scheduler", UNIPC), index.scheduler
    if kind not in (UNIPC, EULER):
        raise InputError(f"{model} has the scheduler {kind}; accepted: {UNIPC}, or {EULER}, whose shift is taken over")
    if kind == EULER:
        if odd := [name for name in OTHER_GRIDS if settings.get(name)]:
            raise InputError(
                f"{model} has the scheduler {kind} with {odd[0]}; accepted: one with a shift alone, or {UNIPC}"
            )
        shift = settings.get("shift", 1.0)
        if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0 < shift < float("inf"):
            raise InputError(f"{model} has a scheduler with shift {str(shift)[:40]}; expected a number above 0")
    elif settings:
        _check_unipc(model, settings)


def _check_unipc(model: str, settings: Mapping[str, Any]) -> None:
    """Settings with which UniPC does not walk from noise to clean latents."""
    accepted: dict[str, tuple[Any, ...]] = {
        "prediction_type": ("flow_prediction", "sample"),
        "use_flow_sigmas": (True,),
        "final_sigmas_type": ("zero",),  # "sigma_min" leaves noise in
        "solver_type": ("bh2",),  # the last step of bh1 is not a number
    }
    usual = {"prediction_type": "epsilon", "use_flow_sigmas": False, "final_sigmas_type": "zero", "solver_type": "bh2"}
    for name, values in accepted.items():
        if (value := settings.get(name, usual[name])) not in values:
            raise InputError(
                f"{model} has a scheduler with {name} {value!r}; accepted: {' or '.join(map(repr, values))}"
            )
