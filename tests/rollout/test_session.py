"""A session on a tiny random model: the loop, its order, its memory of itself."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from helpers import wall, walls
from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import PRESETS, pan
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.baselines.nothing import NoMemory
from mirage.models.codec import StreamDecoder
from mirage.models.tiny import tiny_world
from mirage.rollout import Session
from mirage.rollout.saved import Saved, save_session
from mirage.rollout.settings import Settings

SIZE = (64, 96)


def begin(model, image, **choices):
    return Session(model, image, camera=Camera.looking(aspect=1.5), **{"depth": wall, "seed": 3, **choices})


def positions(session) -> torch.Tensor:
    """Where the points of its memory are, [N,3]."""
    assert isinstance(session.memory, LatentSpatialMemory)
    return session.memory.points.position


def test_frames_cameras_and_latents_of_a_walk_fit_together(model, image):
    session = begin(model, image)
    path = PRESETS["there_and_back"](session.camera, 25)
    chunks = list(session.follow(path))
    assert sum(len(chunk.frames) for chunk in chunks) == 25
    assert sum(len(chunk.latents) for chunk in chunks) == 7
    cameras = torch.cat([chunk.camera.c2w for chunk in chunks])
    assert torch.equal(cameras, path.c2w)
    assert torch.equal(torch.cat([chunk.latent_camera.c2w for chunk in chunks]), path.c2w[4::4])
    assert [chunk.index for chunk in chunks] == [0, 1, 2]


def test_chunks_decode_to_one_stream_without_a_seam(model, image):
    session = begin(model, image)
    chunks = list(session.follow(pan(session.camera, 17)))
    together = model.decode(torch.cat([chunk.latents for chunk in chunks]))
    apart = torch.cat([chunk.frames for chunk in chunks])
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=0)


def test_who_keeps_chunks_keeps_no_decoder_and_who_walks_on_keeps_no_frames(model, image):
    """The decoder's cache is gigabytes for large frames; there is one of it, however many chunks are kept."""

    def caches() -> int:
        gc.collect()
        return sum(type(thing) is StreamDecoder for thing in gc.get_objects())

    before, session = caches(), begin(model, image)
    path = pan(session.camera, 33)
    chunks = list(session.follow(path))
    assert all(torch.isfinite(chunk.frames).all() for chunk in chunks)
    assert len(chunks) == 4
    assert caches() == before + 1
    held = weakref.ref(chunks[-1].frames)
    del chunks
    assert held() is None
    session.step(path[:8].relative_to(path[0]))  # and it can go on


def test_the_first_frame_is_the_image_and_is_written_once(model, image):
    session = begin(model, image)
    assert len(session.memory) == 4 * 6
    chunk = session.step(pan(session.camera, 9)[1:])
    torch.testing.assert_close(chunk.latents[:1], model.encode(image[None]))
    still = begin(model, image)
    still.step(Camera.concatenate([still.camera[None]] * 8))
    assert len(still.memory) == 4 * 6  # the same view again adds nothing


def test_same_seed_same_walk_and_another_seed_another(model, image):
    path = pan(Camera.looking(aspect=1.5), 9)
    walks = [torch.cat([c.latents for c in begin(model, image, seed=seed).follow(path)]) for seed in (5, 5, 6)]
    assert torch.equal(walks[0], walks[1])
    assert not torch.equal(walks[0], walks[2])


def test_a_snapshot_comes_back_to_the_same_future_and_costs_the_walk_nothing(model, image):
    path = pan(Camera.looking(aspect=1.5), 25)
    plain = torch.cat([c.frames for c in begin(model, image).follow(path)])
    session = begin(model, image)
    first = session.step(path[1:9])
    moment = session.snapshot()
    astray = session.step(PRESETS["dolly"](session.camera, 9)[1:])
    session.restore(moment)
    rest = [session.step(path[9:17]), session.step(path[17:25])]
    assert not torch.equal(astray.readout.index, rest[0].readout.index)
    torch.testing.assert_close(torch.cat([first.frames, *(c.frames for c in rest)]), plain, atol=1e-6, rtol=0)


def test_without_a_memory_every_view_is_a_hole(model, image):
    session = begin(model, image, memory=NoMemory(model.channels))
    chunk = session.step(pan(session.camera, 9)[1:])
    assert not chunk.readout.mask.any()
    assert chunk.memory_points == chunk.memory_bytes == 0
    assert chunk.references == []


def test_what_was_seen_is_known_on_return(model, image):
    session = begin(model, image)
    chunks = list(session.follow(PRESETS["there_and_back"](session.camera, 17)))
    assert chunks[-1].readout.mask[-1].float().mean() > 0.95


def test_a_scale_that_drifts_is_locked_to_the_memory(model, image):
    def drifting(views):
        return wall(views).scaled(1.0 if views.first else 1.2)

    session = begin(model, image, depth=drifting)
    chunk = session.step(Camera.concatenate([session.camera[None]] * 8))
    assert chunk.alignment is not None
    assert chunk.alignment.scale == pytest.approx(1 / 1.2, rel=0.01)
    assert chunk.depth.z.median() == pytest.approx(2.0, rel=0.01)


def test_what_a_segmenter_marks_never_enters(model, image):
    asked = []

    def left_half(first, count, frames):
        asked.append((first, count, frames().shape))
        mask = torch.zeros(count, 8, 12)
        mask[..., :6] = 1
        return mask

    session = begin(model, image, moving=left_half)
    session.step(Camera.concatenate([session.camera[None]] * 8))
    session.step(Camera.concatenate([session.camera[None]] * 4))
    assert asked == [(0, 1, (1, 3, *SIZE)), (1, 8, (8, 3, *SIZE)), (9, 4, (4, 3, *SIZE))]
    assert len(session.memory) == 4 * 3
    assert (positions(session)[:, 0] > 0).all()


@pytest.mark.parametrize("filtered", [True, False])
def test_what_stood_in_the_image_and_went_leaves_the_memory(model, image, filtered):
    def passing(views):
        depth = wall(views)
        if views.first:
            depth.z[0, 1:3, 2:4] = 1.0
        return depth

    session = begin(model, image, depth=passing, settings=Settings(filter=filtered))
    assert (positions(session)[:, 2] < 1.5).sum() == 4
    session.step(Camera.concatenate([session.camera[None]] * 8))
    assert (positions(session)[:, 2] < 1.5).any() == (not filtered)


@pytest.mark.parametrize("kept_free", [True, False])
def test_what_the_image_looked_through_stays_out_of_the_memory(model, image, kept_free):
    def near(views):
        depth = wall(views)
        if not views.first:
            depth.z[:, 1:3, 2:4] = 1.0
        return depth

    session = begin(model, image, depth=near, settings=Settings(free_space=kept_free, lock=False))
    session.step(Camera.concatenate([session.camera[None]] * 8))
    assert (positions(session)[:, 2] < 1.5).any() == (not kept_free)


def test_a_budget_holds_at_every_step(model, image):
    row = begin(model, image).memory.nbytes
    budget = max(row, 60_000)
    memory = LatentSpatialMemory(model.channels, policy=MemoryPolicy(max_bytes=budget))
    session = begin(model, image, memory=memory)
    for chunk in session.follow(pan(session.camera, 41, degrees=180.0)):
        assert chunk.memory_bytes <= budget


def test_a_given_depth_map_places_the_image(model, image):
    session = begin(model, image, depth=DepthMap(torch.full(SIZE, 3.0)))
    assert positions(session)[:, 2].unique().tolist() == [3.0]


@pytest.mark.parametrize("poses", [0, 3, 12, 16])
def test_a_step_of_another_length_is_refused(model, image, poses):
    session = begin(model, image)
    with pytest.raises(InputError, match="4k poses"):
        session.step(Camera.concatenate([session.camera[None]] * poses) if poses else pan(session.camera, 1)[1:])


def test_a_path_from_elsewhere_is_refused(model, image):
    session = begin(model, image)
    moved = pan(session.camera, 9).moved(torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match="does not begin"):
        list(session.follow(moved))


def test_a_saved_walk_goes_on_as_it_would_have(model, image, tmp_path):
    path = pan(Camera.looking(aspect=1.5), 33)
    session = begin(model, image, prompt="a red room")
    list(session.follow(path[:17]))
    session.save(tmp_path / "world.safetensors")
    loaded = Session.load(tmp_path / "world.safetensors", model, depth=wall)
    assert loaded.prompt == "a red room"
    here, there = session.step(path[17:25]), loaded.step(path[17:25])
    assert torch.equal(here.latents, there.latents)
    assert torch.equal(here.readout.index, there.readout.index)
    assert here.frames.shape == there.frames.shape
    assert (here.frames[-4:] - there.frames[-4:]).abs().mean() < 0.02


def test_a_saved_walk_goes_on_to_the_bit_when_the_branch_has_its_say(image, tmp_path):
    """The poses of a world file are what they were: a rounding of theirs would reach the latents through the rays."""
    heard = tiny_world()
    generator = torch.Generator().manual_seed(0)
    assert heard.memory_branch is not None
    for weight in heard.memory_branch.parameters():  # what training begins at zero, and so keeps the branch silent
        if not weight.any():
            weight.data = 0.05 * torch.randn(weight.shape, generator=generator)
    tilted = pose.make_pose(pose.rotation_about("x", 17) @ pose.rotation_about("z", 5), torch.tensor([0.1, 0.2, 0.3]))
    path = pan(Camera.looking(aspect=1.5, c2w=tilted), 25, degrees=60)
    session = Session(heard, image, camera=path[0], depth=wall, seed=3)
    list(session.follow(path[:17]))
    session.save(tmp_path / "world.safetensors")
    loaded = Session.load(tmp_path / "world.safetensors", heard, depth=wall)
    assert torch.equal(loaded.history.camera.c2w, session.history.camera.c2w)
    assert torch.equal(loaded.step(path[17:25]).latents, session.step(path[17:25]).latents)


def test_a_world_file_has_a_camera_for_each_latent(model, image, tmp_path):
    session = begin(model, image)
    past = session.history
    short = replace(past, camera=Camera.concatenate([past.camera, past.camera]))
    assert isinstance(session.memory, LatentSpatialMemory)
    saved = Saved(session.memory, short, "", 3, 0, session.settings)
    save_session(tmp_path / "world.safetensors", saved)
    with pytest.raises(InputError, match=r"holds c2w as .* \[2, 4, 4\]; expected"):
        Session.load(tmp_path / "world.safetensors", model)


def test_a_world_file_of_another_model_is_refused(model, image, tmp_path):
    begin(model, image).save(tmp_path / "world.safetensors")
    with pytest.raises(InputError, match="48 channels"):
        Session.load(tmp_path / "world.safetensors", tiny_world(channels=16))


def test_a_walk_without_a_memory_is_not_saved(model, image, tmp_path):
    with pytest.raises(InputError, match="NoMemory"):
        begin(model, image, memory=NoMemory(48)).save(tmp_path / "world.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_estimator_that_has_a_length_is_an_estimator(model, image):
    """Depth maps from files have one, and of an empty file it is 0: no reason to ask the depth head instead."""

    class Empty:
        def __len__(self):
            return 0

        def __call__(self, views):
            raise InputError("there is no depth map")

    with pytest.raises(InputError, match="no depth map"):
        begin(model, image, depth=Empty())


def test_an_estimator_of_frames_sees_the_frames_of_the_video_and_their_numbers(model, image):
    asked = []

    def estimate(views):
        asked.append((views.frames, views.camera, views.number))
        return walls(len(views.frames), (32, 48))  # at a resolution of its own

    session = begin(model, image, depth=estimate)
    path = PRESETS["there_and_back"](session.camera, 17)
    video = torch.cat([chunk.frames for chunk in session.follow(path)])
    same = torch.cat([chunk.frames for chunk in begin(model, image).follow(path)])
    assert torch.equal(video, same)  # the wall is where the other estimator has it
    assert torch.equal(asked[0][0], image[None])
    assert [number.tolist() for _, _, number in asked] == [[0], [4, 8], [12, 16]]
    for frames, camera, number in asked[1:]:
        assert torch.equal(frames, video[number])
        torch.testing.assert_close(camera.c2w, path.c2w[number])
