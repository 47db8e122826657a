"""`mirage demo`: a walk there and back in a held-out procedural scene, with memory, without, and as
it truly is; on one sheet, with the PSNR of the return. `F` video frames, `H W` pixels."""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.cli.arguments import Demo
from mirage.cli.generate import additions, walk
from mirage.cli.terminal import Result, Wrote, peak_memory
from mirage.errors import InputError
from mirage.evaluation.metrics import psnr
from mirage.evaluation.truth import returned
from mirage.files import Output, check_outputs, check_writable
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.receipt import versions, write_receipt
from mirage.formats.video import VideoWriter
from mirage.memory.baselines.nothing import NoMemory
from mirage.models.files.lora_spec import lora_specs
from mirage.models.loading import load_world_model
from mirage.rollout import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler
from mirage.scenes import HELD_OUT, Scene


def run(asked: Demo) -> Result:
    """Two walks and the truth, as videos, a sheet and a receipt in a folder."""
    if not 0 <= asked.seed < HELD_OUT:
        raise InputError(f"--seed {asked.seed}: held-out scenes have seeds from 0 to {HELD_OUT - 1:,}")
    settings = Settings(sampler=Sampler(steps=asked.steps))
    if asked.chunks < 1:
        raise InputError(f"--chunks {asked.chunks}: expected a number above 0")
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError(f"--out {asked.out} is a file; expected a folder")
    started = time.perf_counter()
    if asked.out.is_dir():
        inputs = [asked.model, asked.branch, *(spec.path for spec in lora_specs(asked.lora))]
        check_outputs(*_files(asked.out), inputs=inputs, overwrite=asked.overwrite)
    wrote = Wrote(*(output.path for output in _files(asked.out)))
    model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    asked.out.mkdir(parents=True, exist_ok=True)
    check_writable(asked.out / "demo.png")

    scene = Scene.sample(asked.seed)
    path = scene.path(asked.walk, 1 + asked.chunks * (model.chunk_frames - 1), seed=asked.seed)
    truth, back = scene.render(path, model.size).rgb, returned(path)
    print(f"scene {asked.seed}, {len(path)} frames: {scene.caption}")
    with VideoWriter(asked.out / "truth.mp4", fps=model.fps) as video:
        video.write(truth)

    walks: dict[str, Tensor] = {}
    reports: dict[str, Any] = {}
    for name, memory in (("with memory", None), ("without memory", NoMemory(model.channels))):
        session = Session(
            model,
            truth[0],
            camera=path[0],
            prompt=scene.caption,
            memory=memory,
            seed=asked.seed,
            settings=settings,
        )
        walks[name], reports[name] = _walked(session, path, asked.out / f"{name.replace(' ', '_')}.mp4", name)
        reports[name]["return_psnr"] = float(psnr(walks[name][back], truth[back]).mean())
        print(
            f"{name:>14}: {reports[name]['return_psnr']:.2f} dB on return, {reports[name]['seconds']:.1f} s, "
            f"memory {reports[name]['memory_bytes'] / 2**20:.2f} MiB"
        )

    save_image(asked.out / "demo.png", _sheet(truth, walks, reports, scene.caption))
    seconds = time.perf_counter() - started
    summary = {
        "folder": str(asked.out),
        "seed": asked.seed,
        "frames": len(path),
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(),
        "return_psnr": {name: report["return_psnr"] for name, report in reports.items()},
    }
    write_receipt(
        asked.out / "receipt.json",
        {
            **summary,
            "command": sys.argv[1:],
            "versions": versions(),
            "model": asked.model,
            **additions(asked),
            "caption": scene.caption,
            "walks": reports,
        },
    )
    wrote(f"{asked.out}/demo.png, three videos and receipt.json in {seconds:.0f} s")
    return Result(summary)


def _files(folder: Path) -> list[Output]:
    """All that is left there."""
    videos = [Output("video", folder / f"{name}.mp4") for name in ("truth", "with_memory", "without_memory")]
    return [Output("sheet", folder / "demo.png"), *videos, Output("receipt", folder / "receipt.json")]


def _walked(session: Session, path, out: Path, name: str) -> tuple[Tensor, dict[str, Any]]:
    """All frames [F,3,H,W] of a walk, its video written on the way, and its report."""
    started = time.perf_counter()
    frames, chunks = [], []
    with VideoWriter(out, fps=session.model.fps) as video:
        for chunk, _ in walk(session, path, what=name):
            video.write(chunk.frames)
            frames.append(chunk.frames)
            chunks.append(chunk.report())
    return torch.cat(frames), {
        "seconds": time.perf_counter() - started,
        "points": len(session.memory),
        "memory_bytes": session.memory.nbytes,
        "chunks": chunks,
    }


def _sheet(truth: Tensor, walks: dict[str, Tensor], reports: dict[str, Any], caption: str) -> Tensor:
    """Rows truth, with, without; columns from the start over the farthest point to the return."""
    last = len(truth) - 1
    columns = torch.linspace(0, last, 7).round().long()
    words = [
        "start",
        *(f"frame {i}" for i in columns[1:3].tolist()),
        f"frame {last // 2}: far away",
        *(f"frame {i}" for i in columns[4:6].tolist()),
    ]
    captions = {"truth": [*words, "return"]}
    for name, report in reports.items():
        captions[name] = [*words, f"return: {report['return_psnr']:.1f} dB"]
    rows = {"truth": truth[columns], **{name: frames[columns] for name, frames in walks.items()}}
    return contact_sheet(rows, columns=7, captions=captions, title=caption, width=176)
