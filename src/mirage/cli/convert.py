"""`mirage convert`: other people's checkpoints into our layout."""

from mirage.cli.arguments import Convert
from mirage.cli.terminal import Result, Wrote, progress
from mirage.errors import InputError
from mirage.files import Output, check_outputs, size


def run(asked: Convert) -> Result:
    """Convert, and say what for."""
    if asked.heads is not None and asked.heads < 1:
        raise InputError(f"--heads {asked.heads}: expected 1 or more")
    for source in asked.sources:
        if not source.exists():
            raise InputError(f"no checkpoint at {source}: no such file or folder")
    if asked.out.suffix == ".safetensors":
        check_outputs(Output("weights", asked.out), inputs=asked.sources, overwrite=asked.overwrite)
    import torch

    from mirage.models.files.convert import convert, tokenizer_fault

    dtype = None if asked.dtype == "stored" else getattr(torch, asked.dtype)
    wrote = Wrote(asked.out)
    with progress("converting", total=1.0) as show:
        written = convert(
            asked.sources,
            asked.out,
            dtype=dtype,
            heads=asked.heads,
            alpha=asked.alpha,
            branch_layers=asked.branch_layers,
            progress=lambda done, total: show(done / max(total, 1), ""),
        )
    sizes = {kind: size(path) for kind, path in written.items()}
    for kind, path in written.items():
        wrote(f"{path}: {kind.replace('_', ' ')}, {sizes[kind] / 2**20:,.1f} MiB")
    option = {"branch": "--branch", "lora": "--lora"}
    for kind, path in written.items():
        if kind in option:
            print(f"      use it with {option[kind]} {path}")
    whole = (asked.out / "model_index.json").is_file()
    fault = tokenizer_fault(asked.out) if whole else None
    if whole and fault is None:
        print(f"      use it with --model {asked.out}")
    elif whole:
        print(f"      its tokenizer is as it came, since it could not be read: {fault}")
        print(f"      put google/umt5-xxl's in {asked.out / 'tokenizer'}, then use it with --model {asked.out}")
    elif not option.keys() & written.keys():
        print("      it is a part of a model; convert takes all of its files at once, and makes a model of them")
    return Result(
        {
            "sources": [str(source) for source in asked.sources],
            "out": str(asked.out),
            "whole_model": whole and fault is None,
            "tokenizer_fault": fault,
            "written": {kind: str(path) for kind, path in written.items()},
            "bytes": sizes,
        }
    )
