"""How a path is cut into chunks; the one place that knows the rule of 1 + 4k frames.

The autoencoder makes one latent of the first frame and one of every four after it, and a chunk begins with the last
latent of the one before. So latent k stands at video frame 4k, and a chunk of 33 frames adds 32:

    frames    0 ........ 32 ........ 64 ........ 96        97 = 1 + 4 * 24
    latents   0 ...  8      8 ... 16    16 ... 24
"""

from collections.abc import Iterator

from mirage.errors import InputError

STRIDE = 4  # video frames per latent frame, after the first


def windows(frames: int, chunk_frames: int) -> Iterator[slice]:
    """Slices of a path of `frames` poses, overlapping by one pose, that cover it exactly; the last may be shorter."""
    for count, name in ((frames, "a path"), (chunk_frames, "a chunk")):
        if count < 1 or (count - 1) % STRIDE:
            raise InputError(f"{name} has 1 + 4k frames (1, 5, 9, ...), got {count}")
    if frames < 1 + STRIDE or chunk_frames < 1 + STRIDE:
        raise InputError(f"a walk needs at least {1 + STRIDE} frames, got {frames} in chunks of {chunk_frames}")
    for start in range(0, frames - 1, chunk_frames - 1):
        yield slice(start, min(start + chunk_frames, frames))


def whole_frames(frames: int) -> int:
    """The largest 1 + 4k that is not more than `frames`."""
    if frames < 1:
        raise InputError(f"a path has at least one frame, got {frames}")
    return frames - (frames - 1) % STRIDE
