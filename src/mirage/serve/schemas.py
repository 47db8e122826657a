"""What the API is asked and what it answers, as pydantic models: they check bodies and make the OpenAPI description.

Poses are camera-to-world [4,4], OpenCV axes (x right, y down, z forward), metres; angles in degrees.
"""

import dataclasses
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from mirage.chunks import TIME_STRIDE
from mirage.request import Request

CHOICES = (
    "prompt", "negative_prompt", "conditioning", "fov", "fit", "steps", "flow_shift", "guidance_scale", "noise_scale",
    "draft", "seed", "memory_budget", "static_filter",
)  # fmt: skip
"""Of a `Request`, those that a stranger may make: none names a file of the server, or a model to fetch."""

LONGEST = 2000  # characters of a prompt or of keys
Metres = Annotated[float, Field(ge=-100, le=100)]
Degrees = Annotated[float, Field(ge=-360, le=360)]
_LIMITS = {
    "prompt": {"max_length": LONGEST}, "negative_prompt": {"max_length": LONGEST}, "fov": {"ge": 1, "le": 170},
    "steps": {"ge": 1, "le": 100}, "seed": {"ge": -(2**53), "le": 2**53}, "noise_scale": {"ge": 0, "le": 1},
    "flow_shift": {"gt": 0, "le": 100}, "guidance_scale": {"ge": 0, "le": 30},
    "memory_budget": {"pattern": r"^[0-9]{1,9} ?(B|[KMG]i?B)$"},
}  # fmt: skip


class Strict(BaseModel):
    """Names that it does not have, and numbers in quotes, are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _choices() -> dict[str, Any]:
    hints, known = get_type_hints(Request), {item.name: item for item in dataclasses.fields(Request)}
    return {name: (hints[name], Field(known[name].default, **_LIMITS.get(name, {}))) for name in CHOICES}


Walk: Any = create_model(
    "Walk",
    __base__=Strict,
    __doc__="How a session is to walk: choices of `mirage.Request`. Without a file it begins in a procedural scene.",
    scene=(int | None, Field(None, ge=0, le=2**31, description="seed of the scene to begin in, where no file is sent")),
    **_choices(),
)


class Move(Strict):
    """How far to go and to turn, evenly over the frames: metres and degrees. All zero: stand still."""

    forward: Metres = 0.0
    right: Metres = 0.0
    up: Metres = 0.0
    yaw: Degrees = 0.0
    pitch: Degrees = 0.0


Pose = Annotated[list[Annotated[list[float], Field(min_length=4, max_length=4)]], Field(min_length=4, max_length=4)]


class Step(Strict):
    """The next video frames, said in one of three ways: a move over `frames`, keys with counts, or a pose for each."""

    move: Move | None = None
    frames: int = Field(8, ge=TIME_STRIDE, le=256, multiple_of=TIME_STRIDE, description="of a move; 4k")
    keys: str | None = Field(None, max_length=LONGEST, description='such as "w 6, w+left 2": 4k frames in all')
    poses: list[Pose] | None = Field(None, min_length=TIME_STRIDE, max_length=256, description="4k of them")
    prompt: str | None = Field(None, max_length=LONGEST, description="of newly generated regions from here on")


class Look(Strict):
    """A view to look at what is known there: where the session stands, or after a move."""

    move: Move = Move()
    picture: bool = Field(False, description="also draw it: the remembered latents, decoded; unknown cells dark")


class Undo(Strict):
    """How many steps to go back."""

    steps: int = Field(1, ge=1, le=1000)


class State(BaseModel):
    """A session and where it stands."""

    session: str = Field(description="its name, to be kept secret: whoever has it may walk on")
    index: int = Field(description="chunks made")
    prompt: str
    pose: Pose
    size: list[int] = Field(description="height and width of its frames, pixels")
    chunk_frames: int = Field(description="most video frames of a step")
    undo: int = Field(description="steps that can be undone: none that were made before it last came back from disk")
    memory_points: int
    memory_bytes: int
    busy: bool = Field(description="whether a step runs or waits")


class Made(BaseModel):
    """A step that was made; its frames are at /sessions/{session}/frame and /sessions/{session}/video."""

    session: str
    index: int
    frames: int
    pose: Pose
    coverage: float = Field(description="share of the step's views that the memory knew before")
    points_added: int
    memory_bytes: int
    seconds: dict[str, float] = Field(description="by stage")


class Seen(BaseModel):
    """What is known from a view."""

    pose: Pose
    coverage: float
    known: list[str] = Field(description="a row of latent cells each: # known, . unknown")
    picture: str | None = Field(None, description="a JPEG, base64")


class Cancel(BaseModel):
    """Whether there was something to stop."""

    cancelled: bool


class Saved(BaseModel):
    """The session is on the server's disk; its world file is at `world`."""

    world: str
    bytes: int


class Reset(BaseModel):
    """As OpenEnv has it; other names are choices of a `Walk`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seed: int | None = Field(None, ge=0, le=2**53)
    episode_id: str | None = Field(None, max_length=255, description="an episode to end, whose place the new one takes")
    scene: int | None = Field(None, ge=0, le=2**31)
    prompt: str | None = Field(None, max_length=LONGEST)
    steps: int | None = Field(None, ge=1, le=100)


class Action(Strict):
    """A `Step` with OpenEnv's metadata, which is not looked at."""

    move: Move | None = None
    frames: int = Field(8, ge=TIME_STRIDE, le=256, multiple_of=TIME_STRIDE)
    keys: str | None = Field(None, max_length=LONGEST)
    metadata: dict[str, Any] = {}


class Act(BaseModel):
    """As OpenEnv has it, with the episode that a reset gave."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Action
    episode_id: str = Field(max_length=255)
    timeout_s: float | None = Field(None, gt=0, le=3600)
    request_id: str | None = Field(None, max_length=255)


class Observation(BaseModel):
    """What an episode's agent sees. The frame is a JPEG, base64."""

    frame: str
    coverage: float
    pose: Pose
    memory_bytes: int


class Result(BaseModel):
    """Of a reset or a step. There is no goal: no reward, and nothing is ever done."""

    observation: Observation
    reward: float | None = None
    done: Literal[False] = False
    metadata: dict[str, Any] = {}


class Episode(BaseModel):
    """OpenEnv's state."""

    episode_id: str
    step_count: int


class Schema(BaseModel):
    """JSON schemas of actions, observations and states."""

    action: dict[str, Any]
    observation: dict[str, Any]
    state: dict[str, Any]
