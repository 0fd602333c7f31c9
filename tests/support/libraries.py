"""What `test_examples` asks of libraries that change PyTorch for the whole process when they are imported.

Each check is run by its name in a process of its own: ``python tests/support/libraries.py skrl FOLDER``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gymnasium as gym
import torch
from torch import Tensor, nn

import gridai_env  # noqa: F401  registers the environments

NUM_ENVS, STEPS = 4, 24


def batch(stagger: bool = False) -> gym.vector.VectorEnv:
    """A few days on a device."""
    return gym.make_vec(
        "gridai/TwoSites-v2", num_envs=NUM_ENVS, device="cpu", flat_observations=True, stagger=stagger
    )


def copies(module: nn.Module) -> list[Tensor]:
    """The weights, as they are now."""
    return [weight.detach().clone() for weight in module.parameters()]


def insist_on_learning(module: nn.Module, before: list[Tensor]) -> None:
    """All weights are numbers, and all tensors of them changed."""
    after = copies(module)
    assert all(bool(weight.isfinite().all()) for weight in after)
    assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


def skrl(folder: str) -> None:
    """Two updates of skrl's PPO; nothing that passes between it and the environment leaves the device."""
    from scripts.examples.skrl_ppo import TensorBatch, main, make_agent, train

    torch.manual_seed(0)
    raw, twin = batch(), batch()
    env = TensorBatch(raw, seed=0)
    agent = make_agent(env)
    policy, value = copies(agent.policy), copies(agent.value)
    train(env, agent, steps=2 * STEPS * NUM_ENVS)
    insist_on_learning(agent.policy, policy)
    insist_on_learning(agent.value, value)
    assert env.device == torch.device("cpu")

    # The same world as without skrl: columns of the same numbers, and reset() restarts nothing.
    env = TensorBatch(raw, seed=1)
    twin.reset(seed=1)
    for t in range(STEPS):
        action = 3.0 * torch.randn(NUM_ENVS, *env.action_space.shape)
        observation, reward, terminated, truncated, infos = env.step(action)
        expected = twin.step(action.clamp(-1.0, 1.0))
        for found, wanted in zip((reward, terminated, truncated), expected[1:4], strict=True):
            assert found.shape == (NUM_ENVS, 1) and torch.equal(found[:, 0], wanted)
        assert torch.equal(observation, expected[0])
        assert env.reset()[0] is observation
        assert bool(terminated.all()) == (t == STEPS - 1) == ("episode" in infos)
    assert math.isfinite(infos["episode"]["benefit_usd"])

    words = ["--num-envs", str(NUM_ENVS), "--steps", str(2 * STEPS * NUM_ENVS), "--run-dir", folder]
    assert main(words) == 0


def torchrl() -> None:
    """Two updates of TorchRL's PPO, and a rollout that holds what the environment gave."""
    from scripts.examples.common import BatchOptions
    from scripts.examples.torchrl_rollout import make_actor, make_critic, make_env, train

    torch.manual_seed(0)
    env = make_env(BatchOptions(num_envs=NUM_ENVS))
    actor, critic = make_actor(env), make_critic(env)
    policy, value = copies(actor), copies(critic)
    losses = train(env, actor, critic, steps=2 * STEPS * NUM_ENVS)
    insist_on_learning(actor, policy)
    insist_on_learning(critic, value)
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)

    # Where an episode ends, the last observation is its own, and the next one the new episode's.
    env = make_env(BatchOptions(num_envs=NUM_ENVS))
    env.set_seed(3)
    played = env.rollout(STEPS + 12, break_when_any_done=False)
    raw = batch(stagger=True)
    raw.reset(seed=3)
    observation, _ = raw.reset()  # a rollout begins with a reset
    ended = 0
    for t in range(STEPS + 12):
        assert torch.equal(played["observation"][:, t], observation)
        observation, reward, terminated, truncated, infos = raw.step(played["action"][:, t])
        over = terminated | truncated
        ended += int(over.sum())
        following = torch.where(over[:, None], infos.get("final_obs", observation), observation)
        assert torch.equal(played["next", "observation"][:, t], following)
        assert torch.equal(played["next", "reward"][:, t, 0], reward)
        assert torch.equal(played["next", "terminated"][:, t, 0], terminated)
        assert torch.equal(played["next", "truncated"][:, t, 0], truncated)
    assert ended == 6  # in a day and a half: all four, the two that began latest in the day once more


CHECKS: dict[str, Callable[..., None]] = {"skrl": skrl, "torchrl": torchrl}

if __name__ == "__main__":
    torch.set_num_threads(1)
    CHECKS[sys.argv[1]](*sys.argv[2:])
