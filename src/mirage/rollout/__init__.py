"""Running a world model: a session that walks, chunk by chunk, and remembers."""

from mirage.rollout.chunk import Chunk
from mirage.rollout.session import Session

__all__ = ["Chunk", "Session"]
