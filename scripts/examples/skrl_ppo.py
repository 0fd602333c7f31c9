"""skrl's PPO on the batch that lives on a device.

    python -m scripts.examples.skrl_ppo --scenario two_sites --num-envs 128 --steps 300000 --device cpu

Shows a library with a training loop of its own. skrl's stock Gymnasium wrapper takes these environments, too, but
brings every action to the host (and PyTorch warns of its copies); `TensorBatch` is the same in 30 lines for
environments that speak tensors.
Figures of the episodes reach skrl's TensorBoard through ``infos["episode"]`` (with --run-dir).

Prints the gain captured on the frozen validation episodes: docs/libraries.md has figures.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
from pydantic import Field

from scripts.examples.common import BatchOptions, iterations, make_batch, needed, print_gain
from scripts.runs.command import command

with needed():
    import torch
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.envs.wrappers.torch import Wrapper
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
    from skrl.trainers.torch import SequentialTrainer, SequentialTrainerCfg
    from torch import Tensor, nn

ROLLOUT_STEPS = 24  # steps of each environment between two updates
INITIAL_DEVIATION = 0.3  # of the actions; wider noise refuses work by accident


class TensorBatch(Wrapper):
    """A torch-native vector environment as skrl wants it: columns [B,1], the spaces of one environment."""

    def __init__(self, env: gym.vector.VectorEnv, seed: int) -> None:
        super().__init__(env)
        self._observation, self._infos = env.reset(seed=seed)

    @property
    def observation_space(self) -> gym.Space:
        """Return the observation space of one environment."""
        return self._env.single_observation_space

    @property
    def action_space(self) -> gym.Space:
        """Return the action space of one environment."""
        return self._env.single_action_space

    def reset(self) -> tuple[Tensor, dict[str, Any]]:
        """Return where the environments stand: they reset themselves."""
        return self._observation, self._infos

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Advance all; actions are clipped, what is learned is their distribution before that."""
        following, reward, terminated, truncated, infos = self._env.step(actions.clamp(-1.0, 1.0))
        self._observation, self._infos = following, infos
        final = infos.get("final_info")
        if final is not None and final["_episode/benefit_usd"].any():  # of episodes that were played whole
            mean_usd = final["episode/benefit_usd"][final["_episode/benefit_usd"]].mean()
            infos["episode"] = {"benefit_usd": mean_usd}
        return following, reward[:, None], terminated[:, None], truncated[:, None], infos

    def state(self) -> None:
        """No other state than the observation."""

    def render(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to see."""

    def close(self) -> None:
        """Close the environments."""
        self._env.close()


class Actor(GaussianMixin, Model):
    """Mean of the action from the observation, one deviation per entry."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, device: torch.device) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device=device)
        GaussianMixin.__init__(self)
        self.net = network(self.num_observations, self.num_actions)
        *_, last, _ = self.net.parameters()
        nn.init.orthogonal_(last, 0.01)  # at first it decides nothing in particular
        self.log_deviation = nn.Parameter(torch.full((self.num_actions,), math.log(INITIAL_DEVIATION)))

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        """Return the mean and the logarithm of the deviation."""
        return self.net(inputs["observations"]), {"log_std": self.log_deviation}


class Critic(DeterministicMixin, Model):
    """Value of the observation."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, device: torch.device) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device=device)
        DeterministicMixin.__init__(self)
        self.net = network(self.num_observations, 1)

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        """Return the value."""
        return self.net(inputs["observations"]), {}


def network(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Return a network with two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    )


def make_agent(env: TensorBatch, folder: Path | None = None) -> PPO:
    """Return PPO for the environments; with a folder it writes TensorBoard files and checkpoints there."""
    spaces = (env.observation_space, env.action_space, env.device)
    settings = PPO_CFG(
        rollouts=ROLLOUT_STEPS,
        learning_epochs=4,
        mini_batches=4,
        discount_factor=1.0,  # episodes end; money is worth as much in the evening
        gae_lambda=0.8,
        learning_rate=1e-3,
        value_clip=0.0,
        value_loss_scale=0.5,
    )

    if folder is None:
        settings.experiment.write_interval = settings.experiment.checkpoint_interval = 0
    else:
        settings.experiment.directory, settings.experiment.experiment_name = str(folder.parent), folder.name
        settings.experiment.write_interval = ROLLOUT_STEPS  # a record for every update

    return PPO(
        models={"policy": Actor(*spaces), "value": Critic(*spaces)},
        memory=RandomMemory(memory_size=ROLLOUT_STEPS, num_envs=env.num_envs, device=env.device),
        observation_space=env.observation_space,
        action_space=env.action_space,
        device=env.device,
        cfg=settings,
    )


def train(env: TensorBatch, agent: PPO, steps: int) -> None:
    """Train for so many steps of all environments together."""
    count = iterations(steps, ROLLOUT_STEPS * env.num_envs)
    settings = SequentialTrainerCfg(
        timesteps=count * ROLLOUT_STEPS,
        headless=True,
        disable_progressbar=None,  # shown in a terminal only
        close_environment_at_exit=False,
    )
    SequentialTrainer(env=env, agents=agent, cfg=settings).train()


class SkrlOptions(BatchOptions):
    """Options of this example."""

    run_dir: Path | None = Field(None, description="folder for TensorBoard and checkpoints")


@command(SkrlOptions)
def main(options: SkrlOptions) -> int:
    """Make the environments and the agent, train, and print what was gained."""
    torch.manual_seed(options.seed)
    env = TensorBatch(make_batch(options), options.seed)
    agent = make_agent(env, options.run_dir)
    train(env, agent, options.steps)
    env.close()
    print_gain(agent.policy.net, options, options.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
