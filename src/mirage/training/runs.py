"""What a recipe returns: one of these, which says all that a run is, and does it.

    Clips, Encode, Stills           make what is learnt from
    Translate                       begins the parts after another autoencoder
    Autoencoder, Decoder, Reading,  train a part of the bundled model
    DepthHead, Denoiser
    Export                          puts its parts together
    Finetune                        trains parts of a released model (DepthHead serves it, too)

A run lies in a folder of its own, which `work` fills and goes on to fill after a kill; `check` says what is missing
before anything is done. Whatever a run has taught lies there as parts (parts.py) when it is over.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.models.depth_head import LatentDepthHead
from mirage.models.files.branchfile import load_branch
from mirage.models.loading import load_world_model, quiet
from mirage.models.lora import lora_state
from mirage.models.tiny import MiniConfig
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel
from mirage.training import parallel
from mirage.training.autoencoder import AutoencoderConfig, AutoencoderTask, measure_latents, start_from_images
from mirage.training.checkpoints import averaged_weights
from mirage.training.clips import Place, clip_paths, latent_paths, load_latents, sample_paths
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.loop import Look, fit, put_weights
from mirage.training.parts import MINI, Parts, assembled, leave, loaded
from mirage.training.photographs import Photographs
from mirage.training.reading import ReadingConfig, ReadingTask
from mirage.training.render import draw_stills, encode_clips, render_clips
from mirage.training.schedule import Schedule
from mirage.training.translation import maps_between, translate

DOORS = 5000
"""Number of the first clip that comes into view of the next room."""
HURRIED = 20000
"""Number of the first clip that is hurried."""


@dataclass(frozen=True)
class Clips:
    """Render `count` clips of `frames` frames of the procedural scenes as pixels, `doors` more that come into view of
    the next room, and `hurried` more that are fast; or as many as `minutes` allow. `photographs`: a folder of pictures
    on their surfaces."""

    count: int
    frames: int
    doors: int = 0
    hurried: int = 0
    size: tuple[int, int] = MINI.size
    minutes: float | None = None
    photographs: Path | None = None

    def check(self) -> None:
        """The photographs are there, if any are asked for."""
        if self.photographs is not None:
            _ = Photographs(self.photographs).paths

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves clips in `folder`."""
        photographs = None if self.photographs is None else Photographs(self.photographs)
        for kind, first, count in (
            (None, 0, self.count),
            ("door", DOORS, self.doors),
            ("hurried", HURRIED, self.hurried),
        ):
            render_clips(
                folder,
                count=count,
                size=self.size,
                frames=self.frames,
                first=first,
                kind=kind,
                minutes=self.minutes,
                device=chosen_device(),
                photographs=photographs,
            )


@dataclass(frozen=True)
class Encode:
    """Those of the clips in `source` that `Clips` has numbered so, as latents of the autoencoder `vae` (see `Parts`);
    in bfloat16 with `bf16`."""

    source: Path
    vae: Path | str
    count: int
    doors: int = 0
    hurried: int = 0
    minutes: float | None = None
    bf16: bool = False
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """The clips and the autoencoder are there."""
        clip_paths(self.source)
        Parts(vae=self.vae).check()

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves clips in `folder`."""
        model = assembled(Parts(vae=self.vae), self.sizes).to(chosen_device())
        for first, count in ((0, self.count), (DOORS, self.doors), (HURRIED, self.hurried)):
            encode_clips(model, self.source, folder, count=count, first=first, minutes=self.minutes, bf16=self.bf16)


@dataclass(frozen=True)
class Translate:
    """What a model `source` has behind its autoencoder, for the latents of the autoencoder `vae` (translation.py); the
    two are compared on the first of the `clips`."""

    source: Path | str
    vae: Path | str
    clips: Path
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """The clips, the autoencoder and the model are there."""
        clip_paths(self.clips)
        Parts(vae=self.vae).check()
        Parts.of(self.source).check()

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves transformer/, memory_branch/, text_encoder/, depth_head/."""
        old, new = load_world_model(str(self.source)), assembled(Parts(vae=self.vae), self.sizes)
        translate(old, new, *maps_between(old, new, self.clips))
        for name in ("transformer", "memory_branch", "text_encoder", "depth_head"):
            leave(getattr(new, name), folder / name)


@dataclass(frozen=True)
class Stills:
    """Draw `count` files of `each` pictures that are of no scene."""

    count: int
    each: int
    size: tuple[int, int] = MINI.size

    def check(self) -> None:
        """Nothing is needed."""

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves clips in `folder`."""
        draw_stills(folder, count=self.count, each=self.each, size=self.size)


@dataclass(frozen=True)
class Autoencoder:
    """Train the autoencoder, from `start` (see `Parts`), or from nothing as one of images (`start_from_images`)."""

    config: AutoencoderConfig
    schedule: Schedule
    start: Path | str | None = None
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """The clips are there, and what it begins from."""
        Parts(vae=self.start).check()
        self.config.check()

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves vae/."""
        model = assembled(Parts(vae=self.start), self.sizes).to(chosen_device())
        if self.start is None:
            start_from_images(model.vae)
        model.vae.requires_grad_(True)
        fit(AutoencoderTask(model.vae, self.config), self.schedule, folder)
        if parallel.rank() == 0:
            mean, std = measure_latents(model.vae, self.config.clips)
            model.vae.register_to_config(latents_mean=mean, latents_std=std)
            leave(model.vae, folder / "vae")


@dataclass(frozen=True)
class Decoder:
    """Train a decoder, of other sizes too, for the latents of the autoencoder `vae` (see `Parts`), which stay as they
    are; it begins with those of that one's weights that fit."""

    vae: Path | str
    config: AutoencoderConfig
    schedule: Schedule
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """The clips and the autoencoder are there."""
        Parts(vae=self.vae).check()
        self.config.check()

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves vae/."""
        model = assembled(Parts(), self.sizes).to(chosen_device())
        vae = model.vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        like = loaded(type(vae), "vae", self.vae)
        own, its = vae.state_dict(), like.state_dict()
        fitting = {name: weight for name, weight in its.items() if name in own and own[name].shape == weight.shape}
        if missing := sorted(name for name in own if name.startswith("encoder.") and name not in fitting):
            raise InputError(
                f"the encoder of {self.vae} is of other sizes: {len(missing)} weights differ, the first is {missing[0]}"
            )
        vae.load_state_dict(fitting, strict=False)
        vae.register_to_config(latents_mean=like.config.latents_mean, latents_std=like.config.latents_std)
        fit(AutoencoderTask(vae, self.config), self.schedule, folder)
        if parallel.rank() == 0:
            leave(vae, folder / "vae")


@dataclass(frozen=True)
class Reading:
    """Train the text encoder to read, from `start` (see `Parts`)."""

    config: ReadingConfig
    schedule: Schedule
    start: Path | str | None = None
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """What it begins from is there."""
        Parts(text_encoder=self.start).check()

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves text_encoder/."""
        model = assembled(Parts(text_encoder=self.start), self.sizes).to(chosen_device())
        fit(ReadingTask(model, self.config), self.schedule, folder)
        if parallel.rank() == 0:
            leave(model.text_encoder, folder / "text_encoder")


@dataclass(frozen=True)
class DepthHead:
    """Train a depth head, `hidden` wide, for whatever latents the clips have, from `start` (see `Parts`)."""

    config: DepthHeadConfig
    schedule: Schedule
    start: Path | str | None = None
    hidden: int = MINI.depth_hidden

    def check(self) -> None:
        """The clips are there, and what it begins from."""
        Parts(depth_head=self.start).check()
        latent_paths(self.config.clips)

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves depth_head/."""
        head = self._head()
        task = DepthHeadTask(head, self.config)
        task.module.to(chosen_device())
        fit(task, self.schedule, folder)
        if parallel.rank() == 0:
            leave(head, folder / "depth_head")

    def _head(self) -> LatentDepthHead:
        if self.start is not None:
            return loaded(LatentDepthHead, "depth_head", self.start)
        clips = [load_latents(path) for path in latent_paths(self.config.clips)[:8]]
        depths = torch.cat([clip.depth.z[clip.depth.valid] for clip in clips])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return LatentDepthHead(clips[0].latents.shape[1], self.hidden, float(depths.log().median()))


@dataclass(frozen=True)
class Denoiser:
    """Train transformer, memory branch, text encoder or some of them, of a model that begins with the parts `start`."""

    start: Parts
    config: DenoiserConfig
    schedule: Schedule
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """The clips are there, and what it begins from."""
        self.start.check()
        sample_paths(self.config.exercises.clips)

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves transformer/, memory_branch/, text_encoder/: those that were trained."""
        model = assembled(self.start, self.sizes).to(chosen_device())
        fit(DenoiserTask(model, self.config), self.schedule, folder, look=look)
        if parallel.rank() == 0:
            for name in {"memory_branch" if name == "detail" else name for name in self.config.train}:
                leave(getattr(model, name), folder / name)


@dataclass(frozen=True)
class Export:
    """Put the parts together as a model in float16, a folder in diffusers' layout: what ships."""

    parts: Parts
    sizes: MiniConfig = MINI

    def check(self) -> None:
        """The parts are there."""
        self.parts.check()

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves model/."""
        if parallel.rank() == 0:
            with quiet():
                model = assembled(self.parts, self.sizes).to(torch.float16)
            leave(model, folder / "model")


@dataclass(frozen=True)
class Finetune:
    """Train parts of a released `model`, by name, folder or hub id; `branch`: the memory branch to begin from, a folder
    or a file of any layout that `load_branch` reads, None: the model's own or a fresh one."""

    model: str
    config: DenoiserConfig
    schedule: Schedule
    branch: Path | str | None = None

    def check(self) -> None:
        """The clips are there, and the branch."""
        if self.branch is not None and not Path(self.branch).exists():
            raise InputError(
                f"there is no memory branch {self.branch}; run the recipe that makes it first, or name one"
            )
        sample_paths(self.config.exercises.clips)

    def work(self, folder: Path, *, look: Look | None = None) -> None:
        """Leaves memory_branch/ and, with a LoRA, lora.safetensors: the averaged weights."""
        # what is frozen may be stored in bfloat16; what learns is not, or small steps would be rounded away
        model = load_world_model(self.model, dtype=torch.bfloat16 if self.config.bf16 else torch.float32)
        branch = self._branch(model)
        model.register_modules(memory_branch=branch)
        if "text_encoder" in self.config.train:
            model.text_encoder.float()
        model.to(chosen_device())
        task = DenoiserTask(model, self.config)
        if self.schedule.shard and parallel.world_size() > 1:
            task.shard()
        fit(task, self.schedule, folder, look=look)
        if parallel.rank() == 0:
            _leave_learnt(averaged_weights(folder), branch, folder)

    def _branch(self, model: WorldModel) -> MemoryBranch:
        if self.branch is not None:
            return load_branch(self.branch, model.transformer, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same fresh branch in every process
            return (model.memory_branch or MemoryBranch.from_transformer(model.transformer)).float()


Run = Clips | Encode | Translate | Stills | Autoencoder | Decoder | Reading | DepthHead | Denoiser | Export | Finetune


@dataclass(frozen=True)
class Changes:
    """What a command line changes of a recipe, where it has such; None: as the recipe says.

    steps, minutes, workers    as many steps; as long at most; so many processes that make batches ahead
    tensorboard                the curve for TensorBoard, too
    model, branch, data        which released model; the branch that it begins with; the folder of clips, or its URL
    """

    steps: int | None = None
    minutes: float | None = None
    workers: int | None = None
    tensorboard: bool = False
    model: str | None = None
    branch: Path | None = None
    data: Place | None = None

    def of(self, run: Run, name: str) -> Run:
        """The run with them. Raises `InputError` for what it does not have."""
        if isinstance(run, Autoencoder | Decoder | Reading | DepthHead | Denoiser | Finetune):
            its = run.schedule
            schedule = replace(
                its,
                steps=its.steps if self.steps is None else self.steps,
                minutes=its.minutes if self.minutes is None else self.minutes,
                workers=its.workers if self.workers is None else self.workers,
                tensorboard=its.tensorboard or self.tensorboard,
            )
            run = replace(run, schedule=schedule)
        elif self.steps is not None or self.workers is not None or self.tensorboard:
            raise InputError(f"recipe {name} has no steps; it takes neither a number of them, workers nor TensorBoard")
        elif self.minutes is not None:
            if not isinstance(run, Clips | Encode):
                raise InputError(f"recipe {name} takes no minutes; it is done when it is done")
            run = replace(run, minutes=self.minutes)
        if self.data is not None:
            match run:
                case Denoiser() | Finetune():
                    exercises = replace(run.config.exercises, clips=self.data)
                    run = replace(run, config=replace(run.config, exercises=exercises))
                case DepthHead():
                    run = replace(run, config=replace(run.config, clips=self.data))
                case _:
                    raise InputError(f"recipe {name} does not learn from latent clips; expected no other data")
        if self.model is not None or self.branch is not None:
            if not isinstance(run, Finetune):
                raise InputError(f"recipe {name} trains no released model; expected no model and no branch")
            run = replace(run, model=self.model or run.model, branch=self.branch or run.branch)
        return run


def chosen_device() -> torch.device:
    """Where everything runs: this process's GPU, else the CPU. There, float32 products take the tensor cores' TF32."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda", torch.cuda.current_device())


def _leave_learnt(weights: dict[str, Tensor], branch: MemoryBranch, folder: Path) -> None:
    """What was learnt, as files that a model loads."""
    learnt = {k.removeprefix("memory_branch."): t for k, t in weights.items() if k.startswith("memory_branch.")}
    if learnt:
        fresh: Any = MemoryBranch.from_config(branch.config)
        put_weights(fresh, learnt)
        leave(fresh, folder / "memory_branch")
    if lora := lora_state({k.removeprefix("transformer."): t for k, t in weights.items()}):
        with replacing(folder / "lora.safetensors", alone=True) as beside:
            save_file(lora, beside, metadata={"format": "pt"})
