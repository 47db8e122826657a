"""What a function of `mirage.show` gives: a picture that a notebook draws by itself and that goes to a file."""

import base64
import io
import os
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.image import encoded, save_image, to_bytes
from mirage.kinds import checked


@dataclass(frozen=True, eq=False)
class Shown:
    """`pixels` [3,H,W] in [0, 1]; `html`: something that moves or turns, which a notebook prefers."""

    pixels: Tensor
    html: str | None = None

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """A .png, .jpg or .webp of the pixels; an .html of what moves."""
        if os.fspath(path).lower().endswith(".html"):
            if self.html is None:
                raise InputError(f"cannot write {path}: this picture is still; accepted: .png, .jpg, .webp")
            with replacing(path) as beside:
                beside.write_text(self.html, encoding="utf-8")
        else:
            save_image(path, self.pixels)

    def __repr__(self) -> str:
        moves = ", moves" if self.html is not None else ""
        return f"Shown({self.pixels.shape[2]} x {self.pixels.shape[1]} pixels{moves})"

    def _repr_png_(self) -> bytes:
        return encoded(self.pixels, "PNG")

    def _repr_html_(self) -> str | None:
        return self.html


@dataclass(frozen=True, eq=False)
class Animation:
    """Frames [F,3,H,W] in [0, 1] that play over and over."""

    frames: Tensor
    fps: float

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """A .gif or an animated .webp (`mirage.save_video` writes films)."""
        kind = os.path.splitext(path)[1].lower()
        if kind not in (".gif", ".webp"):
            raise InputError(f"cannot write {path}: animations are written as .gif or .webp; save_video writes films")
        with replacing(path) as beside:
            beside.write_bytes(self._encoded(kind[1:].upper()))

    def __repr__(self) -> str:
        count, _, height, width = self.frames.shape
        return f"Animation({count} frames of {width} x {height} at {self.fps:g} a second)"

    def _repr_html_(self) -> str:
        encoded = base64.b64encode(self._encoded("WEBP")).decode()
        return f'<img alt="{self!r}" src="data:image/webp;base64,{encoded}"/>'

    def _encoded(self, kind: str) -> bytes:
        first, *rest = [Image.fromarray(to_bytes(frame)) for frame in self.frames]
        file = io.BytesIO()
        first.save(file, kind, save_all=True, append_images=rest, duration=round(1000 / self.fps), loop=0)
        return file.getvalue()
