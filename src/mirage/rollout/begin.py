"""A `Request` becomes a session and its path: the one way to begin, for the command line, batches and servers.

    opened = open_request(request)                  everything that files can refuse, before a model is loaded
    model = load_model(ModelRequest(model="mini"))
    session, path = begin(request, model, opened)

`F` video frames, `H W` pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE, whole_frames
from mirage.depth.protocol import DepthEstimator
from mirage.errors import InputError
from mirage.formats.cameras import camera_options
from mirage.formats.depth import load_depth
from mirage.formats.footage import VIDEOS
from mirage.formats.photograph import Photograph, fitted, fitted_depth, frame_size, open_photograph, photograph_of
from mirage.formats.prompts import Prompts, load_prompts
from mirage.formats.trajectories import load_trajectory, square_pixels
from mirage.formats.video import load_video
from mirage.formats.views import Views, open_views
from mirage.geometry.camera import Camera, require_cameras
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import Brief, checked
from mirage.memory import MemoryPolicy
from mirage.memory.policy import PUBLISHED
from mirage.models.fingerprint import fingerprint
from mirage.models.fitting.offload import check_offload
from mirage.models.fitting.quantize import check_quantize
from mirage.models.loading import load_world_model
from mirage.models.world import WorldModel
from mirage.request import BRANCH_CACHED, UNGUIDED, ModelRequest, Request
from mirage.rollout.admission import Segmenter
from mirage.rollout.estimators import check_estimator, depth_files, make_estimator
from mirage.rollout.memories import latent_memory, make_memory
from mirage.rollout.remembered import remember
from mirage.rollout.saved import load_session
from mirage.rollout.session import Session, depth_head
from mirage.rollout.settings import Settings
from mirage.scenes.scene import Scene
from mirage.units import parse_bytes


@dataclass(frozen=True, eq=False, repr=False)
class Opened(Brief):
    """What a request's files hold. For a new world: the photograph, the path [F] as seen through all of it, and depth;
    `views`, where it begins with several, of which the photograph is the last. For one that goes on the path is known
    when its world is. `mask` [F,H,W]: what moves; `prompts` of parts; `poses`: how many the trajectory has, of which
    the path is the first 1 + 4k."""

    poses: int
    photograph: Photograph | None = None
    path: Camera | None = None
    depth: DepthMap | None = None
    views: Views | None = None
    mask: Tensor | None = None
    prompts: Prompts | None = None


@checked
def open_request(request: Request) -> Opened:
    """Read its files and check its names; what is wrong with one is an `InputError`, before a model is loaded."""
    check_estimator(request.depth_model)
    if request.moving is not None:
        from mirage.models.others.moving import check_moving

        check_moving(request.moving)
    prompts = None if request.prompts is None else load_prompts(request.prompts)
    mask = None if request.static_mask is None else load_video(request.static_mask).float().mean(1) > 127
    maps = depth_files(request.depth_model)
    if request.image is None:
        if request.world is not None and not request.world.is_file():
            raise InputError(f"no world at {request.world}: no such file; accepted: one that a walk has saved")
        poses = len(_trajectory(request, Camera.looking()))
        return Opened(poses, mask=mask, prompts=prompts)
    views = open_several(request)
    photograph = open_photograph(request.images[0], request.fov) if views is None else views.photographs[-1]
    height, width = photograph.size
    camera = Camera.looking(horizontal_fov=photograph.fov, aspect=width / height) if views is None else views.camera[-1]
    trajectory = _trajectory(request, camera)
    path = square_pixels(trajectory[: whole_frames(len(trajectory))], (height, width))
    if views is not None or photograph.fov_from != "default":
        path = path.with_intrinsics(camera.intrinsics)
    elif not torch.allclose(path.intrinsics[0], camera.intrinsics, rtol=1e-5):
        across = math.degrees(2 * math.atan(0.5 / float(path.intrinsics[0, 0])))
        photograph = replace(photograph, fov=across, fov_from="trajectory")
    depth = load_depth(request.depth, size=(height, width)) if request.depth and views is None else None
    if mask is not None:
        _check_mask(request, mask, len(path))
    if maps is not None and len(maps) < len(path):
        raise InputError(f"{request.depth_model} has {len(maps)} depth maps, and the walk needs {len(path)}")
    return Opened(len(trajectory), photograph, path, depth, views, mask, prompts)


def open_several(request: Request) -> Views | None:
    """The views of a request that begins with several: pictures, a film or a folder; None: with one picture."""
    images = request.images
    if len(images) == 1 and not images[0].is_dir() and images[0].suffix.lower() not in VIDEOS:
        if request.image_cameras is not None:
            raise InputError(f"cameras of the image are for several pictures or a film; {images[0]} is one picture")
        return None
    if depth_files(request.depth_model) is not None:
        raise InputError("depth maps of every frame of a walk say nothing of several pictures; accepted: depth with a "
                         "map for each picture, or the name of a depth model")  # fmt: skip
    views = open_views(
        images,
        cameras=request.image_cameras,
        depth=request.depth,
        fov=request.fov,
        reading=camera_options(request),
    )
    if request.depth is None and request.depth_model != "head":  # asked for, in place of what lies beside
        return replace(views, depth=(None,) * len(views))
    return views


def open_scene(scene: Scene, size: tuple[int, int]) -> Opened:
    """A procedural scene as a photograph (H, W), taken from eye height: where a walk may begin without a file."""
    camera = square_pixels(scene.path("still_look", 1), size)
    across = math.degrees(2 * math.atan(0.5 / float(camera.intrinsics[0, 0])))
    return Opened(1, photograph_of(scene.render(camera, size).rgb[0], across), camera)


@checked
def begin(request: Request, model: WorldModel, opened: Opened | None = None) -> tuple[Session, Camera]:
    """(session, path [F]) of a request: `session.follow(path, prompts=prompts_by_chunk(...))` walks it.

    opened: what `open_request` read; None: it is read now
    """
    opened = opened or open_request(request)
    estimator = make_estimator(request.depth_model, device=model.runs_on)
    named = _named(request, model)
    if opened.photograph is None or opened.path is None:
        return _continued(request, model, opened, estimator, named)
    photograph, path = framed(request, model, opened.photograph, opened.path)
    budget, settings = request.memory_budget, settings_of(request, Settings(), model)
    policy = PUBLISHED if request.memory_policy == "published" else MemoryPolicy()
    policy = replace(policy, max_bytes=parse_bytes(budget)) if budget else policy
    memory = latent_memory(model, policy) if request.memory == "latent" else make_memory(request.memory, model)
    depth = estimator if opened.depth is None else fitted_depth(opened.depth, photograph.size, fit=request.fit)
    if opened.views is not None:
        depth = remember(
            opened.views.fitted(photograph.size, fit=request.fit),
            model,
            memory,
            estimator=estimator or depth_head(model),
            settings=settings,
            moving=named,
        )
    session = Session(
        model,
        photograph.pixels,
        camera=path[0],
        prompt=request.prompt or "",
        seed=request.seed or 0,
        depth=depth,
        memory=memory,
        settings=settings,
        moving=_painted(opened.mask, start=0) or named,
    )
    if estimator is not None:
        session.estimator = estimator  # of the chunks, also where the first depth was given
    return session, path


def framed(request: Request, model: WorldModel, photograph: Photograph, path: Camera) -> tuple[Photograph, Camera]:
    """The photograph as the walk's first frame, and the path as seen through that."""
    size = model.size
    if request.size is not None:
        its: Any = model.transformer.config
        size = frame_size(photograph, model.size, model.stride * its.patch_size[-1], request.size)
    return fitted(photograph, path, size, fit=request.fit)


def keep(file: Path, session: Session, path: Camera, *, done: int, latents: Tensor, notes: str) -> None:
    """A walk along `path` [F] after `done` chunks, with the latents [T,C,h,w] that its decoder has seen: `resumed` goes
    on from the file. It is a world file too. `notes`: what the caller knows of those chunks, of the same moment."""
    beside = {"latents": latents, "c2w": path.c2w, "intrinsics": path.intrinsics, "done": torch.tensor(done)}
    beside["notes"] = torch.frombuffer(bytearray(notes.encode()), dtype=torch.uint8)
    session.save(file, beside=beside)


def resumed(request: Request, model: WorldModel, file: Path) -> tuple[Session, Camera, int, str]:
    """(session, the whole path [F], chunks that are done, notes) of a walk that `keep` kept; what follows is what would
    have followed, to the bit."""
    saved = load_session(file, device=model.runs_on, channels=model.channels, autoencoder=fingerprint(model))
    its = saved.beside
    if its.keys() != {"latents", "c2w", "intrinsics", "done", "notes"}:
        raise InputError(f"{file} is a world, and no walk that was interrupted")
    path = Camera(its["c2w"].cpu(), its["intrinsics"].cpu())
    require_cameras(path, source=str(file))
    shape, seen = saved.history.latents.shape, its["latents"]
    fits = its["done"].dtype == torch.int64 and its["done"].ndim == 0 and seen.is_floating_point()
    fits = fits and its["notes"].dtype == torch.uint8 and its["notes"].ndim == 1
    if not fits or seen.ndim != 4 or seen.shape[1:] != shape[1:] or not torch.isfinite(seen.float()).all():
        raise InputError(f"{file}: what is kept of an interrupted walk in it is not what a walk leaves")
    done = int(its["done"])
    if not 0 < done * (model.chunk_frames - 1) < len(path) - 1:
        raise InputError(f"{file}: {done} chunks are done of a path of {len(path)} poses; expected fewer")
    mask = None if request.static_mask is None else load_video(request.static_mask).float().mean(1) > 127
    made = done * (model.chunk_frames - 1)
    start = 0 if request.world is None else TIME_STRIDE * int(saved.history.number[-1]) + 1 - made
    session = Session.of_saved(
        saved,
        model,
        depth=make_estimator(request.depth_model, device=model.runs_on),
        moving=_painted(mask, start=start) or _named(request, model),
        lead_in=its["latents"],
    )
    return session, path, done, its["notes"].cpu().numpy().tobytes().decode(errors="replace")


def prompts_by_chunk(opened: Opened, path: Camera, model: WorldModel) -> dict[int, str]:
    """Chunk of the path -> prompt from there on, for `Session.follow`."""
    return opened.prompts.by_chunk(len(path), model.chunk_frames) if opened.prompts else {}


def device_of(asked: ModelRequest) -> torch.device:
    """Where the model will run, or why it cannot; nothing is loaded."""
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: torch finds no CUDA device on this machine; accepted: auto, cpu")
    device = torch.device("cuda" if asked.device != "cpu" and torch.cuda.is_available() else "cpu")
    check_quantize(asked.quantize, device=device)
    check_offload(asked.offload, device=device)
    return device


@checked
def load_model(asked: ModelRequest, *, conditioning: str = "auto") -> WorldModel:
    """The model, made to run as asked. conditioning: how the memory will enter, which step caching has to fit."""
    model = load_world_model(
        asked.model,
        branch=asked.branch,
        lora=asked.lora,
        device=device_of(asked),
        quantize=asked.quantize,
        offload=asked.offload,
        tile=asked.tile,
    )
    how = model.conditioning(conditioning)  # pyright: ignore[reportArgumentType]
    if asked.cache is not None:
        if how == "branch":
            raise InputError(BRANCH_CACHED)
        model.cache_steps(asked.cache)
    if asked.compile:
        model.compile_blocks()
    return model


def settings_of(request: Request, before: Settings, model: WorldModel) -> Settings:
    """What was asked for, over what a saved session had."""
    sampler = request.sampler.over(before.sampler)
    if request.negative_prompt and sampler.over(model.sampler).guidance == 1.0:
        raise InputError(UNGUIDED)
    negative = before.negative_prompt if request.negative_prompt is None else request.negative_prompt
    return replace(
        before,
        sampler=sampler,
        negative_prompt=negative,
        conditioning=request.conditioning,
        references=before.references if request.references is None else request.references,
        preceding=before.preceding if request.preceding is None else request.preceding,
        filter=request.static_filter or before.filter,
        draft=before.draft if request.draft == "auto" else request.draft == "on",
    )


def _continued(
    request: Request, model: WorldModel, opened: Opened, estimator: DepthEstimator | None, named: Segmenter | None
) -> tuple[Session, Camera]:
    """A saved session, and a path from where it stands; the video has no frame of that pose, which it had before."""
    assert request.world is not None
    session = Session.load(request.world, model, depth=estimator)
    trajectory = _trajectory(request, session.camera)
    path = trajectory[: whole_frames(len(trajectory))].with_intrinsics(session.camera.intrinsics)
    if opened.mask is not None:
        _check_mask(request, opened.mask, len(path) - 1)
    start = TIME_STRIDE * int(session.history.number[-1]) + 1
    session.moving = named or _painted(opened.mask, start=start)
    session.settings = settings_of(request, session.settings, model)
    if request.prompt is not None:
        session.prompt = request.prompt
    if request.seed is not None:
        session.seed = request.seed
    return session, path


def _trajectory(request: Request, camera: Camera) -> Camera:
    """All poses from where `camera` stands; at least a latent frame's worth."""
    path = load_trajectory(
        request.trajectory,
        start=camera,
        frames=request.frames,
        resample=request.resample,
        reading=camera_options(request),
    )
    if whole_frames(len(path)) < 1 + TIME_STRIDE:
        raise InputError(
            f"the path {request.trajectory!r} has {len(path)} poses; a walk needs at least {1 + TIME_STRIDE} "
            "(resampling it to a number of frames makes more)"
        )
    return path


def _check_mask(request: Request, mask: Tensor, frames: int) -> None:
    if len(mask) < frames:
        raise InputError(f"the static mask {request.static_mask} has {len(mask)} frames, and the walk needs {frames}")


def _painted(mask: Tensor | None, *, start: int) -> Segmenter | None:
    """The mask video as a segmenter; its first frame belongs to frame `start` of the walk."""
    if mask is None:
        return None

    def moving(first: int, count: int, frames: Callable[[], Tensor]) -> Tensor:
        return mask[first - start :][:count]

    return moving


def _named(request: Request, model: WorldModel) -> Segmenter | None:
    """What finds things by their names."""
    if request.moving is None:
        return None
    from mirage.models.others.moving import SAM3, load_moving

    return load_moving(request.moving, segmenter=request.segmenter or SAM3, device=model.runs_on)
