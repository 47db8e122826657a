"""transformers' SAM 3 and Qwen3-VL at toy sizes with random weights: what they are shown, what their numbers mean."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.sam3.configuration_sam3 import Sam3Config
from transformers.models.sam3.modeling_sam3 import Sam3Model

from helpers import refusal
from mirage.cli import main
from mirage.errors import InputError
from mirage.formats.image import save_image
from mirage.models.others import moving
from mirage.models.others.moving import AskedNames, MovingThings, load_moving, names_in
from mirage.models.tiny import tiny_world

FRAMES = torch.rand(3, 3, 40, 60, generator=torch.Generator().manual_seed(0))
CHAT = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>"]


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    """A folder in SAM 3's layout."""
    folder = tmp_path_factory.mktemp("sam3")
    part = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_layers": 1}
    torch.manual_seed(0)
    Sam3Model(
        Sam3Config(
            vision_config={
                "fpn_hidden_size": 16,
                "backbone_config": {
                    "model_type": "sam3_vit_model",
                    "hidden_size": 16,
                    "intermediate_size": 16,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "image_size": 56,
                    "patch_size": 14,
                    "window_size": 2,
                    "global_attn_indexes": [1],
                    "pretrain_image_size": 28,
                },
                "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            },
            text_config={
                "model_type": "clip_text_model",
                "vocab_size": 32,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "max_position_embeddings": 8,
                "projection_dim": 16,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 1,
            },
            geometry_encoder_config=part,
            detr_encoder_config=part,
            detr_decoder_config=part | {"num_queries": 4},
            mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
        )
    ).save_pretrained(folder)
    letters = {letter: number for number, letter in enumerate("abcdefghijklmn", start=2)}
    words = {
        "<|startoftext|>": 0,
        "<|endoftext|>": 1,
        **letters,
        **{f"{letter}</w>": number + 14 for letter, number in letters.items()},
    }
    CLIPTokenizer(vocab=words, merges=[], unk_token="<|endoftext|>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """A folder in Qwen3-VL's layout."""
    folder = tmp_path_factory.mktemp("qwen")
    words = {word: number for number, word in enumerate([*CHAT, "<|endoftext|>", "person", "dog", "none", "?"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, extra_special_tokens=CHAT, unk_token="?", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            image_token_id=words["<|image_pad|>"],
            video_token_id=words["<|video_pad|>"],
            vision_start_token_id=words["<|vision_start|>"],
            vision_end_token_id=words["<|vision_end|>"],
            text_config={
                "vocab_size": len(words),
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "eos_token_id": 6,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1e4,
                    "mrope_section": [2, 1, 1],
                    "mrope_interleaved": True,
                },
            },
            vision_config={
                "depth": 2,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_heads": 2,
                "patch_size": 4,
                "out_hidden_size": 16,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
        )
    ).save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=4, size={"shortest_edge": 64, "longest_edge": 640}).save_pretrained(folder)
    return folder


def test_things_that_are_named_are_found_frame_by_frame(sam3, monkeypatch):
    monkeypatch.setattr(moving, "THERE", 0.0)  # random weights are sure of nothing
    segment = load_moving("man, a dog", segmenter=str(sam3), device="cpu")
    mask = segment(1, 3, lambda: FRAMES)
    assert mask.shape == (3, 16, 16)
    assert set(mask.unique().tolist()) == {0, 1}
    assert torch.equal(segment(2, 2, lambda: FRAMES[1:]), mask[1:])  # each frame alone
    one, other = (
        load_moving(name, segmenter=str(sam3), device="cpu")(1, 3, lambda: FRAMES) for name in ("man", "a dog")
    )
    assert torch.equal(mask, torch.maximum(one, other))
    assert not torch.equal(one, other)


def test_where_nothing_is_sure_or_nothing_is_named_nothing_moves(sam3, monkeypatch):
    segment = load_moving("man", segmenter=str(sam3), device="cpu")
    monkeypatch.setattr(moving, "THERE", 1.0)
    assert not segment(0, 3, lambda: FRAMES).any()
    monkeypatch.setattr(moving, "THERE", 0.0)
    assert segment(0, 3, lambda: FRAMES).any()
    assert not MovingThings(segment.model, segment.tokenizer, lambda frames: ())(0, 3, lambda: FRAMES).any()


def test_the_frame_is_shown_whole_and_between_minus_one_and_one(sam3):
    segment = load_moving("man", segmenter=str(sam3), device="cpu")
    shown = []
    segment.model.vision_encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    white_left = torch.zeros(1, 3, 40, 60)
    white_left[..., :30] = 1
    segment(0, 1, lambda: white_left)
    assert shown[0].shape == (1, 3, 56, 56)
    torch.testing.assert_close(shown[0][..., :27], torch.ones(1, 3, 56, 27))
    torch.testing.assert_close(shown[0][..., 29:], -torch.ones(1, 3, 56, 27))


def test_qwen_is_shown_pictures_and_asked(qwen, sam3, monkeypatch):
    segment = load_moving(f"ask:{qwen}", segmenter=str(sam3), device="cpu")
    names = segment.names
    assert isinstance(names, AskedNames)
    given = {}
    generate = names.model.generate

    def listening(**asked):
        given.update(asked)
        generate(**asked)  # it can
        return torch.cat([asked["input_ids"], torch.tensor([[7, 8, 6]])], dim=1)

    monkeypatch.setattr(names.model, "generate", listening)
    assert names(FRAMES.repeat(3, 1, 1, 1)) == ("person dog",)
    tokens = given["input_ids"][0].tolist()
    grid = given["image_grid_thw"]
    assert grid.tolist() == [[1, 6, 8]] * 4 or len(grid) == moving.PICTURES
    assert tokens.count(2) == tokens.count(5) == len(grid)  # each picture between its marks
    assert tokens.count(3) == int(grid.prod(1).sum()) // 4
    assert given["mm_token_type_ids"].sum() == tokens.count(3)
    assert len(names(FRAMES[:1])) == 1
    assert len(given["image_grid_thw"]) == 1


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("Person, dog.", ("person", "dog")),
        ("none", ()),
        ("None.", ()),
        ("", ()),
        ("a car\nA car; bus", ("a car", "bus")),
        (",".join("abcdefghijk"), tuple("abcdefgh")),
        ("x" * 41, ()),
    ],
)
def test_an_answer_is_read(answer, names):
    assert names_in(answer) == names


@pytest.mark.parametrize("asked", ["", " , ", "ask:", "ask:/no/such/folder", "none"])
def test_what_names_nothing_is_refused_before_anything_loads(asked):
    with pytest.raises(InputError, match="moving things"):
        load_moving(asked, device="cpu")


def test_a_folder_that_lacks_weights_is_refused(sam3, tmp_path):
    folder = tmp_path / "lacks"
    shutil.copytree(sam3, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if not name.startswith("text_projection.")},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(InputError, match="lacks 2 weights, such as text_projection"):
        load_moving("dog", segmenter=str(folder), device="cpu")


def test_weights_that_are_not_there_are_one_line(tmp_path):
    refusal(load_moving, "dog", segmenter=str(tmp_path), device="cpu", words=("does not load",))


def test_the_command_keeps_what_is_named_out_of_the_memory(sam3, tmp_path, monkeypatch, capsys):
    tiny_world().save_pretrained(tmp_path / "model")
    save_image(tmp_path / "image.png", FRAMES[0])
    walk = [
        "generate",
        "--image",
        str(tmp_path / "image.png"),
        "--trajectory",
        "w 8",
        "--steps",
        "1",
        "--json",
        "--model",
        str(tmp_path / "model"),
        "--out",
        str(tmp_path / "walk.mp4"),
        "--overwrite",
    ]
    points = {}
    for sure in (0.0, 1.0):
        monkeypatch.setattr(moving, "THERE", sure)
        assert main([*walk, "--moving", "man", "--segmenter", str(sam3)]) == 0
        points[sure] = json.loads(capsys.readouterr().out.splitlines()[-1])["points"]
    assert points[0.0] < points[1.0]
    assert json.loads((tmp_path / "walk.receipt.json").read_text())["moving"] == "man"
