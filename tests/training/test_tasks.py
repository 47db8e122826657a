"""What the recipes train, on tiny models and clips: losses fall, and training sees what inference sees."""

import copy
import pickle
import shutil
from dataclasses import fields, is_dataclass, replace
from functools import partial

import pytest
import torch
from mirage.training.channels import pixel_weights
from mirage.training.decoder import DecoderConfig, DecoderTask
from mirage.training.recipes import RECIPES, ClipsRecipe, ExportRecipe
from mirage.training.run import chosen_device, run, run_of
from safetensors.torch import save_file

from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory
from mirage.models import flow
from mirage.models.autoencode import decode, encode
from mirage.models.codec import encode_images
from mirage.models.fold import fold_time
from mirage.models.tiny import tiny_world
from mirage.scenes import sample_clip, training_seed, vocabulary
from mirage.training.autoencoder import AutoencoderConfig, AutoencoderTask, shifted, start_from_images
from mirage.training.clips import clip_path, render_clips
from mirage.training.denoiser import DenoiserConfig, DenoiserTask, noisy_depth
from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.latents import encode_clip, load_latent_clip
from mirage.training.loop import Schedule, fit
from mirage.training.optimizer import MuonAdamW
from mirage.training.samples import batches

SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    return tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8, patch_size=(1, 4, 4))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    render_clips(folder, count=3, size=SIZE, frames=9)
    return folder


@pytest.fixture(scope="module")
def latents(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    render_clips(folder, count=3, size=SIZE, frames=17, kept=partial(encode_clip, model))
    return folder


def at(task, step):
    """The loss of a step."""
    generator = torch.Generator().manual_seed(step)
    return task.loss(task.maker(step, generator), generator)[0]


def test_clips_are_not_made_twice(clips):
    before = {path: path.stat().st_mtime_ns for path in clips.iterdir()}
    render_clips(clips, count=3, size=SIZE, frames=9)
    assert before == {path: path.stat().st_mtime_ns for path in clips.iterdir()}


def test_a_latent_clip_holds_what_the_model_encodes(model, latents):
    clip = load_latent_clip(clip_path(latents, 0))
    assert clip.latents.shape == clip.images.shape == (5, 8, 8, 12)
    assert clip.camera.shape == (5,)
    assert clip.depth.shape == (5, 8, 12)
    torch.testing.assert_close(clip.latents[0], clip.images[0], atol=2e-2, rtol=1e-2)  # kept in half precision
    assert set(clip.caption.replace(",", "").replace(";", "").split()) <= {*vocabulary()}


def test_folded_convolutions_are_the_same_sum():
    vae = tiny_world(seed=2).vae
    video = torch.rand(2, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        plain = encode(vae, video)
        shown = decode(vae, plain)
        fold_time(vae)
        torch.testing.assert_close(encode(vae, video), plain, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decode(vae, plain), shown, atol=1e-4, rtol=1e-4)


def test_training_encodes_what_inference_encodes(model):
    video = torch.rand(9, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batch = encode(model.vae, (video * 2 - 1).transpose(0, 1)[None])[0].transpose(0, 1)
        torch.testing.assert_close(batch, model.encode(video), atol=1e-5, rtol=1e-4)


def test_from_images_two_frames_merge_into_the_later_one():
    vae = tiny_world(seed=1, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae
    start_from_images(vae)
    still = torch.rand(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        shown = decode(vae, encode(vae, still.expand(-1, -1, 9, -1, -1)))
    torch.testing.assert_close(shown[:, :, 5], shown[:, :, 8], atol=1e-5, rtol=1e-4)  # four equal frames per latent
    for name, part in vae.named_modules():
        if isinstance(part, torch.nn.Conv3d) and part.kernel_size[0] == 3:
            assert not part.weight[:, :, :-1].any(), name


def test_shifting_is_bilinear():
    ramp = torch.arange(12.0).view(1, 1, 3, 4)
    torch.testing.assert_close(shifted(ramp, 0.25, 0.5), ramp[..., :-1, :-1] + 0.25 * 4 + 0.5)


def test_without_equivariance_no_latent_is_moved(clips, monkeypatch):
    vae = fold_time(tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae)
    config = AutoencoderConfig(clips, mix=((1, 32, 2),), held_out=1)

    def losses(equivariance):
        task = AutoencoderTask(vae, replace(config, equivariance=equivariance))
        return torch.stack([at(task, step).detach() for step in range(6)])

    usual, never = losses(0.01), losses(0.0)
    monkeypatch.setattr("mirage.training.autoencoder.shifted", lambda z, down, right: z[..., :-1, :-1] + 9)
    assert torch.equal(losses(0.0), never)
    assert not torch.equal(losses(0.01), usual)


@pytest.mark.parametrize("mix", [(1, 32, 2), (5, 32, 1)])
def test_the_autoencoder_learns(clips, mix):
    vae = fold_time(tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae)
    start_from_images(vae)
    task = AutoencoderTask(vae, AutoencoderConfig(clips, mix=(mix,), held_out=1))
    optimizer = MuonAdamW(vae.named_parameters(), muon_lr=0.01, adamw_lr=1e-3)
    losses = []
    for _ in range(12):  # the same batch each time
        loss = at(task, 0)
        losses.append(loss.item())
        vae.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert set(task.evaluate()) >= {"image_psnr", "half_cell_error"}


def test_the_decoder_learns_while_latents_stay(clips, tmp_path):
    vae = fold_time(tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae)
    task = DecoderTask(vae, DecoderConfig(clips, window=5, held_out=1))
    clip = torch.rand(1, 3, 9, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before, quality = encode(vae, clip), task.evaluate()
    fit(task, Schedule(steps=12, warmup=1, muon_lr=0.01, average=0.5), tmp_path)
    assert torch.equal(encode(vae, clip), before)
    after = task.evaluate()
    assert after["clip_psnr"] > quality["clip_psnr"] + 0.5
    assert after["half_cell_error"] == quality["half_cell_error"]


def test_the_decoders_windows_lie_anywhere_in_the_picture(clips):
    vae = tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae
    whole = DecoderTask(vae, DecoderConfig(clips, window=99, noise=0.0, held_out=1)).maker
    assert whole.span(8, torch.Generator()) == (0, 8)
    small = DecoderTask(vae, DecoderConfig(clips, window=5, noise=0.0, held_out=1)).maker
    assert {small.span(8, torch.Generator().manual_seed(s)) for s in range(40)} == {(i, i + 5) for i in range(4)}


def test_the_denoiser_learns_and_every_part_gets_a_gradient(model, latents, tmp_path):
    task = DenoiserTask(model, DenoiserConfig(latents, batch=2, frames=3, held_out=1, no_memory=0.0))
    fit(task, Schedule(steps=2, warmup=1), tmp_path)  # projections leave zero, so the next gradient reaches everything
    at(task, 5).backward()
    silent = [name for name, p in task.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in silent if "text" not in name]
    before = task.evaluate()["loss_memory"]
    fit(task, Schedule(steps=30, warmup=2, muon_lr=0.01, average=0.8), tmp_path)
    assert task.evaluate()["loss_memory"] < before


def test_a_training_sample_is_the_readout_of_inference(model, latents):
    task = DenoiserTask(model, DenoiserConfig(latents, frames=3, held_out=1))
    path = task.maker.paths[0]
    clip = load_latent_clip(path)
    sample = task.maker.sample(path, 1, 1, torch.Generator().manual_seed(3), augment=False)
    condition, x0 = sample.condition, sample.target[0]
    starts = [s for s in range(3) if torch.equal(x0.transpose(0, 1), clip.latents[s : s + 3])]
    assert len(starts) == 1
    start = starts[0]
    memory = LatentSpatialMemory(model.channels)
    depth, camera = clip.depth[: start + 1], clip.camera[: start + 1]
    memory.write(clip.latents[: start + 1], depth, camera, keep=~seen_through(depth, camera))
    readout = memory.read(clip.camera[start : start + 3], (8, 12))
    assert torch.equal(condition.memory[0].transpose(0, 1), readout.latents)
    assert torch.equal(condition.mask[0, 0].bool(), readout.mask)
    assert torch.equal(condition.first[0, :, 0], clip.latents[start])


def test_a_step_from_the_models_own_sampling_asks_for_what_is_known_alone(model, latents):
    config = DenoiserConfig(latents, batch=2, frames=3, held_out=1, no_memory=0.0, sampled=1.0, own_steps=(3,))
    task = DenoiserTask(model, config)
    batch = task.maker(0, torch.Generator().manual_seed(0))
    assert batch.steps == 3
    known = batch.condition.mask.bool()
    known[:, :, 0] = False  # that frame is given
    assert 0 < known.float().mean() < 1

    def loss(target):
        return task.loss(replace(batch, target=target), torch.Generator().manual_seed(1))[0].item()

    at_first = loss(batch.target)
    assert loss(batch.target + 9 * ~known) == pytest.approx(at_first)
    assert loss(batch.target + 9 * known) > at_first + 1


def test_samplers_of_every_length_asked_for_are_learnt_from(model, latents):
    config = DenoiserConfig(latents, batch=1, frames=3, held_out=1, sampled=1.0, own_steps=(2, 5))
    maker = DenoiserTask(model, config).maker
    assert {maker(number, torch.Generator().manual_seed(0)).steps for number in range(20)} == {2, 5}


def test_a_channel_counts_by_what_it_does_to_the_pixels(model, latents):
    """A decoder that hears nothing of channel 0, and then three times as much of channel 2; it is no linear one."""
    model, clip = copy.deepcopy(model), load_latent_clip(clip_path(latents, 0))
    with torch.no_grad():
        conv = model.vae.post_quant_conv
        conv.weight[:, 0] = 0
        before = pixel_weights(model, clip.latents, least=0.01).flatten()
        conv.weight[:, 2] *= 3
        after = pixel_weights(model, clip.latents, least=0.01).flatten()
    assert before[0] == pytest.approx(0.01)
    assert (before[1:] > 0.05).all()
    assert 1.5 < (after[2] / after[3]) / (before[2] / before[3]) < 4.5
    task = DenoiserTask(model, DenoiserConfig(latents, batch=1, frames=3, held_out=1, pixel_weighted=True))
    assert torch.equal(task.weights.flatten(), after.clamp_min(0.2))


def test_only_the_detail_path_learns_when_it_is_asked_alone(latents):
    model = tiny_world(
        channels=8,
        dim_mult=(1, 2, 2),
        temporal_downsample=(True, True),
        stride=8,
        patch_size=(1, 4, 4),
        detail_channels=8,
        detail_blocks=1,
        prediction="sample",
    )
    task = DenoiserTask(model, DenoiserConfig(latents, batch=1, frames=3, held_out=1, train=("detail",)))
    at(task, 0).backward()
    parts = DenoiserTask.modules(model).values()
    learns = {name for part in parts for name, p in part.named_parameters() if p.requires_grad}
    assert learns
    assert all(name.startswith("detail.") for name in learns)
    assert all(name.startswith("detail.") for name, _ in task.module.named_parameters())


def test_what_reads_the_words_may_learn_alone(latents):
    model = tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8)
    config = DenoiserConfig(latents, batch=1, frames=3, held_out=1, no_text=0.0, train=("words", "text_encoder"))
    task = DenoiserTask(model, config)
    at(task, 0).backward()
    learns = {name for name, p in model.transformer.named_parameters() if p.requires_grad}
    assert learns
    assert all("attn2" in name or "norm2" in name or "text_embedder" in name for name in learns)
    assert not any(p.requires_grad for p in model.memory_branch.parameters())
    assert task.module["words"]["embedder"].linear_2.weight.grad.any()
    assert task.module["text_encoder"].shared.weight.grad.any()


def test_chunks_of_glimpses_are_more_and_shorter(model, latents):
    task = DenoiserTask(model, DenoiserConfig(latents, batch=2, frames=5, held_out=1, apart=1.0, latent_noise=0.0))
    clips = [load_latent_clip(path) for path in task.maker.paths]
    batch = task.maker(0, torch.Generator().manual_seed(0))
    assert batch.target.shape[:3] == (3, model.channels, 3)  # 2 chunks of 5 frames are 3 of 3

    def places(latent, among):
        return {(c, f) for c, clip in enumerate(clips) for f, of in enumerate(among(clip)) if torch.equal(of, latent)}

    fresh = set()
    for number in range(8):
        batch = task.maker(number, torch.Generator().manual_seed(number))
        for chunk, start in zip(batch.target, batch.condition.first[:, :, 0], strict=True):
            first, *others = (places(latent, lambda clip: clip.latents) for latent in chunk.unbind(1))
            fresh.add(bool(first & places(start, lambda clip: clip.images)))
            if not first & places(start, lambda clip: clip.images):  # all that the clip showed before is known
                assert first & places(start, lambda clip: clip.latents)
                assert all(max(f for _, f in other) > min(f for _, f in first) for other in others)
            assert all({c for c, _ in other} & {c for c, _ in first} for other in others)
            assert not first & others[0] or len(first) > 1  # a walk back shows the same again
    assert fresh == {True, False}
    assert torch.isfinite(at(task, 0))


def test_glimpses_may_be_the_views_of_a_draft(model, latents):
    config = DenoiserConfig(latents, batch=2, frames=5, held_out=1, apart=1.0, drafted=1.0, latent_noise=0.0)
    task = DenoiserTask(model, config)
    clips = [load_latent_clip(path) for path in task.maker.paths]
    for number in range(4):
        batch = task.maker(number, torch.Generator().manual_seed(number))
        for chunk in batch.target:
            assert any(
                torch.equal(chunk, clip.latents[start : start + 5][[0, 2, 4]].transpose(0, 1))
                for clip in clips
                for start in range(len(clip.latents) - 4)
            )


def test_chunks_too_short_for_a_draft_are_refused(model, latents):
    with pytest.raises(InputError, match=r"drafted is 0\.5, but chunks have 2 frames; expected 3 or more"):
        DenoiserTask(model, DenoiserConfig(latents, frames=2, held_out=1, apart=1.0, drafted=0.5))


def test_glimpses_may_lean_to_noise(model, latents, monkeypatch):
    """With a shift of their own; other chunks keep that of the configuration."""
    shifts = []
    draw_timesteps = flow.sample_timesteps

    def noted(size, *, shift, **others):
        shifts.append(shift)
        return draw_timesteps(size, shift=shift, **others)

    monkeypatch.setattr(flow, "sample_timesteps", noted)
    for apart in (1.0, 0.0):
        config = DenoiserConfig(latents, batch=1, frames=3, held_out=1, apart=apart, apart_shift=10.0, shift=2.0)
        at(DenoiserTask(model, config), 0)
    assert shifts == [10.0, 2.0]


def test_of_what_is_told_nothing_is_shown(model, latents, tmp_path):
    shutil.copytree(latents, tmp_path / "views")
    config = DenoiserConfig(latents, batch=2, frames=5, held_out=1, told=1.0, views=tmp_path / "views")
    task = DenoiserTask(model, config)
    batch = task.maker(0, torch.Generator().manual_seed(0))
    assert batch.target.shape[:3] == (5, model.channels, 2)
    assert not batch.condition.first.any()
    assert not batch.condition.mask.any()
    assert batch.target[:, :, 1].any()
    assert torch.isfinite(at(task, 0))


def test_prompts_are_whole_brief_or_nothing(model, latents):
    task = DenoiserTask(model, DenoiserConfig(latents, frames=3, held_out=1, no_text=0.2, brief=0.5))
    caption = "a room with red walls, a blue floor and a green box; dim light"
    told = [task.maker.words(caption, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert 0.1 < told.count("") / 200 < 0.3
    assert 0.4 < told.count(caption) / 200 < 0.7  # some that are cut keep everything
    assert len(set(told)) > 6


def test_a_clip_of_doors_comes_into_the_next_room():
    kinds = {sample_clip(training_seed(n), frames=5, size=(16, 24), kind="door").kind for n in range(12)}
    assert "door" in kinds
    assert len(kinds) > 1  # on a street there is none


def test_noisy_depth_is_off_by_about_as_much_as_told():
    depth = DepthMap(torch.full((200, 8, 8), 3.0))
    noisy = noisy_depth(depth, 0.05, torch.Generator().manual_seed(0))
    assert torch.equal(noisy.valid, depth.valid)
    assert 0.03 < (noisy.z / 3).log().std() < 0.08


def test_the_depth_head_learns(model, latents, tmp_path):
    task = DepthHeadTask(model.depth_head, DepthHeadConfig(latents, batch=8, held_out=1))
    before = task.evaluate()["absrel"]
    fit(task, Schedule(steps=40, warmup=2, muon_lr=0.01, average=0.8), tmp_path)
    assert task.evaluate()["absrel"] < before


def test_in_bfloat16_everything_learns_too(latents):
    """As the bundled model does on a GPU: with a detail path, predicting clean latents."""
    its = {"channels": 8, "dim_mult": (1, 2, 2), "temporal_downsample": (True, True), "stride": 8}
    model = tiny_world(**its, patch_size=(1, 4, 4), detail_channels=8, detail_blocks=1, prediction="sample")
    config = DenoiserConfig(latents, batch=2, frames=3, held_out=1)
    exact, rounded = (at(DenoiserTask(model, replace(config, bf16=bf16)), 1) for bf16 in (False, True))
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)
    assert not torch.equal(rounded, exact)
    rounded.backward()
    gradients = [p.grad for p in model.memory_branch.detail.leave[-1].parameters()]  # the others wait for it
    assert all(torch.isfinite(g).all() and g.any() for g in gradients)


def test_half_of_what_the_depth_head_sees_is_views(model, latents, tmp_path):
    shutil.copytree(latents, tmp_path / "views")
    task = DepthHeadTask(model, DepthHeadConfig(latents, tmp_path / "views", held_out=1))
    assert [len(source) for source in task.maker.sources] == [2, 3]


def test_a_sample_may_have_another_memory_and_the_models_own_depth(model, latents):
    task = DenoiserTask(model, DenoiserConfig(latents, frames=3, held_out=1, no_memory=0.4, pixels=0.5, own_depth=0.5))
    kinds = {type(task.maker.memory(True, torch.Generator().manual_seed(seed))).__name__ for seed in range(40)}
    assert kinds == {"LatentSpatialMemory", "RGBPointMemory", "NoneType"}
    for step in range(4):
        assert torch.isfinite(at(task, step))


def test_every_batch_is_the_same_whoever_makes_it(model, clips, latents):
    """To the bit, by a copy as another process gets it; with the autoencoder and the depth head in it, too."""
    config = DenoiserConfig(latents, batch=2, frames=3, held_out=1, no_memory=0.0, pixels=0.5, own_depth=0.5)
    tasks = (
        DenoiserTask(model, config),
        DepthHeadTask(model.depth_head, DepthHeadConfig(latents, batch=4, held_out=1)),
        DecoderTask(model.vae, DecoderConfig(clips, window=5, batch=2, held_out=1)),
        AutoencoderTask(model.vae, AutoencoderConfig(clips, mix=((1, 32, 2), (5, 32, 1)), held_out=1)),
    )
    for task in tasks:
        twin = pickle.loads(pickle.dumps(task.maker))
        one, its, other = (
            maker(n, torch.Generator().manual_seed(n)) for maker, n in ((task.maker, 1), (twin, 1), (twin, 2))
        )
        assert same(one, its)
        assert not same(one, other)


def test_a_worker_makes_what_this_process_makes(model, latents):
    task = DenoiserTask(model, DenoiserConfig(latents, batch=1, frames=3, held_out=1, own_depth=0.5))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        here, there = (
            list(batches(task.maker, seed=3, rank=0, first=1, stop=5, workers=workers)) for workers in (0, 1)
        )
    finally:
        torch.set_num_threads(threads)
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


def same(one, other):
    """Whether two values, or all that is in them, are equal."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return one == other


def test_recipes_say_what_must_be_run_first(tmp_path):
    with pytest.raises(InputError, match="no recipe 'mini'; accepted: mini_bundled, mini_clips"):
        run("mini", tmp_path)
    with pytest.raises(InputError, match="has no checkpoint"):
        run("mini_latents", tmp_path / "home")
    assert not (tmp_path / "home").exists()  # a mistyped folder is not left behind
    with pytest.raises(InputError, match="holds no clips"):
        run("mini_images", tmp_path)
    with pytest.raises(InputError, match="has no steps"):
        run("mini_clips", tmp_path, steps=3)
    assert all(recipe(tmp_path) == recipe(tmp_path) for recipe in RECIPES.values())
    with pytest.raises(InputError, match="takes no minutes"):
        run("mini_export", tmp_path, minutes=3)


def test_what_runs_on_a_gpu_makes_what_its_namesake_makes(tmp_path):
    for name in RECIPES:
        if name.startswith("mini_gpu_"):
            large, small = RECIPES[name](tmp_path), RECIPES[run_of(name)](tmp_path)
            assert type(large) is type(small)
            assert getattr(large, "folder", None) == getattr(small, "folder", None)
            assert getattr(large, "start", None) == getattr(small, "start", None)
            if isinstance(large, ClipsRecipe):
                assert large.minutes
            elif not isinstance(large, ExportRecipe):
                assert large.schedule.minutes


def test_clips_are_as_many_as_the_minutes_allow(tmp_path):
    render_clips(tmp_path, count=3, size=SIZE, frames=9, minutes=1e-9)
    assert len(list(tmp_path.glob("clip-*"))) < 3
    render_clips(tmp_path, count=3, size=SIZE, frames=9, minutes=60)
    assert len(list(tmp_path.glob("clip-*"))) == 3


def test_the_device_is_the_gpu_if_there_is_one(monkeypatch):
    before = torch.get_float32_matmul_precision()
    try:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert chosen_device() == torch.device("cpu")
        assert torch.get_float32_matmul_precision() == before
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        assert chosen_device() == torch.device("cuda", 1)
    finally:
        torch.set_float32_matmul_precision(before)


def test_images_are_encoded_together_as_one_by_one(model):
    frames = torch.rand(5, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.cat([model.encode(frame[None]) for frame in frames])
    torch.testing.assert_close(encode_images(model.vae, frames), one_by_one, atol=1e-5, rtol=1e-4)


def test_a_clip_of_another_kind_is_not_taken_for_latents(tmp_path):
    save_file({"rgb": torch.zeros(1)}, clip_path(tmp_path, 0))
    with pytest.raises(InputError, match="is no latent clip"):
        load_latent_clip(clip_path(tmp_path, 0))


def test_cameras_of_a_clip_are_those_of_its_latents(latents):
    clip = load_latent_clip(clip_path(latents, 1))
    assert isinstance(clip.camera, Camera)
    assert torch.isfinite(clip.camera.c2w).all()
