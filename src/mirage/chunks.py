"""How video frames, latent frames and chunks count each other; the one place that knows the rule of 1 + 4k frames.

The autoencoder makes one latent of the first frame and one of every four after it, and a chunk begins with the last
latent of the one before. So latent k stands at video frame 4k, and a chunk of 33 frames adds 32:

    frames    0 ........ 32 ........ 64 ........ 96        97 = 1 + 4 * 24
    latents   0 ...  8      8 ... 16    16 ... 24          25 = 1 + 24
"""

from collections.abc import Iterator

from mirage.errors import InputError

TIME_STRIDE = 4  # video frames per latent, after the first latent, which is one frame


def windows(frames: int, chunk_frames: int) -> Iterator[slice]:
    """Slices of a path of `frames` poses, overlapping by one pose, that cover it exactly; the last may be shorter."""
    check_frames(frames, "a path")
    check_frames(chunk_frames, "a chunk")
    for start in range(0, frames - 1, chunk_frames - 1):
        yield slice(start, min(start + chunk_frames, frames))


def check_frames(frames: int, what: str, *, least: int = 1 + TIME_STRIDE) -> None:
    """`InputError` unless `frames` is 1 + 4k and at least `least`. `what` has so many: "a path", "a chunk"."""
    if frames < least or (frames - 1) % TIME_STRIDE:
        first = least + (1 - least) % TIME_STRIDE
        some = ", ".join(str(first + k * TIME_STRIDE) for k in range(3))
        raise InputError(f"{what} has 1 + {TIME_STRIDE}k frames ({some}, ...), got {frames}")


def whole_frames(frames: int) -> int:
    """The largest 1 + 4k that is not more than `frames`."""
    if frames < 1:
        raise InputError(f"a path has at least one frame, got {frames}")
    return frames - (frames - 1) % TIME_STRIDE


def latent_count(frames: int) -> int:
    """Latents of a stream's first `frames` video frames, 1 + 4k of them."""
    return 1 + (frames - 1) // TIME_STRIDE


def frame_count(latents: int) -> int:
    """Video frames of a stream's first `latents` latents."""
    return 1 + (latents - 1) * TIME_STRIDE
