"""Footage to clips: what comes out is what inference would see, a kill costs nothing but time, bad clips are named."""

import io
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from helpers import walls
from mirage.cli import main
from mirage.depth.posescale import PoseScale, rescaled
from mirage.depth.protocol import Views
from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.cameras import save_cameras
from mirage.formats.footage import find_footage
from mirage.formats.image import save_image
from mirage.formats.published import is_published, plain_files, read_sample, sample_names
from mirage.formats.video import VideoWriter
from mirage.geometry.depthmap import DepthMap
from mirage.models.tiny import tiny_world
from mirage.scenes import sample_clip
from mirage.training import clips as clip_files
from mirage.training import parallel
from mirage.training import prepare as stages
from mirage.training.clips import load_chunk, load_latents
from mirage.training.past import ready_condition
from mirage.training.prepare import PrepareOptions, prepare
from mirage.training.published import prepare_published

SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    return tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8, patch_size=(1, 4, 4))


@pytest.fixture(scope="module")
def clip():
    return sample_clip(3, frames=22, size=SIZE, kind="orbit", depth_every=1)


@pytest.fixture(scope="module")
def footage(clip, tmp_path_factory):
    """A good video with depth, one without, a folder of pictures, and four that cannot be used."""
    folder = tmp_path_factory.mktemp("footage")
    rgb = clip.rgb.float() / 255
    for name, count in (("good", 22), ("plain", 9), ("short", 5), ("poseless", 9), ("uneven", 9)):
        with VideoWriter(folder / f"{name}.mkv", codec="ffv1") as video:
            video.write(rgb[:count])
        if name != "poseless":
            poses = count - 1 if name == "uneven" else count
            save_cameras(folder / f"{name}.npz", clip.camera[:poses], format="npz")
    depth = torch.where(clip.depth.valid, clip.depth.z, torch.zeros(()))
    np.savez(folder / "good.depth.npz", depth=depth.numpy())
    (folder / "broken.mp4").write_bytes(b"no video at all")
    save_cameras(folder / "broken.npz", clip.camera, format="npz")
    (folder / "stills").mkdir()
    for i in range(9):
        save_image(folder / "stills" / f"{i:03d}.png", rgb[i])
    save_cameras(folder / "stills.txt", clip.camera[:9], format="re10k")
    (folder / "captions.json").write_text(json.dumps({"good": "a  red room"}))
    (folder / "plain.caption.txt").write_text("walls\n")
    return folder


@pytest.fixture(scope="module")
def prepared(model, footage, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    return out, prepare(model, PrepareOptions(footage, out, frames=9))


def test_a_clip_is_what_inference_would_encode(model, clip, prepared):
    out, _ = prepared
    one = load_latents(out / "clip-good-000009.safetensors")
    frames = clip.rgb[9:18].float() / 255
    torch.testing.assert_close(one.latents, model.encode(frames), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(one.images[1], model.encode(frames[4:5])[0], atol=2e-3, rtol=2e-3)
    camera = clip.camera[9:18:4]
    torch.testing.assert_close(one.camera.c2w, camera.relative_to(camera[0]).c2w, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.camera.intrinsics, camera.intrinsics)
    path = clip.camera[9:18].relative_to(camera[0])
    torch.testing.assert_close(one.cameras_between.c2w[2], path.c2w[5:8], atol=1e-5, rtol=1e-5)
    truth = clip.depth[9:18:4].resized((8, 12))
    assert torch.equal(one.depth.valid, truth.valid)
    torch.testing.assert_close(one.depth.z, truth.z, atol=1e-2, rtol=1e-3)
    assert one.keep is not None
    assert one.keep.shape == truth.valid.shape
    assert not (one.keep & ~truth.valid).any()
    assert one.caption == "a red room"


def test_every_clip_is_there_or_its_reason_is(prepared):
    out, content = prepared
    made = sorted(path.stem for path in out.glob("clip-*.safetensors"))
    assert made == ["clip-good-000000", "clip-good-000009", "clip-plain-000000", "clip-stills-000000"]
    reasons = {one["name"]: one["reason"] for one in content["left_out"]}
    assert set(reasons) == {"short", "poseless", "uneven", "broken"}
    assert "5 frames; a clip needs at least 9" in reasons["short"]
    assert "has no cameras" in reasons["poseless"]
    assert "9 frames and 8 poses" in reasons["uneven"]
    assert "not a whole video" in reasons["broken"]
    assert (content["clips"], content["latent_frames"], content["without_caption"]) == (4, 12, 1)
    told = (out / "report.txt").read_text()
    assert "4 clips, 12 latent frames" in told
    assert "left out uneven (cut)" in told
    assert json.loads((out / "report.json").read_text()) == content
    assert not list((out / "parts").glob("*/*"))  # parts of finished clips go


def held(folder):
    """Everything in the clips of a folder, to the bit."""
    clips = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            clips[path.name] = ({k: file.get_tensor(k).numpy().tobytes() for k in file.keys()}, file.metadata())
    return clips


class Killed(Exception):
    """As if the process were gone."""


def test_a_kill_at_any_moment_costs_nothing_but_time(model, footage, prepared, tmp_path, monkeypatch):
    whole, _ = prepared
    options = PrepareOptions(footage, tmp_path, frames=9)
    written, left = [], 0

    def die_in_time(target, **choices):
        nonlocal left
        written.append(str(target))
        left -= 1
        if left == 0:
            raise Killed
        return replacing(target, **choices)

    for module in (stages, clip_files):
        monkeypatch.setattr(module, "replacing", die_in_time)
    attempt = 0
    for attempt in range(1, 60):
        left = attempt
        try:
            prepare(model, options)
            break
        except Killed:
            continue
    assert attempt > 10
    assert held(whole) == held(tmp_path)
    done = [name for name in written if name.endswith("/parts/good-000000/latents.safetensors")]
    assert len(done) <= 2  # once, and once more if that was when it died


def test_what_is_done_is_not_done_again_and_other_choices_are_refused(model, footage, tmp_path):
    options = PrepareOptions(footage, tmp_path, frames=9, limit=3)
    prepare(model, options)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("clip-*")}
    prepare(model, options)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("clip-*")}
    with pytest.raises(InputError, match="was prepared with stride 1, asked was 2"):
        prepare(model, PrepareOptions(footage, tmp_path, frames=9, stride=2))


def test_a_stride_and_a_longer_rest(model, footage, tmp_path):
    prepare(model, PrepareOptions(footage, tmp_path, frames=17, stride=2, limit=2))
    clips = sorted(tmp_path.glob("clip-*"))
    assert [path.stem for path in clips] == ["clip-good-000000"]  # 11 frames are left of 22: one clip of 9
    assert load_latents(clips[0]).latents.shape[0] == 3


def test_estimators_are_asked_in_place_of_files(model, footage, clip, tmp_path):
    asked = []

    def depth(views: Views) -> DepthMap:
        asked.append((tuple(views.frames.shape), len(views.camera), len(views.number)))
        return walls(len(views.frames), (16, 24))

    def cameras(frames):
        return clip.camera[: len(frames)]

    out = tmp_path / "out"
    content = prepare(model, PrepareOptions(footage, out, frames=9, poses="keep"), depth=depth, cameras=cameras)
    assert {one["name"] for one in content["left_out"]} == {"short", "broken"}
    assert set(asked) == {((3, 3, *SIZE), 3, 3)}
    assert (load_latents(out / "clip-poseless-000000.safetensors").depth.z == 2).all()


def test_poses_take_the_scale_of_the_depth(model, footage, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "pose_scale", lambda depth, camera: PoseScale(20.0, 0.0, True, ""))
    save_cameras(tmp_path / "good.npz", rescaled(clip.camera, 0.05), format="npz")
    prepare(model, PrepareOptions(footage, tmp_path / "out", frames=21, cameras=tmp_path, poses="fit"))
    found = load_latents(tmp_path / "out" / "clip-good-000000.safetensors").camera
    camera = clip.camera[:21:4]
    torch.testing.assert_close(found.c2w, camera.relative_to(camera[0]).c2w, atol=1e-4, rtol=1e-4)


def test_moving_things_may_stay(model, footage, tmp_path):
    prepare(model, PrepareOptions(footage, tmp_path, frames=9, moving=False, limit=2))
    one = load_latents(tmp_path / "clip-good-000000.safetensors")
    assert one.keep is not None
    assert torch.equal(one.keep, one.depth.valid)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"frames": 5}, "at least a chunk"), ({"stride": 0}, "stride is 1 or more"), ({"footage": "none"}, "no folder")],
)
def test_wrong_requests_are_refused_before_any_work(model, footage, tmp_path, change, words):
    options = {"footage": footage, "out": tmp_path / "out", **change}
    with pytest.raises(InputError, match=words):
        prepare(model, PrepareOptions(**options))
    assert not (tmp_path / "out").exists()


def test_without_head_or_depth_it_says_so(footage, tmp_path):
    headless = tiny_world()
    headless.register_modules(depth_head=None)
    with pytest.raises(InputError, match="no depth head"):
        prepare(headless, PrepareOptions(footage, tmp_path / "out"))


def test_real_clips(model, data_dir, tmp_path):
    content = prepare(model, PrepareOptions(data_dir / "re10k_poses", tmp_path, frames=13, limit=1))
    assert content["clips"] == 1
    assert content["each"][0]["latents"] == 4


def _both(footage, out):
    model = tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8, patch_size=(1, 4, 4))
    prepare(model, PrepareOptions(footage, out, frames=9))


def test_two_processes_share_the_clips(footage, prepared, tmp_path):
    parallel.launch(_both, footage, tmp_path, processes=2)
    whole, content = prepared
    assert json.loads((tmp_path / "report.json").read_text())["clips"] == content["clips"]
    assert held(whole) == held(tmp_path)


def test_footage_of_one_name_twice_is_refused(footage, tmp_path):
    for ending in (".mkv", ".mp4"):
        (tmp_path / f"a{ending}").write_bytes(b"x")
    with pytest.raises(InputError, match="one footage per name"):
        find_footage(tmp_path)
    (tmp_path / "captions.json").write_text("[1]")
    with pytest.raises(InputError, match="no table of captions"):
        find_footage(tmp_path)


# -- the published layout -------------------------------------------------------------------------------------------


def saved(tensor):
    stream = io.BytesIO()
    torch.save({"latent": tensor}, stream)
    return stream.getvalue()


def sample(seed=0, **changes):
    g = torch.Generator().manual_seed(seed)
    target, memory = torch.randn(3, 8, 4, 6, generator=g), torch.randn(3, 8, 4, 6, generator=g)
    memory[:, :, :2] = 0
    files = {
        "train_target_rgb.pt": saved(target),
        "train_target_scene_proj_rgb.pt": saved(memory.bfloat16()),
        "train_preceding_rgb.pt": saved(torch.randn(2, 8, 4, 6, generator=g)),
        "train_preceding_scene_proj_rgb.pt": saved(torch.randn(2, 8, 4, 6, generator=g)),
        "train_reference_rgb.pt": saved(torch.randn(8, 1, 4, 6, generator=g)),
        "train_target_rgb.txt": b"a room",
        "train_sample.json": b"{}",
        "train_target_rgb_frame0.png": b"png",
    }
    return pickle.dumps({k: v for k, v in (files | changes).items() if v is not None}, protocol=5)


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    lmdb = pytest.importorskip("lmdb", reason="the extra `train` is not installed: pip install lmdb")
    folder = tmp_path_factory.mktemp("published")
    values = {
        "00000000": sample(0),
        "00000001": pickle.dumps({"train_target_rgb.pt": Evil()}),
        "00000002": sample(2, **{"train_target_rgb.pt": None}),
        "00000003": sample(3, **{"train_target_rgb.pt": pickle.dumps(Evil())}),
        "00000004": b"nonsense",
    }
    environment = lmdb.open(str(folder / "shard_000.lmdb"), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for name, value in values.items():
            transaction.put(name.encode(), value)
    environment.close()
    return folder


def test_published_samples_become_chunks_and_nothing_runs(published, tmp_path, capsys):
    assert is_published(published)
    assert not is_published(tmp_path)
    assert [name for _, name in sample_names(published)] == [f"{i:08d}" for i in range(5)]
    content = prepare_published(published, tmp_path)
    assert (content["clips"], content["skipped"]) == (1, 4)
    reasons = {one["name"].split("/")[1]: one["reason"] for one in content["left_out"]}
    assert "asks for builtins.print" in reasons["00000001"]
    assert "lacks train_target_rgb.pt" in reasons["00000002"]
    assert "no file of tensors" in reasons["00000003"]
    assert "no sample of the published layout" in reasons["00000004"]
    assert "run" not in capsys.readouterr().out.split()
    chunk = load_chunk(tmp_path / "chunk-shard_000-00000000.safetensors")
    assert chunk.target.shape == (3, 8, 4, 6)
    assert chunk.references.shape == (1, 8, 4, 6)
    assert not chunk.known[:, :2].any()
    assert chunk.known[:, 2:].all()
    assert chunk.preceding_memory is not None
    condition = ready_condition(chunk, preceding=3, references=2)
    assert torch.equal(condition.preceding[0, :, 1:].transpose(0, 1), chunk.preceding)
    assert condition.preceding_memory is not None  # as seen from the same frames, in the same order
    assert torch.equal(condition.preceding_memory[0, :, 1:].transpose(0, 1), chunk.preceding_memory)
    assert torch.equal(condition.preceding_memory[0, :, 0], chunk.memory[0])
    assert torch.equal(condition.references[0, :, 1], chunk.target[0])


def test_samples_that_were_not_packed_yet_are_the_same_chunks(published, tmp_path):
    folder = tmp_path / "train" / "a-sample"
    folder.mkdir(parents=True)
    for name, content in pickle.loads(sample(0)).items():
        (folder / name).write_bytes(content)
    assert is_published(tmp_path / "train")
    assert prepare_published(tmp_path / "train", tmp_path / "out")["clips"] == 1
    prepare_published(published, tmp_path / "packed")
    loose = load_chunk(tmp_path / "out" / "chunk-train-a-sample.safetensors")
    packed = load_chunk(tmp_path / "packed" / "chunk-shard_000-00000000.safetensors")
    for name in ("target", "memory", "preceding", "references", "preceding_memory"):
        assert torch.equal(getattr(loose, name), getattr(packed, name)), name
    assert loose.caption == packed.caption
    (folder / "train_preceding_scene_proj_rgb.pt").unlink()
    assert read_sample(tmp_path / "train", "a-sample").preceding_projection is None


def test_a_sample_of_the_larger_model_has_its_references_in_channels(published):
    shard, name = sample_names(published)[0]
    assert read_sample(shard, name).references.shape == (1, 8, 4, 6)
    with pytest.raises(InputError, match="no table of files"):
        plain_files(pickle.dumps([1, 2]), where="here")


def test_the_command_prepares_both(published, footage, tmp_path, capsys):
    assert main(["prepare", str(published), "--out", str(tmp_path / "chunks"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["clips"] == 1
    assert main(["prepare", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["prepare", str(footage), "--out", str(tmp_path / "x"), "--depth", "guess"]) == 2
    assert "accepted: head, depth-anything" in capsys.readouterr().err
    tiny = tmp_path / "tiny"
    tiny_world().save_pretrained(tiny)
    command = ["prepare", str(footage), "--out", str(tmp_path / "clips"), "--model", str(tiny), "--limit", "3"]
    assert main(command) == 0
    assert len(list((tmp_path / "clips").glob("clip-*.safetensors"))) == 2  # of 17 and 9 frames
