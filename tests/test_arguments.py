"""A wrong argument is told, whatever it is: every public callable is handed ten wrong kinds in every place, and nothing
but `InputError` comes back. What is accepted on purpose has its own tests."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mirage
from helpers import random_image, walls
from mirage import Camera, DepthMap, InputError, LatentSpatialMemory, MemoryPolicy, Sampler, Session, Settings
from mirage.models.tiny import tiny_world

GRID, SIZE = (4, 6), (64, 96)
CAMERA = Camera.looking(aspect=1.5)


class Stranger:
    """Nothing that anybody takes."""


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.sampled_from([0, 1, 2, 5, 7]), max_size=5).map(tuple)


HOPELESS: dict[str, st.SearchStrategy[Any]] = {
    "a stranger": st.builds(Stranger),
    "a class": st.sampled_from([Stranger, int, torch.nn.Linear]),
    "a set": st.sets(st.integers(), max_size=3),
    "bytes": st.binary(max_size=8),
}
"""What is accepted nowhere, but where everything is."""
WRONG = HOPELESS | {
    "nothing": st.none(),
    "text": st.text("abcxyz ", max_size=12),
    "a number": st.one_of(st.integers(-(2**70), 2**70), st.floats()),
    "a list": st.lists(st.one_of(st.integers(-9, 9), st.text("ab", max_size=3), st.none()), max_size=4),
    "a mapping": st.dictionaries(st.text("ab", max_size=2), st.integers(), max_size=2),
    "a tensor": st.builds(
        torch.zeros, shapes(), dtype=st.sampled_from([torch.float32, torch.int64, torch.bool, torch.complex64])
    ),
    "an array": st.builds(np.full, shapes(), st.sampled_from(["text", 1.5, np.nan, None])),
    "a camera or a map": st.sampled_from(
        [CAMERA, CAMERA[None], CAMERA[None][:0], walls(2, (3, 3)), walls(1, (1, 1))[0]]
    ),
}


@dataclass
class Call:
    """A right one: `function(**given)`. `free`: arguments that take anything, and why not to ask."""

    function: Callable[..., Any]
    given: dict[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()


@cache
def model():
    return tiny_world()


@cache
def session() -> Session:
    return Session(model(), random_image(SIZE), camera=CAMERA, settings=Settings(sampler=Sampler(steps=1)))


def memory() -> LatentSpatialMemory:
    made = LatentSpatialMemory(4)
    made.write(torch.ones(1, 4, *GRID), walls(1, GRID), CAMERA[None])
    return made


@cache
def calls() -> dict[str, Call]:
    """Every public callable by its name, with a call that works."""
    view, path = CAMERA, mirage.pan(CAMERA, 5)
    camera = {
        "": Call(Camera, {"c2w": torch.eye(4), "intrinsics": torch.full((4,), 0.5)}),
        "of": Call(Camera.of, {"cameras": view, "what": "it", "intrinsics": None}, free=("what", "intrinsics")),
        "from_pixels": Call(Camera.from_pixels, {"c2w": torch.eye(4), "K": torch.eye(3), "size": SIZE,
                                                 "pixel_centers": "half"}),
        "looking": Call(Camera.looking, {"horizontal_fov": 60.0, "aspect": 1.5, "c2w": torch.eye(4)}),
        "for_image": Call(Camera.for_image, {"image": SIZE, "fov": 60.0}),
        "stack": Call(Camera.stack, {"cameras": [view, view]}),
        "concatenate": Call(Camera.concatenate, {"cameras": [path, path]}),
        "project": Call(view.project, {"points": torch.ones(3, 3)}),
        "unproject": Call(view.unproject, {"uv": torch.ones(3, 2), "z": torch.ones(3)}),
        "rays": Call(view.rays, {"size": GRID}),
        "cropped": Call(view.cropped, {"left": 0.0, "top": 0.0, "right": 1.0, "bottom": 1.0}),
        "relative_to": Call(path.relative_to, {"reference": view}),
        "moved": Call(path.moved, {"transform": torch.eye(4)}),
        "with_intrinsics": Call(path.with_intrinsics, {"intrinsics": torch.ones(4)}),
        "pixel_matrix": Call(view.pixel_matrix, {"size": SIZE, "pixel_centers": "half"}),
        "to": Call(view.to, {"device": "cpu", "dtype": torch.float32}),
    }  # fmt: skip
    depth = walls(2, (4, 6))
    depths = {
        "": Call(DepthMap, {"z": torch.ones(4, 6), "valid": torch.ones(4, 6, dtype=torch.bool)}),
        "of": Call(DepthMap.of, {"depth": torch.ones(4, 6), "what": "it"}, free=("what",)),
        "concatenate": Call(DepthMap.concatenate, {"maps": [depth, depth]}),
        "resized": Call(depth.resized, {"size": (2, 3)}),
        "scaled": Call(depth.scaled, {"scale": 1.0, "shift": 0.0}),
        "masked": Call(depth.masked, {"keep": torch.ones(2, 4, 6, dtype=torch.bool)}),
        "to": Call(depth.to, {"device": "cpu"}),
    }
    kept, readout = memory(), memory().read(CAMERA, GRID)
    memories = {
        "": Call(LatentSpatialMemory, {"channels": 4, "policy": MemoryPolicy(), "device": "cpu",
                                       "dtype": torch.float32}),
        "write": Call(kept.write, {"latents": torch.ones(1, 4, *GRID), "depth": walls(1, GRID), "camera": CAMERA[None],
                                   "keep": torch.ones(1, *GRID, dtype=torch.bool)}),
        "read": Call(kept.read, {"camera": view, "grid": GRID, "differentiable": False, "backend": "torch"}),
        "touch": Call(kept.touch, {"readout": readout}),
        "coverage": Call(kept.coverage, {"camera": view, "grid": GRID}),
        "remove": Call(kept.remove, {"region": ((0, 0, 0), (1, 1, 1)), "camera": None, "thickness": None}),
        "crop": Call(kept.crop, {"region": ((-99, -99, -99), (99, 99, 99)), "camera": None}),
        "transform": Call(kept.transform, {"pose": torch.eye(4)}),
        "to": Call(kept.to, {"device": "cpu"}),
        "save": Call(kept.save, {"path": "memory.safetensors"}),
        "save_beside": Call(kept.save_beside, {"path": "beside.safetensors", "extra_tensors": {}, "extra": {}}),
        "point_columns": Call(kept.point_columns, {"rows": torch.arange(3)}),
        "load": Call(LatentSpatialMemory.load, {"path": "memory.safetensors", "device": "cpu"}),
        "restore": Call(kept.restore, {"snapshot": kept.snapshot()}),
        "from_state": Call(LatentSpatialMemory.from_state, {"tensors": {}, "meta": {}}, free=("tensors", "meta")),
    }  # fmt: skip
    walk = session()
    plan = walk.plan(mirage.pan(walk.camera, 5)[1:])
    short = mirage.pan(walk.camera, 5)
    before = walk.snapshot()
    chunk = walk.accept(plan, torch.zeros(1, 48, *GRID))
    walk.restore(before)
    sessions = {
        "": Call(Session, {"model": model(), "image": random_image(SIZE), "camera": CAMERA, "prompt": "", "depth": None,
                           "memory": None, "policy": None, "settings": None, "moving": None, "seed": 0}),
        "step": Call(walk.step, {"camera": short[1:], "callback": None}),
        "plan": Call(walk.plan, {"camera": short[1:]}),
        "accept": Call(walk.accept, {"plan": plan, "latents": torch.zeros(1, 48, *GRID)}),
        "follow": Call(walk.follow, {"path": short, "prompts": {}, "callback": None}),
        "look": Call(walk.look, {"camera": CAMERA, "grid": GRID}),
        "restore": Call(walk.restore, {"snapshot": walk.snapshot()}),
        "save": Call(walk.save, {"path": "walk.safetensors", "beside": {}}),
        "load": Call(Session.load, {"path": "walk.safetensors", "model": model(), "depth": None, "settings": None,
                                    "moving": None}),
        "of_saved": Call(Session.of_saved),
    }  # fmt: skip
    scene = mirage.Scene.sample(3)
    scenes = {
        "sample": Call(mirage.Scene.sample, {"seed": 3, "difficulty": "standard", "moving": False}),
        "shift": Call(scene.shift, {"time": torch.zeros(2)}),
        "render": Call(scene.render, {"camera": CAMERA, "size": (8, 12), "time": None}),
        "path": Call(scene.path, {"kind": "pan", "frames": 5, "seed": 0}),
        "to": Call(scene.to, {"device": "cpu"}),
    }
    chooses = {"": Call(Sampler, {"steps": 3, "shift": 3.0, "last": 0.1, "noise": 1.0, "guidance": 1.0}),
               "over": Call(Sampler(steps=3).over, {"own": Sampler()})}  # fmt: skip
    pipe = mirage.MiragePipeline.from_pipe(model())
    pipes = {
        "": Call(lambda **its: pipe(**its), {"image": random_image(SIZE), "trajectory": path, "prompt": "",
                 "height": None,
                 "num_frames": 5, "num_inference_steps": 1, "guidance_scale": 1.0, "negative_prompt": None,
                 "generator": None, "depth": None, "memory": None, "policy": None, "output_type": "np",
                 "callback_on_step_end": stopped, "callback_on_step_end_tensor_inputs": ["latents"]}),
        "from_pipe": Call(mirage.MiragePipeline.from_pipe, {"pipeline": model()}),
        "from_pretrained": Call(mirage.MiragePipeline.from_pretrained, {"name_or_path": "nowhere"}),
    }  # fmt: skip
    world = model()
    worlds = {
        "encode": Call(world.encode, {"frames": random_image(SIZE)[None]}),
        "decode": Call(world.decode, {"latents": torch.zeros(1, 48, *GRID)}),
        "encode_prompt": Call(world.encode_prompt, {"prompt": "a room"}),
        "tokenize": Call(world.tokenize, {"prompt": "a room"}),
        "depth": Call(world.depth, {"latents": torch.zeros(1, 48, *GRID), "camera": CAMERA[None], "first": True}),
        "conditioning": Call(world.conditioning, {"asked": "auto"}),
        "cache_steps": Call(world.cache_steps, {"threshold": 2.0}),
        "compile_blocks": Call(world.compile_blocks, {"backend": "nothing"}),
        "save_pretrained": Call(world.save_pretrained, {"save_directory": "model"}),
        "constant": Call(world.constant, {"frames": 1, "grid": GRID}),
        "denoise": Call(world.denoise, {"condition": plan.condition, "sampler": Sampler(steps=1), "negative": None,
                        "generator": torch.Generator().manual_seed(0), "conditioning": "auto", "callback": None}),
    }  # fmt: skip
    if not Path("image.png").exists():
        mirage.save_image("image.png", random_image(SIZE))
    functions = {
        "load_cameras": {"path": "path.npz", "convention": None, "intrinsics": None, "options": None, "lens": "path",
                         "dtype": torch.float64},
        "save_cameras": {"path": "path.npz", "camera": path, "size": SIZE},
        "load_image": {"path": "image.png"},
        "save_image": {"path": "image.png", "image": random_image(SIZE)},
        "load_video": {"path": "nothing.mp4"},
        "save_video": {"path": "film.mkv", "frames": random_image(SIZE)[None], "fps": 16, "crf": 18},
        "load_trajectory": {"spec": "orbit", "start": CAMERA, "frames": 5, "resample": False, "convention": None,
                            "reading": None, "speed": 0.1, "turn": 1.0},
        "load_world_model": {"name_or_path": "nowhere", "branch": None, "lora": None, "dtype": None, "device": None,
                             "quantize": "none", "offload": "none", "tile": None},
    }  # fmt: skip
    for name in ("orbit", "dolly", "pan", "push_in", "dolly_zoom", "figure_eight", "spiral"):
        more = {its.name: its.default for its in inspect.signature(getattr(mirage, name)).parameters.values()}
        functions[name] = more | {"start": CAMERA, "frames": 5}
    found = {name: Call(getattr(mirage, name), its) for name, its in functions.items()}
    shown = {
        "frames": {"frames": random_image(SIZE)[None], "columns": 8, "width": 160, "title": ""},
        "animation": {"frames": random_image(SIZE)[None], "fps": 16.0, "width": None},
        "mask": {"mask": torch.ones(GRID, dtype=torch.bool), "picture": random_image(SIZE)},
        "depth": {"depth": torch.ones(GRID)},
        "readout": {"readout": readout},
        "coverage": {"coverage": torch.ones(3)},
        "map": {"memory": kept, "model": None, "path": None, "side": 64},
        "cloud": {"memory": kept, "model": None, "path": None, "side": 64},
    }
    found |= {f"show.{name}": Call(getattr(mirage.show, name), its) for name, its in shown.items()}
    nouns = {"Camera": camera, "DepthMap": depths, "LatentSpatialMemory": memories, "Session": sessions,
             "Scene": scenes, "Sampler": chooses, "MiragePipeline": pipes, "WorldModel": worlds}  # fmt: skip
    for name, its in nouns.items():
        found |= {f"{name}.{method}".rstrip("."): call for method, call in its.items()}
    defaults = {"MemoryPolicy": MemoryPolicy(), "Settings": Settings(), "ModelRequest": mirage.ModelRequest(),
                "Request": mirage.Request(image=Path("image.png"), trajectory="orbit")}  # fmt: skip
    found |= {name: Call(getattr(mirage, name), dict(vars(value))) for name, value in defaults.items()}
    found["Chunk.decode"] = Call(chunk.decode, {"shown": [].append})
    found["Readout"] = Call(mirage.Readout, dict(vars(readout)))
    found["Readout.holes"] = Call(mirage.Readout.holes, {"cameras": 1, "channels": 2, "grid": GRID})
    found["Readout.to"] = Call(readout.to, {"device": "cpu"})
    found["Request.check_with"] = Call(defaults["Request"].check_with, {"model": mirage.ModelRequest()})
    found["Settings.from_stored"] = Call(Settings.from_stored, {"values": {}, "source": "it"}, free=("source",))
    for name in ("Request", "ModelRequest"):
        found[f"{name}.from_plain"] = Call(
            getattr(mirage, name).from_plain, {"values": {}, "source": "it"}, free=("source",)
        )
    return found


def stopped(pipe: mirage.MiragePipeline, *step: Any) -> None:
    """One step is enough to know that a call was taken."""
    pipe._interrupt = True


NOT_CALLED_WITH = {
    "Chunk",
    "Views",
    "InputError",
    "DepthEstimator",
    "SpatialMemory",
    "Segmenter",
    "WorldModel",
    "Scene",
}
"""Made by us, protocols, and the networks' own constructors."""


def public() -> set[str]:
    """Names of all that people may call with an argument."""
    names = {f"show.{name}" for name in mirage.show.__all__}
    for name in mirage.__all__:
        value = getattr(mirage, name)
        if not inspect.isclass(value):
            names.add(name)
            continue
        if name not in NOT_CALLED_WITH:
            names.add(name)
        if name in ("DepthEstimator", "SpatialMemory", "Segmenter", "InputError"):
            continue
        for method, its in vars(value).items():
            bound = getattr(value, method)
            if method.startswith("_") or isinstance(its, type) or not callable(bound):
                continue
            if [one for one in inspect.signature(bound).parameters if one not in ("self", "cls")]:
                names.add(f"{name}.{method}")
    return names


OTHER = {
    "bool": lambda given: torch.ones_like(given, dtype=torch.bool),
    "complex": lambda given: given.to(torch.complex64),
    "sparse": lambda given: given.to_sparse(),
    "8 bit float": lambda given: given.to(torch.float8_e4m3fn),
    "text": lambda given: np.full(given.shape, "text"),
    "objects": lambda given: np.full(given.shape, None),
    "dates": lambda given: np.zeros(given.shape, "datetime64[s]"),
    "masked": lambda given: np.ma.masked_all(tuple(given.shape)),
    "int64": lambda given: given.to(torch.int64),
    "uint8": lambda given: given.to(torch.uint8),
    "bfloat16": lambda given: given.to(torch.bfloat16),
    "float16": lambda given: given.to(torch.float16),
    "float64": lambda given: given.to(torch.float64),
    "with gradients": lambda given: given.float().requires_grad_(),
    "strided": lambda given: given[..., None].expand(*given.shape, 2)[..., 0],
    "not a number": lambda given: torch.full(given.shape, torch.nan),
    "infinite": lambda given: torch.full(given.shape, torch.inf),
    "huge": lambda given: torch.full(given.shape, 3e38),
    "uint16 array": lambda given: np.ones(given.shape, np.uint16),
    "long array": lambda given: np.ones(given.shape, np.longdouble),
    "other byte order": lambda given: np.ones(given.shape, ">f4"),
    "backwards": lambda given: np.ones(given.shape)[::-1],
    "read-only": lambda given: np.broadcast_to(np.float32(1), given.shape),
    "numbers in lists": lambda given: given.tolist(),
    "arrays in a list": lambda given: list(np.ones(given.shape)),
}
"""The same numbers, or as many others, as people hold them; the first lines are of no numbers that could be meant."""
NO_NUMBERS = ("complex", "sparse", "8 bit float", "text", "objects", "dates", "masked")


@pytest.fixture(scope="module", autouse=True)
def somewhere(tmp_path_factory):
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("arguments"))
    yield
    os.chdir(before)


def test_every_public_callable_is_walked():
    assert public() <= calls().keys() | {"mirage"}, sorted(public() - calls().keys())


@pytest.mark.parametrize("name", sorted(public()))
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_wrong_argument_is_an_input_error(name, data):
    call = calls()[name]
    for argument in (one for one in call.given if one not in call.free):
        for kind, values in WRONG.items():
            wrong = data.draw(values, label=f"{name}({argument}=...), {kind}")
            try:
                made = call.function(**call.given | {argument: wrong})
            except InputError as error:
                said = str(error)
                assert "\n" not in said
                continue
            assert kind not in HOPELESS, f"{name} took {argument}={wrong!r} and gave {made!r}"


@pytest.mark.parametrize("name", sorted(public()))
def test_a_tensor_of_other_numbers_is_taken_or_told(name):
    """Of the shape that fits, so that nothing but the numbers is wrong."""
    for argument, right in calls()[name].given.items():
        if not isinstance(right, torch.Tensor) or argument in calls()[name].free:
            continue
        for kind, as_other in OTHER.items():
            call = calls()[name]
            try:
                made = call.function(**call.given | {argument: as_other(right)})
            except InputError:
                continue
            bad = kind in NO_NUMBERS or (kind == "bool" and right.is_floating_point())
            assert not bad, f"{name} took {argument} of {kind} and gave {made!r}"
