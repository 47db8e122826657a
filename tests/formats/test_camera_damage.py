"""Damaged camera files: two thousand of them over all formats, each read or refused in one line, soon and in little
memory."""

import json
import random
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import refusal
from mirage.errors import InputError
from mirage.formats.cameras import read_cameras

FILES, SECONDS, MEBIBYTES = 2000, 2.0, 200
WORDS = [
    b"nan",
    b"-inf",
    b"1e400",
    b"999999999999999999",
    b"-1",
    b"",
    b"[",
    b"{",
    b"\x00",
    b"0 0 0 0",
    b"null",
    b"true",
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One way in which files go wrong: cut, bits turned, numbers exchanged, counts made huge, brackets made deep."""
    kind = rng.randrange(8)
    at = rng.randrange(max(1, len(data)))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9))) + data[at + 4 :]
    if kind == 2:
        return data[:at] + rng.choice(WORDS) + data[at + rng.randrange(6) :]
    if kind == 3:
        words = data.split(b" ")
        first, second = rng.randrange(len(words)), rng.randrange(len(words))
        words[first], words[second] = words[second], words[first]
        return b" ".join(words)
    if kind == 4:
        return data[:at] + b"\xff" * 8 + data[at + 8 :]  # the largest count there is, in a binary file
    if kind == 5:
        return data[:at] + rng.choice([b"[", b'{"a":']) * 50_000 + data[at:]
    if kind == 6:
        lines = data.split(b"\n")
        rng.shuffle(lines)
        return b"\n".join(lines)
    return data.replace(
        rng.choice([b",", b".", b"\n", b" ", b'"']), rng.choice([b"", b" ", b";", b"0"]), rng.randrange(1, 9)
    )


def originals(cases: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Pairs (what is read, the file in it that is damaged), copied to a folder."""
    found = []
    for case in sorted(path for path in cases.iterdir() if path.is_dir()):
        if case.name in ("big_images_txt", "export_names", "footage_unpadded", "colmap_export_into_old"):
            continue
        copy = folder / case.name
        shutil.copytree(case, copy)
        (copy / "README").unlink()
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        whole = len(files) > 2  # a folder is one path
        found += [(copy if whole else file, file) for file in files]
    np.savez(
        folder / "vggt.npz", extrinsic=np.tile(np.eye(4), (1, 5, 1, 1)), intrinsic=np.tile(np.eye(3) * 40, (5, 1, 1))
    )
    np.savez(folder / "vipe.npz", data=np.tile(np.eye(4), (5, 1, 1)), inds=np.arange(5))
    record3d = {"poses": [[0, 0, 0, 1, i, 0, 0] for i in range(5)], "K": [9, 0, 0, 0, 9, 0, 8, 6, 1], "w": 16, "h": 12}
    (folder / "metadata.json").write_text(json.dumps(record3d))
    (folder / "re10k.txt").write_text("http\n" + "0 0.5 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0\n" * 5)
    (folder / "motion.json").write_text(json.dumps([[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]] * 5))
    (folder / "keys.txt").write_text("w 31, right 10")
    (folder / "string.txt").write_text("w-31, right-10")
    score = {"focal_length": 500, "cameras_interp": np.tile(np.eye(4), (5, 1, 1)).tolist()}
    (folder / "camera_data.json").write_text(json.dumps(score))
    return found + [(file, file) for file in sorted(folder.iterdir()) if file.is_file()]


def test_damaged_files_are_read_or_refused(data_dir: Path, tmp_path: Path) -> None:
    pairs = originals(data_dir / "cameras", tmp_path)
    assert len(pairs) > 45
    whole = {file: file.read_bytes() for _, file in pairs}
    rng = random.Random(0)
    read_cameras(data_dir / "cameras/kitti/00.txt")  # whatever is imported is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number in range(FILES):
        path, file = pairs[number % len(pairs)]
        file.write_bytes(damaged(whole[file], rng))
        began = time.process_time()
        try:
            record = read_cameras(path)
        except InputError as error:
            refused += 1
            message = str(error)
        else:
            message = ""
            assert torch.isfinite(record.camera.c2w).all()
            assert torch.isfinite(record.camera.intrinsics).all()
        assert time.process_time() - began < SECONDS, file
        assert "\n" not in message
        assert len(message) < 1500
        file.write_bytes(whole[file])
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES
    assert FILES / 4 < refused < FILES


@pytest.mark.parametrize("name", ["path.txt", "path.json", "path.npz", "path.npy"])
def test_nothing_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    for content in (b"", b"\n", b"\x00" * 100, b"PK\x03\x04", b"\x93NUMPY", b"{}", b"[]", b"#\n"):
        (tmp_path / name).write_bytes(content)
        refusal(read_cameras, tmp_path / name)
