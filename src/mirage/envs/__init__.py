"""A world to step as a Gymnasium environment; importing this registers it.

import gymnasium, mirage.envs
env = gymnasium.make("mirage/World-v0", image="photo.jpg")              # or a scene of its own for every episode
envs = gymnasium.make_vec("mirage/World-v0", num_envs=4)                # one batch through the network
"""

from mirage.optional import optional

with optional("gymnasium", wanted="an environment to step"):
    from gymnasium.envs.registration import register, registry

EPISODE = 100  # steps, after which an episode is truncated unless asked otherwise

if "mirage/World-v0" not in registry:
    register(
        "mirage/World-v0",
        entry_point="mirage.envs.world:WorldEnv",
        vector_entry_point="mirage.envs.vector:WorldVectorEnv",
        max_episode_steps=EPISODE,
    )
