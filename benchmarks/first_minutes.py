"""The first ten minutes of somebody with a fresh clone, a photograph and a folder of downloads, as they type them.

python benchmarks/first_minutes.py            (a temporary folder, the bundled model, one step a chunk)

A photograph with EXIF, a portrait at its own shape, a LoRA of each layout, and a walk that is killed and resumed: each
command has to end as it should, and the receipt has to say what was done.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import ExifTags, Image
from safetensors.torch import save_file

from mirage.models.loading import load_world_model

MIRAGE = [sys.executable, "-m", "mirage"]
SHORT = ["--trajectory", "right 8", "--steps", "1", "--draft", "off"]


def main() -> None:
    """Everything, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.perf_counter()
        _photographs(folder)
        taken = _generate(folder, "photo.mp4", "--image", "photo.jpg")
        assert taken["image"]["field_of_view_from"] == "EXIF 35 mm", taken["image"]
        upright = _generate(folder, "portrait.mp4", "--image", "portrait.jpg", "--size", "384", "288")
        assert upright["size"] == [384, 288], upright["size"]
        plain = (folder / "photo.mp4").read_bytes()
        for layout in _loras(folder):
            its = _generate(folder, f"{layout}.mp4", "--image", "photo.jpg", "--lora", f"{layout}.safetensors:0.5")
            assert its["lora"] == [{"file": f"{layout}.safetensors", "strength": 0.5}]
            assert (folder / f"{layout}.mp4").read_bytes() != plain, layout
        _killed_and_resumed(folder)
        print(f"all of it in {time.perf_counter() - started:.0f} s")


def _generate(folder: Path, out: str, *words: str) -> dict:
    """The receipt of a short walk."""
    started = time.perf_counter()
    subprocess.run([*MIRAGE, "generate", *words, *SHORT, "--out", out], cwd=folder, check=True, capture_output=True)
    print(f"{' '.join(words)}: {time.perf_counter() - started:.0f} s", flush=True)
    return json.loads((folder / out).with_suffix(".receipt.json").read_text())


def _photographs(folder: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    across = Image.linear_gradient("L").resize((640, 480))
    landscape = Image.merge("RGB", (across, across.transpose(Image.Transpose.ROTATE_180), across))
    landscape.save(folder / "photo.jpg", exif=exif)
    landscape.resize((480, 640)).save(folder / "portrait.jpg")


def _loras(folder: Path) -> list[str]:
    """One difference in four layouts, for the bundled model."""
    weight = load_world_model("mini").transformer.get_parameter("blocks.0.attn1.to_q.weight")
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, weight.shape[1], generator=draw), torch.randn(weight.shape[0], 4, generator=draw)
    ours, original = "blocks.0.attn1.to_q", "blocks.0.self_attn.q"
    kohya = f"lora_unet_{original.replace('.', '_')}"
    files = {
        "diffusers": {f"transformer.{ours}.lora_A.weight": a, f"transformer.{ours}.lora_B.weight": b},
        "comfyui": {f"diffusion_model.{original}.lora_A.weight": a, f"diffusion_model.{original}.lora_B.weight": b},
        "musubi": {f"{kohya}.lora_down.weight": a, f"{kohya}.lora_up.weight": b, f"{kohya}.alpha": torch.tensor(4.0)},
        "diffsynth": {f"{original}.lora_A.default.weight": a, f"{original}.lora_B.default.weight": b},
    }
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors")
    return list(files)


def _killed_and_resumed(folder: Path) -> None:
    """SIGKILL after the first chunk; `--resume` ends where an undisturbed walk does."""
    words = ["--image", "photo.jpg", "--trajectory", "right 64", "--steps", "1", "--draft", "off"]
    for name in ("whole", "killed"):
        run = subprocess.Popen(
            [*MIRAGE, "generate", *words, "--out", f"{name}.mp4"], cwd=folder, stderr=subprocess.PIPE
        )
        assert run.stderr is not None
        if name == "killed":
            while b"chunk 1 of 2" not in run.stderr.readline():
                assert run.poll() is None
            run.send_signal(signal.SIGKILL)
        run.communicate()
    subprocess.run(
        [*MIRAGE, "generate", "--resume", "killed.receipt.json"], cwd=folder, check=True, capture_output=True
    )
    whole, killed = (json.loads((folder / f"{name}.receipt.json").read_text()) for name in ("whole", "killed"))
    assert killed["frames"] == whole["frames"] == 65, killed["frames"]
    assert [one["points"] for one in killed["chunks"]] == [one["points"] for one in whole["chunks"]]
    print("killed after a chunk and resumed: the same walk", flush=True)


if __name__ == "__main__":
    main()
