"""A COLMAP model whose keypoints outweigh its poses by thousands: seconds until its path is there, ours and pycolmap's.

    python benchmarks/cameras.py [IMAGES] [KEYPOINTS] [ROUNDS]      # 250, 12,000 and 5 unless given

Makes the model, as text and as binary, in a temporary folder; opens each in turn by `read_cameras` and by
pycolmap.Reconstruction, so that whatever else the machine does meets both alike; checks that both found the same
centres; prints the median seconds and their ratio. The bar is a tenth.
"""

import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycolmap
import torch

from mirage.formats.cameras import read_cameras

BAR = 0.1


def main(images: int = 250, keypoints: int = 12_000, rounds: int = 5) -> dict[str, float]:
    """Ratio of the medians by kind of model."""
    torch.set_num_threads(1)
    ratios = {}
    with tempfile.TemporaryDirectory() as made:
        for kind, make in (("text", text_model), ("binary", binary_model)):
            folder = Path(made) / kind
            folder.mkdir()
            make(folder, images, keypoints)
            weight = sum(file.stat().st_size for file in folder.iterdir())
            times = interleaved(
                {"mirage": lambda at=folder: ours(at), "pycolmap": lambda at=folder: theirs(at)}, rounds
            )
            np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-6)
            ratio = ratios[kind] = times["mirage"] / times["pycolmap"]
            print(
                f"{kind:<8}{weight / 1e6:7.1f} MB   mirage {times['mirage']:.4f} s   pycolmap {pycolmap.__version__} "
                f"{times['pycolmap']:.4f} s   ratio {ratio:.4f}, {'under' if ratio < BAR else 'OVER'} {BAR}"
            )
    return ratios


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds by way, each way once a round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def ours(folder: Path) -> np.ndarray:
    """Camera centres in the order of names."""
    return read_cameras(folder).camera.center.numpy()


def theirs(folder: Path) -> np.ndarray:
    """The same by pycolmap."""
    found = pycolmap.Reconstruction(str(folder)).images.values()
    return np.stack([image.projection_center() for image in sorted(found, key=lambda image: image.name)])


def text_model(folder: Path, images: int, keypoints: int) -> None:
    """cameras.txt, images.txt and points3D.txt."""
    line = " ".join(f"{x:.6f} {y:.6f} -1" for x, y in places(keypoints))
    (folder / "cameras.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
    (folder / "points3D.txt").write_text("")
    with (folder / "images.txt").open("w") as file:
        for image in range(images):
            file.write(f"{image + 1} 1 0 0 0 0 0 {-0.1 * image} 1 frame_{image:05d}.jpg\n{line}\n")


def binary_model(folder: Path, images: int, keypoints: int) -> None:
    """The same as .bin: a keypoint is x, y as doubles and the number of its point, none."""
    points = np.zeros(keypoints, dtype=[("xy", "<f8", 2), ("point", "<u8")])
    points["xy"], points["point"] = places(keypoints), 2**64 - 1
    (folder / "cameras.bin").write_bytes(struct.pack("<QIiQQ4d", 1, 1, 1, 640, 480, 500, 500, 320, 240))
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    with (folder / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", images))
        for image in range(images):
            file.write(struct.pack("<I7dI", image + 1, 1, 0, 0, 0, 0, 0, -0.1 * image, 1))
            file.write(f"frame_{image:05d}.jpg".encode() + b"\0" + struct.pack("<Q", keypoints) + points.tobytes())


def places(keypoints: int) -> np.ndarray:
    """x, y [keypoints,2] in pixels."""
    return np.random.default_rng(0).uniform((100, 100), (640, 480), (keypoints, 2)).round(6)


if __name__ == "__main__":
    sys.exit(any(ratio >= BAR for ratio in main(*map(int, sys.argv[1:])).values()))
