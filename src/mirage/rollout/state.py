"""A moment of a walk, as a value: what a step changes, and what undo comes back to. `h w` latent grid."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models.world import WorldModel
from mirage.rollout.chunk import End, Tape
from mirage.rollout.history import History

LEAD_IN = 5  # latents that a fresh decoder is shown before it goes on with a walk


@dataclass(frozen=True, eq=False)
class State:
    """A moment of a walk: all that a step changes, but for the memory itself.

    history   the latent frames that are kept to begin with and to look back at
    camera    [], where the walk stands
    index     how many chunks were made
    prompt    what newly generated regions should look like
    end       of the video's stream so far; None: no frame was made yet
    image     until the first chunk is made: the memory before the given image entered it, and which of the image's
              cells were kept [1,h,w] (None: all). One image cannot tell what in it moves; the first chunk can
    """

    history: History
    camera: Camera
    index: int
    prompt: str
    end: End | None
    image: tuple[Any, Tensor | None] | None

    def __repr__(self) -> str:
        return f"State({self.index} chunks, prompt {self.prompt[:40]!r}, {self.history!r})"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A moment with its memory, to come back to; cheap, and valid for as long as it is held. `of`: whose moment."""

    state: State
    memory: Any
    of: Any

    def __repr__(self) -> str:
        return f"Snapshot({self.state!r})"

    def light(self, model: WorldModel) -> "Snapshot":
        """The same moment without the decoder's state, megabytes: a video goes on from it as from a world file, its
        decoder shown the last few latents first."""
        if self.state.end is None:
            return self
        end = End(Tape(model, self.state.history.latents[-LEAD_IN:]))
        return Snapshot(replace(self.state, end=end), self.memory, self.of)


MOST_LETTERS = 2**20
"""Of a prompt: what a world file keeps in its header. A text encoder reads the first few hundred words."""


def checked_prompt(prompt: object, *, what: str = "the prompt") -> str:
    """The prompt, if it is text of a length that can be kept; else `InputError`."""
    if not isinstance(prompt, str):
        raise InputError(f"{what} is {str(prompt)[:80]!r}, a {type(prompt).__name__}; accepted: text")
    if len(prompt) > MOST_LETTERS:
        raise InputError(f"{what} has {len(prompt):,} letters; accepted: at most {MOST_LETTERS:,}")
    return prompt
