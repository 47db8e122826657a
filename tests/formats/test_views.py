"""Several views of one place: each keeps its own pixels, camera and depth, whatever the form they came in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch.testing import assert_close

from mirage.errors import InputError
from mirage.formats.cameras import save_cameras
from mirage.formats.video import VideoWriter
from mirage.formats.views import open_views
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit

SIZE = (32, 48)


def level(number: int) -> float:
    return (20 + 9 * number) / 255


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """12 even pictures in room/ (view 2 before view 10), the same as room2.mkv, with cameras and depth of both."""
    path = orbit(Camera.looking(horizontal_fov=50, aspect=1.5), 12)
    (tmp_path / "room").mkdir()
    for number in range(12):
        Image.new("RGB", (SIZE[1], SIZE[0]), (20 + 9 * number,) * 3).save(tmp_path / f"room/view {number}.png")
    with VideoWriter(tmp_path / "room2.mkv", codec="ffv1") as video:
        video.write(torch.tensor([level(n) for n in range(12)])[:, None, None, None].expand(12, 3, *SIZE))
    for name in ("room", "room2"):
        save_cameras(tmp_path / f"{name}.npz", path, format="npz")
        depth = np.arange(1, 13, dtype=np.float32)[:, None, None] * np.ones((12, 16, 24), dtype=np.float32)
        np.savez(tmp_path / f"{name}.depth.npz", depth=depth)
    return tmp_path


@pytest.mark.parametrize("name", ["room", "room2.mkv"])
def test_a_film_or_a_folder(room: Path, name: str) -> None:
    path = orbit(Camera.looking(horizontal_fov=50, aspect=1.5), 12)
    views = open_views([room / name], most=4).fitted((16, 16))
    numbers = [0, 4, 7, 11]
    assert len(views) == 4
    for number, (pixels, camera, depth) in zip(numbers, views, strict=True):
        assert pixels.shape == (3, 16, 16)
        assert pixels.mean() == pytest.approx(level(number), abs=1e-3)
        assert_close(camera.c2w, path[number].relative_to(path[-1]).c2w)
        assert camera.intrinsics[0] == pytest.approx(float(path.intrinsics[0, 0]) * 1.5, rel=1e-4)  # cut to a square
        assert depth is not None
        assert depth.shape == (16, 16)
        assert (depth.z == number + 1).all()
    assert len(open_views([room / name])) == 12
    assert str(views.receipt()[-1]["file"]).endswith(("view 11.png", "frame 11"))


def test_pictures_with_their_cameras_in_the_order_given(room: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    Image.new("RGB", (60, 40), "red").save(room / "far.jpg", exif=exif)
    pictures = [room / "far.jpg", room / "room/view 3.png"]
    save_cameras(room / "two.txt", orbit(Camera.looking(), 2), format="tum")  # which has no intrinsics
    views = open_views(pictures, cameras=room / "two.txt")
    assert [photograph.fov_from for photograph in views.photographs] == ["EXIF 35 mm", "default"]
    assert_close(views.camera.intrinsics[0], Camera.for_image((40, 60), focal_mm=50).intrinsics)
    assert_close(views.camera.intrinsics[1], Camera.for_image(SIZE).intrinsics)
    assert views.depth == (None, None)
    wide = open_views(pictures, cameras=room / "two.txt", fov=90)
    assert_close(wide.camera.intrinsics[:, 0], torch.full((2,), 0.5))
    alone = open_views(pictures[:1])
    assert_close(alone.camera.intrinsics[0], views.camera.intrinsics[0])


def test_what_does_not_fit_is_said(room: Path) -> None:
    pictures = [room / "room/view 3.png", room / "room/view 4.png"]
    requests: list[tuple[dict[str, Any], str]] = [
        ({"sources": []}, "no pictures"),
        ({"sources": pictures}, "need their cameras"),
        ({"sources": pictures, "cameras": room / "room.npz"}, "12 poses and there are 2 pictures"),
        ({"sources": [room / "room"], "most": 0}, "expected 1 or more"),
        ({"sources": [room / "none.png"]}, "no file"),
        ({"sources": [*pictures, room / "room"], "cameras": room / "room.npz"}, "folder"),
    ]
    for options, words in requests:
        with pytest.raises(InputError, match=words):
            open_views(**options)
