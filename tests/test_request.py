"""What is asked, as plain values: there and back through JSON, checked where it is made, and no heavy import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.request import ModelRequest, Request
from mirage.sampler import Sampler

REQUESTS = st.builds(
    Request,
    image=st.just(Path("a photo.jpg")),
    trajectory=st.sampled_from(["orbit", "w 31, right 10", "path.txt"]),
    prompt=st.none() | st.text(max_size=20),
    frames=st.none() | st.integers(1, 40).map(lambda k: 1 + 4 * k),
    steps=st.none() | st.integers(1, 1000),
    flow_shift=st.none() | st.floats(0.1, 100),
    noise_scale=st.none() | st.floats(0, 1),
    guidance_scale=st.none() | st.floats(-5, 20),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    draft=st.sampled_from(["auto", "on", "off"]),
    memory=st.sampled_from(["latent", "rgb", "none"]),
    static_filter=st.booleans(),
)


@given(REQUESTS)
def test_a_request_comes_back_through_json(request):
    plain = json.loads(json.dumps(request.plain(), allow_nan=False))
    assert Request.from_plain(plain, source="here") == request


@given(
    st.sampled_from([Request, ModelRequest]),
    st.dictionaries(
        st.sampled_from([*Request.__dataclass_fields__, *ModelRequest.__dataclass_fields__, "stepz"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4),
        max_size=4,
    ),
)
def test_whatever_json_says_is_a_request_or_one_line(kind, values):
    try:
        assert isinstance(kind.from_plain(values, source="manifest.jsonl, line 3"), kind)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 -- either is right


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({}, "image"),
        ({"image": Path("a"), "world": Path("b")}, "one of the two"),
        ({"image": Path("a"), "trajectory": ""}, "trajectory"),
        ({"world": Path("b"), "fov": 60.0}, "saved one has its own"),
        ({"image": Path("a"), "frames": 6}, "1 \\+ 4k"),
        ({"image": Path("a"), "steps": 0}, "steps is 0"),
        ({"image": Path("a"), "flow_shift": 1e9}, "flow shift"),
        ({"image": Path("a"), "fov": 0}, "1 to 170"),
        ({"image": Path("a"), "seed": 2**64}, "64 bits"),
        ({"image": Path("a"), "negative_prompt": "grey", "guidance_scale": 1.0}, "guidance"),
        ({"image": Path("a"), "memory": "none", "memory_budget": "8MiB"}, "latent memory"),
        ({"image": Path("a"), "memory_budget": "much"}, "size"),
        ({"image": Path("a"), "segmenter": "x"}, "moving"),
        ({"image": Path("a"), "draft": "yes"}, "auto, on, off"),
        ({"image": Path("a"), "memory_budget": 5}, "text"),
        ({"image": Path("a"), "static_filter": 1}, "True or False"),
        ({"image": 3}, "a path"),
        ({"image": Path("a"), "size": (0, 5)}, "above 0"),
    ],
)
def test_what_cannot_be_asked_is_one_line_without_words_of_the_command_line(choices, said):
    with pytest.raises(InputError, match=said) as error:
        Request(**({"trajectory": "orbit"} | choices))
    assert "--" not in str(error.value)


def test_a_sampler_leaves_open_what_a_model_completes():
    own = Sampler(steps=4, shift=3.0, last=0.5, noise=0.6, guidance=1.0)
    assert Sampler(steps=8).over(own) == Sampler(steps=8, shift=3.0, last=0.5, noise=0.6, guidance=1.0)
    assert own.complete
    assert not Sampler(steps=8).complete


def test_asking_imports_nothing_heavy():
    code = "import sys, mirage.request\nprint([n for n in ('torch', 'numpy', 'tyro') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["seed", "steps", "fov", "guidance_scale"])
def test_a_number_beyond_every_float_is_one_line(name):
    """JSON has no largest number."""
    walk = {"image": "a.png", "trajectory": "orbit", name: 10**400}
    with pytest.raises(InputError, match=name):
        Request.from_plain(walk, source="walk.receipt.json")


def test_a_negative_prompt_may_rest_on_the_guidance_that_a_world_was_saved_with():
    assert Request(world=Path("w.safetensors"), trajectory="orbit", negative_prompt="grey").negative_prompt == "grey"
    with pytest.raises(InputError, match="guidance"):
        Request(world=Path("w.safetensors"), trajectory="orbit", negative_prompt="grey", guidance_scale=1.0)


def test_a_model_request_checks_its_words():
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        ModelRequest(device="gpu")  # pyright: ignore[reportArgumentType]
    assert ModelRequest(branch="b.safetensors").branch == Path("b.safetensors")  # pyright: ignore[reportArgumentType]
