"""Footage becomes clips to train on: latents, cameras, depth, what stands still, words. A kill loses nothing.

    footage/NAME.mp4, NAME.txt, ...  (formats/footage.py)        SHARDS/clip-NAME-000000.safetensors  (clips.py)
                                                                 SHARDS/skipped/NAME-000000.json      {stage, reason}
      cut -> latents -> depth -> static -> pack                  SHARDS/report.json, report.txt
                                                                 SHARDS/parts/...    what unfinished clips have so far

One file holds one clip; it is a shard of the data, and comes whole or not at all. Each stage leaves a small file a clip
and does not do again what is there, so a killed run goes on; a stage goes over all clips before the next one, so that
one model is busy at a time. Latents, depth and what stands still are found by the functions of inference. A
clip that cannot be used is listed with its reason and does not stop the others.

Letters: `F` video frames, `T` latent frames, F = 1 + 4 (T - 1); `C` latent channels, `h w` latent grid, `H W` pixels.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from mirage.chunks import TIME_STRIDE, check_frames, latent_count, whole_frames
from mirage.conditioning import frames_between
from mirage.depth.posescale import pose_scale, rescaled
from mirage.depth.protocol import DepthEstimator, Views, estimated
from mirage.depth.static import static
from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.cameras import CameraOptions
from mirage.formats.depth import cut_depth
from mirage.formats.footage import Footage, find_footage
from mirage.formats.image import fit_image
from mirage.formats.source import open_tensors, read_json
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.world import WorldModel
from mirage.training import parallel
from mirage.training.clips import LatentClip, clip_path, described, save_latents
from mirage.training.latents import encode_frames

LEAST_VALID = 0.05
"""Share of cells that must have depth."""


class ClipCameras(Protocol):
    """An estimator of poses: cameras [F] of frames uint8 [F,3,H,W] as they were filmed, not yet cut to size."""

    def __call__(self, frames: Tensor) -> Camera: ...


@dataclass(frozen=True)
class PrepareOptions:
    """What is made of `footage` in `out`.

    model      whose latents; frames are cut to its size about their centre
    frames     of a clip, 1 + 4k; None: two chunks of the model. Footage is cut into clips end to end, the last one
               shorter, down to one chunk
    stride     every so-manieth frame is taken: 2 makes 15 frames a second of 30
    depth      "files": beside the footage; "head": the model's own; "auto": files where there are any, else the head
               any other word names the estimator that is given to `prepare`
    poses      "fit": translations are scaled so that they agree with the depth; "keep": they are in its units already;
               "auto": kept with depth from files, fitted otherwise
    moving     leave out of the memory what moves, as a walk does
    cameras    folder of camera files, None: beside the footage; captions: a JSON file or a folder, None: beside it
    reading    what camera files cannot say themselves
    """

    footage: Path
    out: Path
    model: str = "mini"
    frames: int | None = None
    stride: int = 1
    depth: str = "auto"
    poses: Literal["auto", "fit", "keep"] = "auto"
    moving: bool = True
    cameras: Path | None = None
    captions: Path | None = None
    reading: CameraOptions | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Cut:
    """One clip to be: frames `start`, `start + stride`, .. of a footage, `count` of them."""

    footage: str
    start: int
    count: int
    stride: int

    @property
    def name(self) -> str:
        return f"{self.footage}-{self.start:06d}"

    @property
    def numbers(self) -> range:
        return range(self.start, self.start + self.count * self.stride, self.stride)


def prepare(
    model: WorldModel,
    options: PrepareOptions,
    *,
    depth: DepthEstimator | None = None,
    cameras: ClipCameras | None = None,
) -> dict[str, Any]:
    """Do what is left to do, and report; processes that call this together share the clips.

    `depth`, `cameras`: estimators to ask instead of `options.depth` and of camera files.
    """
    seconds = prepare_part(model, options, list(footage_of(options)), depth=depth, cameras=cameras)
    return report(options, seconds)


def footage_of(options: PrepareOptions) -> dict[str, Footage]:
    """What there is to prepare, by name."""
    return find_footage(options.footage, cameras=options.cameras, captions=options.captions)


def prepare_part(
    model: WorldModel,
    options: PrepareOptions,
    names: Collection[str],
    *,
    depth: DepthEstimator | None = None,
    cameras: ClipCameras | None = None,
) -> dict[str, float]:
    """The footage of these names alone; seconds by stage."""
    footage = {name: one for name, one in footage_of(options).items() if name in names}
    _check(model, options, footage, depth)
    _claim(options)
    work = _Work(model, options, footage, depth, cameras)
    seconds: dict[str, float] = {}
    cuts = _timed(seconds, "cut", lambda: list(work.cuts()))
    for stage in STAGES:
        _timed(seconds, stage, lambda stage=stage: work.run(stage, cuts))
    _timed(seconds, "pack", lambda: work.pack(cuts))
    parallel.wait()
    return seconds


def report(options: PrepareOptions, seconds: dict[str, float]) -> dict[str, Any]:
    """What is in `out` now, as report.json and report.txt; `seconds` by stage, of this run."""
    clips = [described(path) for path in sorted(options.out.glob("clip-*.safetensors"))]
    skipped = [
        {"name": path.stem, **read_json(path, accepts="why a cut was left out")}
        for path in sorted((options.out / "skipped").glob("*.json"))
    ]
    content = {
        "clips": len(clips),
        "skipped": len(skipped),
        "latent_frames": sum(c["latents"] for c in clips),
        "bytes": sum(c["bytes"] for c in clips),
        "without_caption": sum(not c["caption"] for c in clips),
        "seconds": {stage: round(s, 2) for stage, s in seconds.items()},
        "options": {k: None if v is None else str(v) for k, v in asdict(options).items()},
        "each": clips,
        "left_out": skipped,
    }
    if parallel.rank() == 0:
        with replacing(options.out / "report.json") as beside:
            beside.write_text(json.dumps(content, indent=1))
        with replacing(options.out / "report.txt") as beside:
            beside.write_text(_told(content))
    return content


class _Work:
    """The stages, each a function of one clip; what they share is here."""

    def __init__(
        self,
        model: WorldModel,
        options: PrepareOptions,
        footage: dict[str, Footage],
        depth: DepthEstimator | None,
        cameras: ClipCameras | None,
    ) -> None:
        self.model, self.options, self.footage = model, options, footage
        self.estimate, self.estimate_cameras = depth, cameras

    # -- stages -----------------------------------------------------------------------------------------------------

    def cuts(self) -> Iterator[Cut]:
        """The clips of this process, with their cameras left in parts; footage that has none is listed."""
        wanted = self.options.frames or 2 * self.model.chunk_frames - 1
        for i, (name, footage) in enumerate(self.footage.items()):
            if i % parallel.world_size() != parallel.rank() or (self.options.limit and i >= self.options.limit):
                continue
            path = self.options.out / "parts" / f"{name}.safetensors"
            if not path.is_file():
                try:
                    camera = self._cameras(footage)
                except InputError as error:
                    self._skip(name, "cut", error)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                _save(path, {"c2w": camera.c2w.contiguous(), "intrinsics": camera.intrinsics.contiguous()})
            (self.options.out / "skipped" / f"{name}.json").unlink(missing_ok=True)
            count, done = len(range(0, _rows(path), self.options.stride)), 0
            least = min(wanted, self.model.chunk_frames)
            if count < least:
                self._skip(name, "cut", InputError(f"it has {count} frames; a clip needs at least {least}"))
            while count - done >= least:
                here = min(wanted, whole_frames(count - done))
                yield Cut(name, done * self.options.stride, here, self.options.stride)
                done += here

    def latents(self, cut: Cut) -> dict[str, Tensor]:
        latents, images = encode_frames(self.model, self._fitted(cut))
        if not (torch.isfinite(latents).all() and torch.isfinite(images).all()):
            raise InputError("its latents are not finite")
        return {"latents": latents, "images": images}

    def depth(self, cut: Cut) -> dict[str, Tensor]:
        """Depth on the latent grid, and the cameras in its units."""
        latents = self._part(cut, "latents")["latents"].float()
        grid, footage, size = (latents.shape[-2], latents.shape[-1]), self.footage[cut.footage], self.model.size
        some = cut.numbers[::TIME_STRIDE]
        path = _fitted_camera(self._camera(cut), footage.frames(some[:1])[0], size)
        fitted = path[::TIME_STRIDE]
        measured = self.estimate is None and self._from_files(footage)
        if measured:
            maps = footage.depth_maps(some)
            cuts = [cut_depth(maps[t], size).resized(grid) for t in range(len(maps))]
            found = DepthMap.concatenate([depth[None] for depth in cuts])
        elif self.estimate is not None:
            views = Views(
                latents, fitted, torch.tensor(some), True, lambda: self._fitted(cut)[::TIME_STRIDE].float() / 255
            )
            found = estimated(self.estimate, views)
        else:
            found = self.model.depth(latents, fitted, first=True)
        found = found.to("cpu")
        if found.valid.float().mean() < LEAST_VALID:
            share = found.valid.float().mean()
            raise InputError(f"{share:.1%} of its cells have depth; at least {LEAST_VALID:.0%} must")
        scale = 1.0
        if self.options.poses == "fit" or (self.options.poses == "auto" and not measured):
            scale = pose_scale(found, fitted).scale
            path = rescaled(path, scale)
        between = frames_between(path[0], path[1:])
        return {
            "depth": found.z.half(),
            "valid": found.valid,
            "c2w": path[::TIME_STRIDE].c2w.contiguous(),
            "intrinsics": path[::TIME_STRIDE].intrinsics.contiguous(),
            "between_c2w": between.c2w,
            "between_intrinsics": between.intrinsics,
            "pose_scale": torch.tensor(scale),
        }

    def static(self, cut: Cut) -> dict[str, Tensor]:
        """What may enter a memory, chunk by chunk as a walk asks."""
        latents = self._part(cut, "latents")["latents"].float()
        held = self._part(cut, "depth")
        depth, camera = DepthMap(held["depth"].float(), held["valid"]), Camera(held["c2w"], held["intrinsics"])
        if not self.options.moving:
            return {"keep": depth.valid}
        step, kept = latent_count(self.model.chunk_frames) - 1, []
        for first in [0, *range(1 + step, len(latents), step)]:
            part = slice(first, first + step + (first == 0))
            past = (latents[:first], depth[:first], camera[:first]) if first else None
            kept.append(static(latents[part], depth[part], camera[part], past=past))
        return {"keep": torch.cat(kept)}

    # -- keeping ----------------------------------------------------------------------------------------------------

    def run(self, stage: str, cuts: list[Cut]) -> None:
        """One stage over all clips that have come so far and are not there yet."""
        work: Callable[[Cut], dict[str, Tensor]] = getattr(self, stage)
        told = time.monotonic()
        for i, cut in enumerate(cuts):
            path = self._path(cut, stage)
            if path.is_file() or self._over(cut):
                continue
            if parallel.rank() == 0 and time.monotonic() - told > 20:
                told = time.monotonic()
                print(f"{stage} {i}/{len(cuts)} (this process)", file=sys.stderr, flush=True)
            try:
                tensors = work(cut)
            except InputError as error:
                self._skip(cut.name, stage, error)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(path, tensors)

    def pack(self, cuts: list[Cut]) -> None:
        """All parts of a clip as one file; the parts go."""
        for cut in cuts:
            if not self._over(cut):
                held = {k: t for stage in STAGES for k, t in self._part(cut, stage).items()}
                footage = self.footage[cut.footage]
                prepared = {
                    "source": footage.pictures.name,
                    "start": cut.start,
                    "stride": cut.stride,
                    "valid": round(float(held["valid"].float().mean()), 4),
                    "still": round(float(held["keep"].float().mean()), 4),
                    "pose_scale": float(held["pose_scale"]),
                }
                depth, camera = DepthMap(held["depth"], held["valid"]), Camera(held["c2w"], held["intrinsics"])
                between = None
                if "between_c2w" in held:  # parts that are older do not say
                    between = Camera(held["between_c2w"], held["between_intrinsics"])
                clip = LatentClip(
                    held["latents"], held["images"], depth, camera, footage.caption, held["keep"], between=between
                )
                save_latents(self._shard(cut), clip, prepared=prepared)
            shutil.rmtree(self._path(cut, "").parent, ignore_errors=True)

    def _over(self, cut: Cut) -> bool:
        return self._shard(cut).is_file() or (self.options.out / "skipped" / f"{cut.name}.json").is_file()

    def _shard(self, cut: Cut) -> Path:
        return clip_path(self.options.out, cut.name)

    def _path(self, cut: Cut, stage: str) -> Path:
        return self.options.out / "parts" / cut.name / f"{stage}.safetensors"

    def _part(self, cut: Cut, stage: str) -> dict[str, Tensor]:
        return _held(self._path(cut, stage))

    def _skip(self, name: str, stage: str, error: InputError) -> None:
        folder = self.options.out / "skipped"
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{name}.json") as beside:
            beside.write_text(json.dumps({"stage": stage, "reason": str(error)}))

    # -- reading ----------------------------------------------------------------------------------------------------

    def _cameras(self, footage: Footage) -> Camera:
        """One camera per frame [F]."""
        count = footage.count()
        if self.estimate_cameras is None:
            camera = footage.camera(self.options.reading)
        else:
            camera = self.estimate_cameras(footage.frames(range(count)))
        if len(camera) != count:
            raise InputError(f"it has {count} frames and {len(camera)} poses; expected one each")
        return camera.relative_to(camera[0]).to(torch.float32)  # float32 has no room for positions on the globe

    def _camera(self, cut: Cut) -> Camera:
        """Cameras [F] of its frames, as filmed, seen from the first one."""
        held = _held(self.options.out / "parts" / f"{cut.footage}.safetensors")
        camera = Camera(held["c2w"].double(), held["intrinsics"].double())[torch.tensor(cut.numbers)]
        return camera.relative_to(camera[0]).to(torch.float32)

    def _fitted(self, cut: Cut) -> Tensor:
        """Frames uint8 [F,3,H,W], cut and resized to the model's size."""
        frames, anywhere = self.footage[cut.footage].frames(cut.numbers), Camera.looking()
        fitted = [fit_image(frame.float() / 255, anywhere, self.model.size)[0] for frame in frames]
        return (torch.stack(fitted) * 255).round().to(torch.uint8)

    def _from_files(self, footage: Footage) -> bool:
        return self.options.depth == "files" or (self.options.depth == "auto" and footage.depth is not None)


STAGES = ("latents", "depth", "static")


def _check(
    model: WorldModel, options: PrepareOptions, footage: dict[str, Footage], depth: DepthEstimator | None
) -> None:
    """What can be refused before any work is."""
    if options.frames is not None:
        check_frames(options.frames, "a clip, which is at least a chunk of the model,", least=model.chunk_frames)
    if options.stride < 1:
        raise InputError(f"a stride is 1 or more, got {options.stride}")
    lacking = [name for name, one in footage.items() if one.depth is None]
    headless = model.depth_head is None and depth is None
    if headless and options.depth != "files" and lacking:
        raise InputError(
            f"the model has no depth head, and {len(lacking)} of {len(footage)} clips have no depth "
            f"beside them, such as {lacking[0]}; expected depth files or a model with a head"
        )


def _claim(options: PrepareOptions) -> None:
    """The folder is this preparation's: one of other choices is refused, because its clips would differ in kind."""
    options.out.mkdir(parents=True, exist_ok=True)
    mine = {k: str(v) for k, v in asdict(options).items() if k not in ("out", "limit", "captions")}
    path = options.out / "prepare.json"
    if path.is_file():
        theirs = read_json(path, accepts="what was prepared in this folder")
        differ = [k for k in mine if theirs.get(k) != mine[k]]
        if differ:
            raise InputError(
                f"{options.out} was prepared with {differ[0]} {theirs.get(differ[0])}, asked was "
                f"{mine[differ[0]]}; use another folder"
            )
    elif parallel.rank() == 0:
        with replacing(path) as beside:
            beside.write_text(json.dumps(mine, indent=1))


def _fitted_camera(camera: Camera, frame: Tensor, size: tuple[int, int]) -> Camera:
    """Cameras [T] after the cut that a frame [3,H,W] takes to `size`."""
    return fit_image(frame.float(), camera, size)[1]


def _told(content: dict[str, Any]) -> str:
    lines = [
        f"{content['clips']} clips, {content['latent_frames']} latent frames, {content['bytes'] / 2**20:.1f} MiB; "
        f"{content['skipped']} left out, {content['without_caption']} without a caption",
        "seconds: " + ", ".join(f"{stage} {s:.1f}" for stage, s in content["seconds"].items()),
    ]
    lines += [f"left out {one['name']} ({one['stage']}): {one['reason']}" for one in content["left_out"]]
    return "\n".join(lines) + "\n"


def _rows(path: Path) -> int:
    with open_tensors(path, accepts="a part of a preparation") as file:
        return file.get_slice("c2w").get_shape()[0]


def _held(path: Path) -> dict[str, Tensor]:
    with open_tensors(path, accepts="a part of a preparation; remove it to make it again") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    with replacing(path, alone=True) as beside:
        save_file({k: t.contiguous().cpu() for k, t in tensors.items()}, beside)


def _timed(seconds: dict[str, float], stage: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    done = work()
    seconds[stage] = time.perf_counter() - started
    return done
