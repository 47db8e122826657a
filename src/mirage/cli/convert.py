"""`mirage convert`: other people's checkpoints into our layout."""

from mirage.cli.arguments import Convert
from mirage.cli.outputs import files_in
from mirage.cli.terminal import Result, progress
from mirage.errors import InputError
from mirage.files import Output, check_outputs, size


def run(asked: Convert) -> Result:
    """Convert, and say what for."""
    if asked.heads is not None and asked.heads < 1:
        raise InputError(f"--heads {asked.heads}: expected 1 or more")
    if not asked.source.exists():
        raise InputError(f"no checkpoint at {asked.source}: no such file or folder")
    if asked.out.suffix == ".safetensors":
        check_outputs(Output("weights", asked.out), inputs=files_in(asked.source), overwrite=asked.overwrite)
    import torch

    from mirage.models.files.convert import convert

    dtype = None if asked.dtype == "stored" else getattr(torch, asked.dtype)
    with progress("converting", total=1.0) as show:
        written = convert(
            asked.source,
            asked.out,
            dtype=dtype,
            heads=asked.heads,
            alpha=asked.alpha,
            progress=lambda done, total: show(done / max(total, 1), ""),
        )
    sizes = {kind: size(path) for kind, path in written.items()}
    for kind, path in written.items():
        print(f"wrote {path}: {kind.replace('_', ' ')}, {sizes[kind] / 2**20:,.1f} MiB")
    option = {"branch": "--branch", "lora": "--lora"}
    for kind, path in written.items():
        if kind in option:
            print(f"      use it with {option[kind]} {path}")
    whole = (asked.out / "model_index.json").is_file()
    if whole:
        print(f"      use it with --model {asked.out}")
    return Result(
        {
            "source": str(asked.source),
            "out": str(asked.out),
            "whole_model": whole,
            "written": {kind: str(path) for kind, path in written.items()},
            "bytes": sizes,
        }
    )
