"""Training the autoencoder so that its latents reconstruct, and so that they warp.

A memory moves latents about, so a latent must mean the same wherever in its cell the surface falls. Two crops of the
same clip, a fraction of a cell apart, are encoded; the first one's latents, shifted bilinearly by that fraction, should
be the second one's (EQ-VAE, arXiv 2502.09509, says so of images), and should decode to the second crop.

    crop x1 --encode--> z1 --shift by d cells--> z1'    loss: |z1' - z2|^2 / var, and |decode(z1' or z2) - x2|
    crop x2 = x1 moved by d ------encode------> z2

`var` is the mean of the channels' variances: relative to its own, a channel that does not shift well is dear at any
size and dies (five of the sixteen of the eighth weights did). A dead one's deviation is taken to be 1, so that nobody
after asks what it says (`measure_latents`).

Letters: B batch, F video frames, T latent frames, C channels; crops are `crop` pixels wide, a cell is `stride` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirage.models.autoencode import Autoencoder, decode, encode
from mirage.training.clips import clip_paths, opened_rgb
from mirage.training.draws import chance, draw, generator_of, normal
from mirage.training.photographs import Photographs
from mirage.training.samples import Batch, Sample


@dataclass(frozen=True)
class AutoencoderConfig:
    """`mix`: (frames, crop pixels, clips per step) drawn uniformly a step. Frames 1: images, each frame on its own.
    `equivariance`: its weight; 0: none of it, and latents that were moved are not decoded either; else `moved` of the
    steps decode them. `steepness`: the weight of how steep pictures are, place by place (`steepness_error`).
    `photographs`: a folder of pictures that `pictured` of the steps see, still or in motion. `stills`: a folder of
    drawn pictures that half of the other steps on images see. `bf16`: the networks in bfloat16, not what learns."""

    clips: Path
    mix: tuple[tuple[int, int, int], ...]
    equivariance: float = 0.01
    moved: float = 0.5
    noise: float = 0.05
    steepness: float = 0.0
    held_out: int = 8
    photographs: Path | None = None
    pictured: float = 0.7
    stills: Path | None = None
    bf16: bool = False

    def check(self) -> None:
        """Raise `InputError` where the clips are not there, or the stills."""
        for folder in (self.clips, self.stills):
            if folder is not None:
                clip_paths(folder)


@dataclass(frozen=True)
class Crops(Batch):
    """`rgb` uint8 [B,3,F,crop + stride,crop + stride], and how many pixels down and right the second crop is."""

    rgb: Tensor
    shift: tuple[int, int]


class AutoencoderTask:
    """Reconstruction of crops, with the latents' fixed noise, weak L2 and the equivariance of the module's docstring.

    The posterior is not sampled: its mean with a small fixed noise trains 8 dB better at this size.
    """

    def __init__(self, vae: Autoencoder, config: AutoencoderConfig) -> None:
        self.module: nn.Module = vae
        self.vae, self.config = vae, config
        paths = clip_paths(config.clips)
        train, self.test = paths[: -config.held_out], paths[-config.held_out :]
        its: Any = vae.config
        self.stride: int = its.scale_factor_spatial
        stills = [] if config.stills is None else clip_paths(config.stills)
        self.photographs = None if config.photographs is None else Photographs(config.photographs)
        self.maker = Cropper(config, train, self.stride, stills, self.photographs)

    def loss(self, batch: Crops, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        wide, (down, right) = batch.rgb.float() / 127.5 - 1, batch.shift
        crop = wide.shape[-1] - self.stride
        x1 = wide[..., :crop, :crop]
        x2 = wide[..., down : down + crop, right : right + crop]
        both = torch.cat([x1, x2])
        with self._precision():
            z = encode(self.vae, both).float()
        z1, z2 = z.chunk(2)
        moved = shifted(z1, down / self.stride, right / self.stride)
        variance = z2.detach().var(dim=(0, 2, 3, 4)).mean() + 1e-4
        equivariance = ((moved - z2[..., :-1, :-1]).square() / variance).mean()
        source, target = z2, x2
        if self.config.equivariance and chance(self.config.moved, generator):
            source, target = moved, x2[..., : crop - self.stride, : crop - self.stride]
        noise = normal(source.shape, generator, source.device) * self.config.noise
        with self._precision():
            decoded = decode(self.vae, source + noise).float()
        error = decoded - target
        reconstruction = error.square().mean() + 0.1 * error.abs().mean()
        if self.config.steepness:
            reconstruction = reconstruction + self.config.steepness * steepness_error(decoded, target)
        loss = reconstruction + self.config.equivariance * equivariance + 1e-4 * z2.square().mean()
        numbers = {"mse": float(error.detach().square().mean()), "equivariance": float(equivariance.detach())}
        return loss, numbers

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.vae.device.type, torch.bfloat16, enabled=self.config.bf16)

    def evaluate(self) -> dict[str, float]:
        numbers = held_out_quality(self.vae, self.test, clips=max(frames for frames, _, _ in self.config.mix) > 1)
        if self.photographs is not None:
            numbers |= photograph_quality(self.vae, self.photographs.test((192, 256)))
        return numbers


@dataclass(frozen=True)
class Cropper:
    """A `Maker` of crops from the clips at `paths`, and of the pictures at `stills`. Samples of stills and photographs
    count too: beside those an epoch has the share of the clips that the steps on clips have."""

    config: AutoencoderConfig
    paths: list[Path]
    stride: int
    stills: list[Path]
    photographs: Photographs | None = None

    def size(self, number: int) -> int:
        """Crops a process."""
        return self._shape(generator_of("batch", number))[2]

    def __call__(self, number: int, samples: Sequence[Sample]) -> Crops:
        shared = generator_of("batch", number)  # every process draws the same shape, so none waits for another
        frames, crop, _ = self._shape(shared)
        shift = (draw(self.stride, samples[0].generator), draw(self.stride, samples[0].generator))
        size = crop + self.stride
        if self.photographs is not None and chance(self.config.pictured, shared):
            pictures = self.photographs
            one = pictures.still if frames == 1 else lambda size, of: pictures.clip(frames, size, of)
            return Crops(torch.stack([one(size, sample.generator) for sample in samples]), shift)
        paths = self.stills if self.stills and frames == 1 and draw(2, shared) else self.paths
        return Crops(torch.stack([_crop(one.of(paths), frames, size, one.generator) for one in samples]), shift)

    def _shape(self, shared: torch.Generator) -> tuple[int, int, int]:
        return self.config.mix[draw(len(self.config.mix), shared)]


def _crop(path: Path, frames: int, size: int, generator: torch.Generator) -> Tensor:
    """uint8 [3,F,size,size] from a random place of a clip, mirrored half of the time."""
    with opened_rgb(path) as rgb:
        count, _, height, width = rgb.get_shape()
        t, y, x = (draw(n, generator) for n in (count - frames + 1, height - size + 1, width - size + 1))
        crop = rgb[t : t + frames, :, y : y + size, x : x + size]
    return (crop.flip(-1) if draw(2, generator) else crop).transpose(0, 1)


@torch.no_grad()
def held_out_quality(vae: Autoencoder, paths: Sequence[Path], *, clips: bool) -> dict[str, float]:
    """PSNR of whole frames: single images, and with `clips` the first 33 frames of four clips, each as one stream; and
    how far latents that are shifted by half a cell are from those of the shifted image, in units of their variance."""
    its: Any = vae.config
    half = its.scale_factor_spatial // 2
    images, videos, shifts = [], [], []
    for path in paths:
        rgb = _beginning(path, 33).to(vae.device)
        still = rgb[0, :, ::16].transpose(0, 1)[:, :, None]
        z = encode(vae, still)
        images.append(psnr(decode(vae, z), still))
        z2 = encode(vae, still[..., half:-half, half:-half])
        shifts.append(float((shifted(z, 0.5, 0.5) - z2).square().mean() / z2.var()))
        if clips and len(videos) < 4:
            videos.append(psnr(decode(vae, encode(vae, rgb)), rgb))
    numbers = {"image_psnr": images, "half_cell_error": shifts} | ({"clip_psnr": videos} if videos else {})
    return {name: round(sum(values) / len(values), 4) for name, values in numbers.items()}


@torch.no_grad()
def photograph_quality(vae: Autoencoder, pictures: Tensor) -> dict[str, float]:
    """PSNR of photographs uint8 [N,3,H,W], the mean and the worst, and how steep they still are: the mean difference of
    neighbouring pixels as a share of the pictures' own."""
    values, steepness = [], []
    for picture in pictures.split(1):
        still = (picture.float().to(vae.device) / 127.5 - 1)[:, :, None]
        again = decode(vae, encode(vae, still))
        values.append(psnr(again, still))
        steepness.append(float(steep(again.clamp(-1, 1)) / steep(still)))
    mean = sum(values) / len(values)
    numbers = {"photo_psnr": mean, "photo_worst": min(values), "photo_steepness": sum(steepness) / len(steepness)}
    return {name: round(value, 4) for name, value in numbers.items()}


def steep(image: Tensor) -> Tensor:
    """The mean difference of neighbouring pixels of images [...,H,W]."""
    return (image[..., 1:, :] - image[..., :-1, :]).abs().mean() + (image[..., 1:] - image[..., :-1]).abs().mean()


def steepness_error(image: Tensor, target: Tensor) -> Tensor:
    """How far images [B,C,F,H,W] are from being as steep as they should be: the mean over windows of 8 x 8 pixels of
    the difference between theirs and the target's mean differences of neighbouring pixels. What is uncertain a mean
    error makes smooth; this makes it as rough as the target is there, wherever its edges are."""
    steep = []
    for frames in (image.transpose(1, 2).flatten(0, 1), target.transpose(1, 2).flatten(0, 1)):
        down = (frames[..., 1:, :-1] - frames[..., :-1, :-1]).abs()
        right = (frames[..., :-1, 1:] - frames[..., :-1, :-1]).abs()
        steep.append(F.avg_pool2d(down + right, 8, 4))
    return (steep[0] - steep[1]).abs().mean()


def shifted(z: Tensor, down: float, right: float) -> Tensor:
    """Bilinear values of `z` [..., h, w] a fraction of a cell further down and right: [..., h-1, w-1]."""
    rows = torch.lerp(z[..., :-1, :], z[..., 1:, :], down)
    return torch.lerp(rows[..., :-1], rows[..., 1:], right)


def psnr(image: Tensor, target: Tensor) -> float:
    """In dB, of images in [-1, 1]; the mean over the batch of each one's PSNR."""
    error = ((image.clamp(-1, 1) - target) / 2).square().flatten(1).mean(1)
    return float((-10 * error.clamp_min(1e-10).log10()).mean())


@torch.no_grad()
def start_from_images(vae: Autoencoder) -> None:
    """Before training on images: no kernel looks back in time, two frames merge into the later one and one frame
    becomes two equal ones. So what is learnt on images is a working, if jerky, video autoencoder."""
    for name, part in vae.named_modules():
        if isinstance(part, nn.Conv3d) and part.kernel_size[0] == 3:
            part.weight[:, :, :-1] = 0
            if name.endswith("time_conv"):
                identity = torch.eye(part.in_channels, device=part.weight.device)
                part.weight[:, :, -1, 0, 0] = identity.repeat(part.out_channels // part.in_channels, 1)
                assert part.bias is not None
                part.bias.zero_()


DEAD = 0.01
"""A channel whose deviation is below this share of the largest one's says nothing."""


def dead_channels(std: Tensor) -> list[int]:
    """Numbers of the channels that say nothing, by all channels' deviations [C]."""
    return torch.nonzero(std <= DEAD * std.max())[:, 0].tolist()


@torch.no_grad()
def measure_latents(vae: Autoencoder, clips: Path, *, count: int = 24) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent channel over training clips, for the configuration. Of dead channels
    the deviation is 1: normalised, they are as good as 0."""
    latents = [encode(vae, _beginning(path, 17).to(vae.device)) for path in clip_paths(clips)[:count]]
    flat = torch.cat(latents).transpose(0, 1).flatten(1).cpu()
    mean, std = flat.mean(1), flat.std(1)
    std[dead_channels(std)] = 1.0
    return mean.tolist(), std.tolist()


def _beginning(path: Path, frames: int) -> Tensor:
    """The first `frames` of a clip, [1,3,F,H,W] in [-1, 1]."""
    with opened_rgb(path) as rgb:
        return rgb[:frames].float().transpose(0, 1)[None] / 127.5 - 1
