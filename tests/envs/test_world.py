"""Laws of the environment: Gymnasium's own checks, the same seed the same frames, and a batch is its rows."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import mirage.envs
from helpers import refusal
from mirage.envs.vector import WorldVectorEnv
from mirage.envs.world import WorldEnv
from mirage.formats.image import save_image
from mirage.formats.keys import KEYS
from mirage.geometry.camera import Camera
from mirage.geometry.motion import Motion
from mirage.models.world import WorldModel

NORMALISED = "ignore:.*normalized space"  # metres and degrees are what they are; RescaleAction is for those who want 1


@pytest.mark.filterwarnings("error", NORMALISED)
@pytest.mark.parametrize(("obs", "actions"), [("frame", "motion"), ("chunk", "keys"), ("dict", "motion")])
def test_gymnasium_finds_nothing_wrong(model, obs, actions):
    env = gymnasium.make("mirage/World-v0", model=model, obs=obs, actions=actions, render_mode="rgb_array")
    assert env.spec is not None
    assert env.spec.max_episode_steps == mirage.envs.EPISODE
    check_env(env.unwrapped)
    for space in (env.observation_space, env.action_space):
        parts = space.values() if isinstance(space, gymnasium.spaces.Dict) else [space]
        boxes = [part for part in parts if isinstance(part, gymnasium.spaces.Box)]
        assert all(np.isfinite(box.low).all() and np.isfinite(box.high).all() for box in boxes)


def test_the_same_seed_and_actions_are_the_same_to_the_bit_and_another_seed_is_not(model):
    def walk(seed):
        env = WorldEnv(model, obs="chunk")
        env.action_space.seed(5)
        return np.stack([env.reset(seed=seed)[0], *(env.step(env.action_space.sample())[0] for _ in range(3))])

    one, other = walk(1), walk(2)
    assert np.array_equal(one, walk(1))
    assert not np.array_equal(one[0], other[0])


def test_a_step_goes_where_its_action_says(model):
    env = WorldEnv(model, obs="dict", metres=0.5, degrees=10)
    seen, info = env.reset(seed=0, options={"scene": 4})
    assert seen["known"].any()
    assert not seen["pose"][:4].any()
    start = Camera(torch.from_numpy(info["pose"]), torch.ones(4))
    seen, _, _, _, info = env.step([0.25, -0.5, 0.125, 10, -5])
    asked = Motion(forward=0.25, right=-0.5, up=0.125, yaw=10, pitch=-5)
    assert np.allclose(info["pose"], asked.along(start, 4).c2w[-1], atol=1e-5)
    assert seen["pose"][2:4] == pytest.approx([0.125, 10], abs=1e-3)
    held, _, _, _, _ = env.step([9, 0, 0, 0, 0])  # farther than a step goes
    assert np.linalg.norm(held["pose"][:3] - seen["pose"][:3]) == pytest.approx(0.5, abs=1e-4)


def test_a_key_and_its_opposite_lead_back(model):
    env = WorldEnv(model, actions="keys")
    for there, back in [("w", "s"), ("e", "q"), ("left", "right"), ("stay", "stay")]:
        _, before = env.reset(seed=0, options={"scene": 4})
        _, _, _, _, away = env.step(list(KEYS).index(there))
        _, _, _, _, after = env.step(list(KEYS).index(back))
        assert np.allclose(before["pose"], away["pose"]) == (there == "stay")
        assert np.allclose(before["pose"], after["pose"], atol=1e-5)


def test_info_says_what_the_memory_knew_and_holds(model):
    env = WorldEnv(model)
    _, first = env.reset(seed=0)
    *_, turned = env.step([0, 0, 0, 6, 0])
    assert 0 < turned["coverage"] < 1
    assert turned["memory_bytes"] > first["memory_bytes"] > 0
    assert set(turned["seconds"].stages) >= {"denoise", "decode"}
    assert float(turned["seconds"]) > 0


def test_episodes_begin_with_a_picture_or_where_a_saved_world_ended(model, tmp_path):
    save_image(tmp_path / "photo.png", torch.rand(3, 64, 96))
    env = WorldEnv(model, image=str(tmp_path / "photo.png"), fov=60, prompt="a room")
    seen, _ = env.reset(seed=0)
    last, *_, info = env.step([0.1, 0, 0, 6, 0])
    assert env.session is not None
    assert env.session.prompt == "a room"
    env.session.save(tmp_path / "here.safetensors")

    on = WorldEnv(model, world=str(tmp_path / "here.safetensors"))
    again, there = on.reset(seed=0)
    assert np.array_equal(there["pose"], info["pose"])
    assert np.abs(again.astype(int) - last).mean() < np.abs(seen.astype(int) - last).mean()
    on.step([0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"obs": "pixels"}, ["'pixels'", "frame, chunk, dict"]),
        ({"actions": "buttons"}, ["'buttons'", "motion, keys"]),
        ({"render_mode": "human"}, ["'human'", "rgb_array"]),
        ({"chunk_frames": 6}, ["4k", "6"]),
        ({"metres": 0}, ["metres"]),
        ({"trajectory": "orbit"}, ["trajectory"]),
        ({"scene": 3, "image": "photo.jpg"}, ["scene 3", "image"]),
        ({"scene": -1}, ["scene", "-1"]),
        ({"step": 3}, ["step", "accepted"]),
        ({"image": "nowhere.jpg"}, ["nowhere.jpg"]),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(model, choices, words):
    refusal(WorldEnv, model, words=words, **choices)


def test_reset_refuses_what_it_does_not_know_and_a_step_wants_a_reset(model):
    env = WorldEnv(model)
    refusal(env.reset, options={"place": 3}, words=["place", "scene, prompt"])
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.action_space.sample())


def test_walks_of_a_vector_go_through_the_network_together_each_as_it_would_alone(model, monkeypatch):
    envs = gymnasium.make_vec("mirage/World-v0", num_envs=3, model=model)
    assert isinstance(envs, WorldVectorEnv)
    rows = []
    plain = WorldModel.denoise
    monkeypatch.setattr(WorldModel, "denoise", lambda its, condition, **more: (
        rows.append(len(condition.memory)) or plain(its, condition, **more)))  # fmt: skip
    first, _ = envs.reset(seed=7)
    actions = np.array([[0.1, 0, 0, 6, 0], [0, 0.2, 0, 0, 0], [0, 0, 0.1, -6, 3]], np.float32)
    seen, rewards, ended, cut, infos = envs.step(actions)
    assert rows == [3]
    assert not rewards.any() and not ended.any() and not cut.any()  # noqa: PT018
    assert infos["coverage"].shape == (3,)
    assert infos["pose"].shape == (3, 4, 4)
    alone = WorldEnv(model)
    for row in range(3):
        begun, _ = alone.reset(seed=7 + row)
        assert np.array_equal(first[row], begun)
        step, *_, info = alone.step(actions[row])
        assert np.abs(seen[row].astype(int) - step).max() <= 1  # a level, where kernels of a batch round otherwise
        assert np.array_equal(infos["pose"][row], info["pose"])


def test_a_truncated_walk_of_a_vector_begins_again_at_the_next_step(model):
    envs = gymnasium.make_vec("mirage/World-v0", num_envs=2, model=model, max_episode_steps=2, scene=4, obs="dict")
    assert isinstance(envs, WorldVectorEnv)
    first, _ = envs.reset(seed=[1, 1])
    stay = np.zeros((2, 5), np.float32)
    cut = [envs.step(stay)[3].tolist() for _ in range(2)]
    assert cut == [[False, False], [True, True]]
    again, _, _, over, _ = envs.step(stay)
    assert np.array_equal(again["frame"], first["frame"])
    assert not over.any()
    assert again in envs.observation_space
    assert envs.step(stay)[3].tolist() == [False, False]


def test_an_agent_of_stable_baselines_learns_from_it(model):
    """Not that it learns something: its loop, its buffers and its network of pictures take what comes."""
    sb3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make("mirage/World-v0", model=model, max_episode_steps=3)
    agent = sb3.PPO("CnnPolicy", env, n_steps=4, batch_size=4, n_epochs=1, seed=0, device="cpu")
    agent.learn(8)
    assert agent.num_timesteps == 8
