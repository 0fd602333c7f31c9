"""PPO in one file, from top to bottom, on the batch that lives on a device.

    python -m scripts.examples.cleanrl_ppo --scenario two_sites --num-envs 128 --steps 300000 --device cpu

Shows all that a training loop of one's own needs: `gym.make_vec(..., device=...)` steps tensors and returns tensors,
so observations, actions, rewards and gradients stay on one device. In the manner of cleanrl: no classes to
inherit from, nothing hidden; change what you like. `scripts.train` trains better policies: see `agents`.

Prints, now and then, the mean benefit of the episodes that ended (USD; some days cost a fortune, so means of few
episodes jump), and in the end the gain captured on the frozen validation episodes: docs/libraries.md has figures.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import gymnasium as gym

from scripts.examples.common import BatchOptions, iterations, make_batch, needed, print_gain
from scripts.runs.command import command

with needed():
    import torch
    from torch import Tensor, nn
    from torch.distributions import Normal


@dataclass(frozen=True)
class Hyperparameters:
    """Of the learning."""

    rollout_steps: int = 24  # steps of each environment between two updates
    epochs: int = 4  # passes over a rollout
    minibatches: int = 4  # in each pass
    learning_rate: float = 1e-3
    gamma: float = 1.0  # episodes end; money is worth as much in the evening
    gae_lambda: float = 0.8
    clip_range: float = 0.2
    value_weight: float = 0.5
    max_grad_norm: float = 0.5
    initial_deviation: float = 0.3  # of the actions; wider noise refuses work by accident


class GaussianPolicy(nn.Module):
    """A Gaussian over the flat action, and a value of the observation; one network each."""

    def __init__(self, observations: int, actions: int, deviation: float, width: int = 64) -> None:
        super().__init__()
        self.mean = network(observations, actions, width, last_gain=0.01)
        self.value = network(observations, 1, width, last_gain=1.0)
        self.log_deviation = nn.Parameter(torch.full((actions,), math.log(deviation)))

    def actions(self, observation: Tensor) -> Normal:
        """Return the distribution of the action [B,A]."""
        return Normal(self.mean(observation), self.log_deviation.exp())

    def worth(self, observation: Tensor) -> Tensor:
        """Return the value [B] of observations [B,N]."""
        return self.value(observation)[..., 0]


def network(inputs: int, outputs: int, width: int, last_gain: float) -> nn.Sequential:
    """Return two hidden layers of tanh with orthogonal weights."""
    gains = [math.sqrt(2.0), math.sqrt(2.0), last_gain]
    layers = [nn.Linear(a, b) for a, b in ((inputs, width), (width, width), (width, outputs))]
    for layer, gain in zip(layers, gains, strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


@dataclass
class Rollout:
    """What was played: tensors [T,B,...], and the benefits of the episodes that ended meanwhile."""

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor  # with what is to be expected after a truncation
    ended: Tensor  # 1 where the episode was over after the step
    benefits_usd: list[Tensor]


@torch.no_grad()
def play(
    envs: gym.vector.VectorEnv, policy: GaussianPolicy, observation: Tensor, settings: Hyperparameters
) -> tuple[Rollout, Tensor]:
    """Play ``rollout_steps`` steps; return them and the observation to go on from."""
    kept: list[tuple[Tensor, ...]] = []
    benefits_usd = []
    for _ in range(settings.rollout_steps):
        chosen = policy.actions(observation)
        action = chosen.sample()
        value = policy.worth(observation)

        # The environment takes [-1, 1] only; the gradient is that of the action before clipping.
        following, reward, terminated, truncated, infos = envs.step(action.clamp(-1.0, 1.0))

        # Bootstrap where an episode was cut off: its last observation is not in `following`.
        if "final_obs" in infos:  # episodes ended, and `following` belongs to the next ones already
            reward = reward + settings.gamma * truncated * policy.worth(infos["final_obs"])
            final = infos["final_info"]
            benefits_usd.append(final["episode/benefit_usd"][final["_episode/benefit_usd"]])

        ended = (terminated | truncated).to(reward.dtype)
        kept.append((observation, action, chosen.log_prob(action).sum(-1), value, reward, ended))
        observation = following

    columns = [torch.stack(column) for column in zip(*kept, strict=True)]
    observations, actions, log_probs, values, rewards, over = columns
    return Rollout(observations, actions, log_probs, values, rewards, over, benefits_usd), observation


@torch.no_grad()
def advantages(rollout: Rollout, last_value: Tensor, settings: Hyperparameters) -> Tensor:
    """Return generalised advantage estimates [T,B] (Schulman et al. 2016)."""
    found = torch.zeros_like(rollout.rewards)
    following, running = last_value, torch.zeros_like(last_value)
    for t in reversed(range(len(found))):
        goes_on = 1.0 - rollout.ended[t]
        error = rollout.rewards[t] + settings.gamma * goes_on * following - rollout.values[t]
        running = error + settings.gamma * settings.gae_lambda * goes_on * running
        found[t], following = running, rollout.values[t]
    return found


def improve(
    policy: GaussianPolicy,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Tensor,
    settings: Hyperparameters,
) -> float:
    """Learn from one rollout; return the mean loss."""
    flat = [x.flatten(0, 1) for x in (rollout.observations, rollout.actions, rollout.log_probs)]
    observations, actions, log_probs = flat
    gained = advantage.flatten()
    returns = gained + rollout.values.flatten()

    losses = []
    for _ in range(settings.epochs):
        order = torch.randperm(len(gained), device=gained.device)
        for rows in order.chunk(settings.minibatches):
            log_prob = policy.actions(observations[rows]).log_prob(actions[rows]).sum(-1)
            ratio = (log_prob - log_probs[rows]).exp()
            scaled = (gained[rows] - gained[rows].mean()) / (gained[rows].std() + 1e-8)
            clipped = ratio.clamp(1.0 - settings.clip_range, 1.0 + settings.clip_range)
            policy_loss = -torch.minimum(ratio * scaled, clipped * scaled).mean()
            value_loss = (policy.worth(observations[rows]) - returns[rows]).square().mean()
            loss = policy_loss + settings.value_weight * value_loss

            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), settings.max_grad_norm)
            optimizer.step()
            losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def train(
    envs: gym.vector.VectorEnv, policy: GaussianPolicy, settings: Hyperparameters, steps: int, seed: int = 0
) -> list[float]:
    """Play and learn in turn; print how it goes and return the mean loss of each update."""
    optimizer = torch.optim.Adam(policy.parameters(), settings.learning_rate, eps=1e-5)
    per_iteration = settings.rollout_steps * envs.num_envs
    count = iterations(steps, per_iteration)
    observation, _ = envs.reset(seed=seed)

    losses, benefits_usd, begun = [], [], time.perf_counter()
    for i in range(1, count + 1):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1.0 - (i - 1) / count)
        rollout, observation = play(envs, policy, observation, settings)
        with torch.no_grad():
            last_value = policy.worth(observation)
        gained = advantages(rollout, last_value, settings)
        losses.append(improve(policy, optimizer, rollout, gained, settings))

        benefits_usd += rollout.benefits_usd
        if (i % math.ceil(count / 10) == 0 or i == count) and benefits_usd:
            speed = i * per_iteration / (time.perf_counter() - begun)
            mean_usd = float(torch.cat(benefits_usd).mean())
            print(f"{i * per_iteration:>9,} steps  {mean_usd:>9,.0f} USD per episode  {speed:>8,.0f} steps/s")
            benefits_usd.clear()
    return losses


@command(BatchOptions)
def main(options: BatchOptions) -> int:
    """Make the environments and the policy, and train."""
    torch.manual_seed(options.seed)
    envs = make_batch(options)
    settings = Hyperparameters()
    policy = GaussianPolicy(
        gym.spaces.flatdim(envs.single_observation_space),
        gym.spaces.flatdim(envs.single_action_space),
        settings.initial_deviation,
    ).to(options.device)

    train(envs, policy, settings, options.steps, options.seed)
    envs.close()
    print_gain(policy.mean, options, options.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
