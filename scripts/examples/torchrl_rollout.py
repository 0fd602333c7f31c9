"""TorchRL on the batch that lives on a device: its wrapper, its collector, its PPO loss.

    python -m scripts.examples.torchrl_rollout --scenario two_sites --num-envs 128 --steps 300000 --device cpu

Shows the stock `GymWrapper` around `gym.make_vec(..., device=...)`: actions go in and observations come out as tensors
of the device (``convert_actions_to_numpy=False``), in TorchRL's TensorDicts [B,T]. The figures of each step
(``benefit_usd``, ``emissions_kg``, ...) lie beside the observation. A tanh keeps the actions in [-1, 1]. Where
episodes end TorchRL copies the last observations row by row: with 1,024 environments that takes nine tenths of the
time on a processor, so it is not the library for the largest batches.

Prints what an episode earns at the mean reward since the line before (USD), and in the end the gain captured on the
frozen validation episodes: docs/libraries.md has figures.
"""

from __future__ import annotations

import math
from functools import partial

from scripts.examples.common import BatchOptions, iterations, make_batch, needed, print_gain
from scripts.runs.command import command

with needed():
    import torch
    from tensordict import TensorDict, TensorDictBase
    from tensordict.nn import TensorDictModule
    from torch import nn
    from torchrl.collectors import Collector
    from torchrl.envs import EnvBase, GymWrapper
    from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

ROLLOUT_STEPS = 24  # steps of each environment between two updates
EPOCHS, MINIBATCHES = 4, 4
DEVIATION = 0.3  # of the actions before the tanh; wider noise refuses work by accident


def make_env(options: BatchOptions) -> EnvBase:
    """Return the batch as a TorchRL environment."""
    # Episodes that all end together TorchRL would begin twice: they are staggered.
    batch = make_batch(options, stagger=True)
    return GymWrapper(batch, device=options.device, convert_actions_to_numpy=False)


def make_actor(env: EnvBase) -> ProbabilisticActor:
    """Return a Gaussian through a tanh over the flat action."""
    mean = network(env, env.action_spec.shape[-1])
    with torch.no_grad():
        mean[-1].weight *= 0.01
    return ProbabilisticActor(
        TensorDictModule(mean, in_keys=["observation"], out_keys=["loc"]),
        in_keys=["loc"],
        spec=env.action_spec,
        distribution_class=partial(TanhNormal, scale=partial(torch.full_like, fill_value=DEVIATION)),
        return_log_prob=True,
    )


def make_critic(env: EnvBase) -> ValueOperator:
    """Return the value of an observation."""
    return ValueOperator(network(env, 1), in_keys=["observation"])


def network(env: EnvBase, outputs: int) -> MLP:
    """Return a network with two hidden layers."""
    inputs = env.observation_spec["observation"].shape[-1]
    return MLP(inputs, outputs, num_cells=[64, 64], activation_class=nn.Tanh, device=env.device)


def train(
    env: EnvBase, actor: ProbabilisticActor, critic: ValueOperator, steps: int, seed: int = 0
) -> list[float]:
    """Play and learn in turn; print how it goes and return the mean loss of each update."""
    per_iteration = ROLLOUT_STEPS * env.batch_size[0]
    count = iterations(steps, per_iteration)
    env.set_seed(seed)
    collector = Collector(
        env,
        actor,
        frames_per_batch=per_iteration,
        total_frames=count * per_iteration,
        auto_register_policy_transforms=False,
    )

    # Episodes end, so money is worth as much in the evening: no discount.
    advantage = GAE(gamma=1.0, lmbda=0.8, value_network=critic)
    loss = ClipPPOLoss(actor, critic, entropy_bonus=False, critic_coeff=0.5, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)

    losses, rewards = [], []
    for i, played in enumerate(collector, start=1):
        with torch.no_grad():
            advantage(played)
        losses.append(improve(loss, optimizer, played.reshape(-1)))
        rewards.append(played["next", "reward"].mean())
        if i % math.ceil(count / 10) == 0 or i == count:
            mean_usd = float(torch.stack(rewards).mean()) * usd_per_reward(env)
            print(f"{i * per_iteration:>9,} steps  {mean_usd:>9,.0f} USD per episode")
            rewards.clear()
    collector.shutdown()
    return losses


def improve(loss: ClipPPOLoss, optimizer: torch.optim.Optimizer, played: TensorDictBase) -> float:
    """Learn from one rollout [B*T]; return the mean loss."""
    sums = []
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(played), device=played.device).chunk(MINIBATCHES):
            parts = loss(played[rows])
            total = parts["loss_objective"] + parts["loss_critic"]
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
            optimizer.step()
            sums.append(total.detach())
    return float(torch.stack(sums).mean())


def usd_per_reward(env: EnvBase) -> float:
    """Return what an episode with a mean reward of 1 per step earns (USD)."""
    return float(env.compiled.shape.steps * env.compiled.reward_scale_usd)


@command(BatchOptions)
def main(options: BatchOptions) -> int:
    """Make the environments, the actor and the critic, and train."""
    torch.manual_seed(options.seed)
    env = make_env(options)
    actor = make_actor(env)
    train(env, actor, make_critic(env), options.steps, options.seed)
    env.close(raise_if_closed=False)

    def mean(seen: torch.Tensor) -> torch.Tensor:
        return actor.get_dist(TensorDict(observation=seen)).deterministic_sample

    print_gain(mean, options, options.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
