"""`WorldModel`: codec as a stream, prompt, denoising, depth; loading, and refusing to load."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from helpers import refusal, same
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models import loading
from mirage.models.codec import StreamDecoder
from mirage.models.condition import Condition
from mirage.models.files import index as index_module
from mirage.models.fitting.blueprint import blueprint
from mirage.models.flow import Guidance
from mirage.models.loading import load_world_model
from mirage.models.tiny import MiniConfig, build_world, tiny_world
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel
from mirage.sampler import Sampler
from mirage.scenes import Scene

refused = partial(refusal, load_world_model)


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def frames(n: int) -> torch.Tensor:
    return torch.rand((n, 3, 32, 48), generator=torch.Generator().manual_seed(n))


def condition(model: WorldModel, t: int = 3) -> Condition:
    g = torch.Generator().manual_seed(0)
    h, w, c = 2, 4, model.channels
    return Condition(
        memory=torch.randn((1, c, t, h, w), generator=g),
        mask=torch.ones(1, 1, t, h, w),
        offset=torch.zeros(1, 2, t, h, w),
        rays=torch.zeros(1, 6, t, h, w),
        first=torch.randn((1, c, 1, h, w), generator=g),
        preceding=torch.randn((1, c, 1, h, w), generator=g),
        references=torch.randn((1, c, 2, h, w), generator=g),
        text=model.encode_prompt("a room"),
    )


# -- codec ----------------------------------------------------------------------------------------------------------


def test_a_stream_decoded_in_pieces_is_the_stream_decoded_at_once(model: WorldModel) -> None:
    latents = torch.randn((7, 48, 2, 3), generator=torch.Generator().manual_seed(0))
    whole = model.decode(latents)
    assert whole.shape == (25, 3, 32, 48)
    assert whole.min() >= 0
    assert whole.max() <= 1
    stream = model.decoder()
    pieces = [stream.decode(latents[:3]), stream.decode(latents[3:5])]
    fork = stream.copy()
    pieces.append(stream.decode(latents[5:]))
    assert torch.equal(torch.cat(pieces), whole)
    assert torch.equal(fork.decode(latents[5:]), whole[17:])


def test_a_stream_encoded_in_pieces_is_the_stream_encoded_at_once(model: WorldModel) -> None:
    video = frames(13)
    whole = model.encode(video)
    assert whole.shape == (4, 48, 2, 3)
    stream = model.encoder()
    assert torch.equal(torch.cat([stream.encode(video[:5]), stream.encode(video[5:])]), whole)
    # an image is the first latent of any video it starts; some processors pick another kernel for another shape
    torch.testing.assert_close(model.encode(video[:1]), whole[:1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_codec_is_the_stock_autoencoder_with_its_statistics() -> None:
    model = tiny_world(seed=1)
    vae = model.vae
    mean, std = torch.linspace(-1, 1, 48), torch.linspace(0.5, 2, 48)
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    video = frames(5)
    stock = vae.encode((video * 2 - 1).movedim(0, 1)[None]).latent_dist.mode()  # pyright: ignore
    latents = model.encode(video)
    per_channel = (None, slice(None), None, None, None)
    torch.testing.assert_close(latents.movedim(0, 1)[None], (stock - mean[per_channel]) / std[per_channel])
    torch.testing.assert_close(model.decode(latents).movedim(0, 1)[None], vae.decode(stock).sample / 2 + 0.5)  # pyright: ignore


def test_lengths_and_sizes_that_do_not_fit_say_so(model: WorldModel) -> None:
    with pytest.raises(InputError, match=r"got 4 frames; accepted: 1 \+ 4k"):
        model.encode(frames(4))
    stream = model.encoder()
    stream.encode(frames(1))
    with pytest.raises(InputError, match="got 5 frames; accepted: 4k"):
        stream.encode(frames(5))
    with pytest.raises(InputError, match="multiples of 16"):
        model.encode(torch.rand(1, 3, 30, 48))
    with pytest.raises(InputError, match=r"\[T,48,h,w\]"):
        model.decode(torch.randn(1, 16, 2, 3))


# -- prompt, denoising, depth ---------------------------------------------------------------------------------------


def test_a_prompt_has_a_fixed_length_and_ends_in_zeros(model: WorldModel) -> None:
    text = model.encode_prompt("a  Red\nroom")
    assert text.shape == (1, 16, 32)
    assert text[0, :4].abs().sum(-1).min() > 0  # three words and the end mark
    assert not text[0, 4:].any()
    assert torch.equal(text, model.encode_prompt("a red room"))
    assert not torch.equal(text, model.encode_prompt(""))
    assert torch.isfinite(model.encode_prompt("room " * 100)).all()


def test_denoising_keeps_the_first_frame_and_repeats_itself(model: WorldModel) -> None:
    seen = condition(model)
    once, again = (model.denoise(seen, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert once.shape == seen.memory.shape
    assert torch.equal(once, again)
    assert torch.equal(once[:, :, :1], seen.first)
    away = seen.without_memory().without_text(model.encode_prompt(""))
    guided = model.denoise(
        seen, generator=torch.Generator().manual_seed(2), sampler=Sampler(steps=2, guidance=3.0), negative=away
    )
    assert torch.isfinite(guided).all()
    assert not torch.equal(guided, once)


def test_guidance_is_a_setting_of_the_model(model: WorldModel) -> None:
    seen, fresh = condition(model), tiny_world()

    def made(of: Condition) -> torch.Tensor:
        return fresh.denoise(
            of, generator=torch.Generator().manual_seed(2), sampler=Sampler(steps=2), conditioning="guidance"
        )

    assert not torch.equal(made(seen), made(seen.without_memory()))
    fresh.guidance = Guidance(early=0, late=0)  # that never pulls
    assert torch.equal(made(seen), made(seen.without_memory()))


def test_depth_marks_the_first_latent_of_a_stream_only(model: WorldModel) -> None:
    latents = torch.randn((3, 48, 2, 4), generator=torch.Generator().manual_seed(0))
    camera = Camera(torch.eye(4).expand(3, 4, 4), torch.tensor([1.0, 1.0, 0.5, 0.5]))
    first, later = (model.depth(latents, camera, first=flag) for flag in (True, False))
    assert first.z.shape == (3, 2, 4)
    assert not torch.equal(first.z[0], later.z[0])
    assert torch.equal(first.z[1:], later.z[1:])


# -- loading --------------------------------------------------------------------------------------------------------


def test_a_saved_model_comes_back_bit_for_bit(model: WorldModel, saved: Path) -> None:
    again = load_world_model(saved)
    for name, part in model.components.items():
        if isinstance(part, nn.Module):
            theirs = again.components[name].state_dict()
            assert part.state_dict().keys() == theirs.keys()
            assert same(part.state_dict(), theirs), name
            assert not again.components[name].training
    assert (again.size, again.stride, again.channels, again.chunk_frames) == ((64, 96), 16, 48, 9)
    assert (again.sampler.steps, again.prediction) == (3, "flow_prediction")
    seen = condition(model)
    ours, theirs = (w.denoise(seen, generator=torch.Generator().manual_seed(2)) for w in (model, again))
    assert torch.equal(ours, theirs)
    assert not [file for file in saved.rglob("*") if file.suffix in (".bin", ".pt", ".pth", ".pkl")]
    half = load_world_model(saved, dtype=torch.bfloat16)
    assert half.vae.dtype == torch.bfloat16
    assert torch.isfinite(
        half.denoise(seen, generator=torch.Generator().manual_seed(2), sampler=Sampler(steps=1))
    ).all()


def test_a_stock_wan_folder_loads_without_branch_and_depth_head(model: WorldModel, tmp_path: Path) -> None:
    stock = WanImageToVideoPipeline(
        tokenizer=model.tokenizer,  # pyright: ignore[reportArgumentType]
        text_encoder=model.text_encoder,
        vae=model.vae,  # pyright: ignore[reportArgumentType]
        scheduler=model.scheduler,  # pyright: ignore[reportArgumentType]
        transformer=model.transformer,
        expand_timesteps=True,
    )
    stock.save_pretrained(tmp_path)
    again = load_world_model(tmp_path)
    assert again.memory_branch is None
    assert (again.size, again.chunk_frames, again.sampler.steps) == ((704, 1280), 33, 40)
    seen = condition(model).without_memory()  # which would enter through the sampler, without a branch
    ours, theirs = (
        w.denoise(seen, generator=torch.Generator().manual_seed(2), sampler=Sampler(steps=2)) for w in (model, again)
    )
    torch.testing.assert_close(ours, theirs)  # the branch of `world` is fresh
    with pytest.raises(InputError, match="no depth head"):
        again.depth(torch.zeros(1, 48, 2, 2), Camera.looking(), first=True)


def test_damaged_or_incomplete_folders_are_refused_in_one_line(copy: Path) -> None:
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in refused(copy)
    weights.write_bytes(b"")
    assert "is damaged" in refused(copy)
    weights.unlink()
    assert "transformer has no .safetensors file" in refused(copy)
    weights.write_bytes(whole)
    (copy / "transformer" / "config.json").unlink()
    assert "does not load" in refused(copy)


@pytest.mark.parametrize("part", ["transformer", "memory_branch", "vae", "depth_head", "text_encoder"])
def test_a_missing_or_misshapen_weight_is_refused(copy: Path, part: str) -> None:
    (file,) = (copy / part).glob("*.safetensors")
    state = load_file(file)
    name = next(name for name in state if name.endswith("weight") and "embed" not in name and "shared" not in name)
    save_file({key: value for key, value in state.items() if key != name}, file, metadata={"format": "pt"})
    assert name in refused(copy)
    save_file({**state, name: state[name][:1].clone()}, file, metadata={"format": "pt"})
    refused(copy)


def test_a_folder_in_bfloat16_loads_in_one_precision(model: WorldModel, tmp_path: Path) -> None:
    """The libraries leave each network as it was stored, or in float32: half a Wan model of each. Here a device has one
    precision, and only what diffusers computes in float32 everywhere stays in it. Nothing is left on meta."""
    tiny_world().to(dtype=torch.bfloat16).save_pretrained(tmp_path)
    kept = set(WanTransformer3DModel._keep_in_fp32_modules or ()) | set(MemoryBranch._keep_in_fp32_modules)
    for dtype in (None, torch.bfloat16):
        loaded = load_world_model(tmp_path, dtype=dtype)
        for part in loaded.components.values():
            for name, weight in part.named_parameters() if isinstance(part, nn.Module) else ():
                assert weight.device.type == "cpu", name
                computed_in_full = bool(kept & set(name.split(".")))
                assert weight.dtype == (dtype or torch.float32) or (computed_in_full and weight.dtype == torch.float32)
        assert loaded.transformer.dtype == loaded.text_encoder.dtype == loaded.vae.dtype == (dtype or torch.float32)


def test_a_prompt_is_as_long_as_wans_where_the_folder_does_not_say(copy: Path) -> None:
    """Diffusers' `encode_prompt` pads to 226; Wan was trained with 512, the rest zeros."""
    index = json.loads((copy / "model_index.json").read_text())
    del index["text_length"]
    (copy / "model_index.json").write_text(json.dumps(index))
    loaded = load_world_model(copy)
    text, known = loaded.encode_prompt("a red room"), loaded.tokenize("a red room")[1]
    assert text.shape[1] == known.shape[1] == 512
    assert 0 < known.sum() < 20
    assert not text[0, int(known.sum()) :].any()


STRANGERS = {"vae": {"channels": 16}, "depth_head": {"channels": 16}, "memory_branch": {"heads": 1},
             "text_encoder": {"text_dim": 64}}  # fmt: skip


@pytest.mark.parametrize("part", STRANGERS)
def test_a_part_of_another_model_is_refused(copy: Path, part: str) -> None:
    """Each network loads by itself; they are not for each other."""
    shutil.rmtree(copy / part)
    getattr(tiny_world(**STRANGERS[part]), part).save_pretrained(copy / part)
    for read in (load_world_model, blueprint):
        with pytest.raises(InputError, match=r"16|64|attention") as refused:
            read(copy)
        assert part in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_model_index_that_lacks_a_part_is_refused(copy: Path) -> None:
    index = copy / "model_index.json"
    parts = json.loads(index.read_text())
    index.write_text(json.dumps({name: value for name, value in parts.items() if name != "vae"}))
    assert "names no vae" in refused(copy)
    index.write_text("{")
    assert "is not JSON" in refused(copy)
    index.unlink()
    assert "no model_index.json" in refused(copy)


def test_names_that_are_no_model_never_reach_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(loading, "snapshot_download", network)
    monkeypatch.setattr(index_module, "hf_hub_download", network)
    file = tmp_path / "file"
    file.write_text("not a model")
    for name in ("nothing", "./nowhere/model", "/nowhere/model", "~/nowhere", "a/b/c", file, Path("owner/name")):
        assert "accepted: mini" in refused(name)
    monkeypatch.setattr(loading, "BUNDLED", {"mini": tmp_path / "none"})
    assert "model_index.json" in refused("mini")


def test_a_hub_id_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def network(*_args, **_kwargs):
        raise OSError("404\nnot found")

    monkeypatch.setattr(loading, "snapshot_download", network)
    monkeypatch.setattr(index_module, "hf_hub_download", network)
    assert "'owner/name'" in refused("owner/name")


def test_a_detail_path_is_for_a_backbone_that_predicts_clean_latents() -> None:
    with pytest.raises(InputError, match="prediction_type is 'flow_prediction'; accepted: 'sample'"):
        tiny_world(detail_channels=4)


# -- building -------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_model_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    its = {"detail_channels": 4, "prediction": "sample"}
    one, same, other = (tiny_world(seed, **its).transformer.patch_embedding.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_the_bundled_model_reads_every_caption_to_its_end() -> None:
    model = load_world_model("mini")
    for seed in range(200):
        ids, known = model.tokenize(Scene.sample(seed).caption)
        assert int(ids[0, int(known.sum()) - 1]) == model.tokenizer.eos_token_id
        assert not known[0, -1]  # there is room for more, so nothing was cut off


def test_the_bundled_sizes_run() -> None:
    model = build_world(replace(MiniConfig(), default_steps=1), words=["a", "room"])
    assert (model.stride, model.channels, model.size) == (8, 32, (192, 256))
    latents = model.encode(torch.rand(1, 3, 64, 96))
    assert latents.shape == (1, 32, 8, 12)
    assert isinstance(model.decoder(), StreamDecoder)
    assert model.decode(latents).shape == (1, 3, 64, 96)
    count = sum(weight.numel() for part in model.components.values() if isinstance(part, nn.Module)
                  for weight in part.parameters())  # fmt: skip
    assert 2 * count < 60e6  # in float16, the committed files stay under 60 MB
