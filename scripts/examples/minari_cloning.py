"""Behaviour cloning from a Minari data set, in plain PyTorch.

    python -m scripts.demonstrate --scenario two_sites --planner mpc:day_ahead --episodes 200 \\
        --minari gridai/two_sites-day_ahead-v0
    python -m scripts.examples.minari_cloning --dataset gridai/two_sites-day_ahead-v0 --steps 3000 --seed 0

Shows all that an offline learner needs: `minari.load_dataset` gives observations, actions and rewards, and
`recover_environment` the world that they are from. Whatever reads Minari (d3rlpy, TorchRL, ...) takes the data set
as it is. Prints the score of the data itself, and in the end the gain captured on the frozen validation episodes.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

import gridai_env
from scripts.examples.common import PIP, ExampleOptions, needed, print_gain
from scripts.runs.arguments import Count
from scripts.runs.command import CommandOptions, InputError, command

with needed(PIP.replace("examples", "offline")):
    import minari
    import torch
    from torch import Tensor, nn


class CloningOptions(CommandOptions):
    """Options of the cloning."""

    dataset: str = Field(description="name of a Minari data set, see scripts.demonstrate --minari")
    steps: Count = Field(3000, description="gradient steps")
    batch_size: Count = Field(256, description="transitions of each")
    width: Count = Field(256, description="of the two hidden layers")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of weights and batches")


def load(name: str) -> minari.MinariDataset:
    """Return a data set; raises InputError where there is none of this name or it is of another environment."""
    try:
        found = minari.load_dataset(name)
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise InputError(f"--dataset {name}: {error}; make one with scripts.demonstrate --minari") from error
    if found.env_spec is None or found.env_spec.id not in gridai_env.IDS:
        raise InputError(
            f"--dataset {name}: is of no environment of gridai; see scripts.demonstrate --minari"
        )
    return found


def transitions(dataset: minari.MinariDataset) -> tuple[Tensor, Tensor]:
    """Return all observations [n,N], flat in the order of `FlattenObservation`, and the actions [n,A] at them."""
    names = list(dataset.observation_space)
    seen, done = [], []
    for episode in dataset:
        # The last observation has no action.
        seen.append(np.concatenate([episode.observations[name][:-1] for name in names], axis=-1))
        done.append(episode.actions)
    return torch.as_tensor(np.concatenate(seen)), torch.as_tensor(np.concatenate(done))


def score(dataset: minari.MinariDataset) -> float:
    """Return the normalised score of the data, percent: 0 is Local-Only, 100 the proven bound."""
    returns = np.array([episode.rewards.sum() for episode in dataset])
    return 100.0 * float(minari.get_normalized_score(dataset, returns.mean()))


def clone(observations: Tensor, actions: Tensor, options: CloningOptions) -> nn.Module:
    """Return a network that maps observations [B,N] to actions [B,A] as the data does; print the loss now and then."""
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    network = nn.Sequential(
        nn.Linear(observations.shape[1], options.width),
        nn.ReLU(),
        nn.Linear(options.width, options.width),
        nn.ReLU(),
        nn.Linear(options.width, actions.shape[1]),
        nn.Tanh(),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for i in range(1, options.steps + 1):
        rows = torch.randint(len(actions), (options.batch_size,), generator=generator)
        loss = (network(observations[rows]) - actions[rows]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if i % max(options.steps // 5, 1) == 0:
            print(f"{i:>7,} gradient steps, mean distance of an action's entry {loss.item():.4f}")
    return network


@command(CloningOptions)
def main(options: CloningOptions) -> int:
    """Load the data set, clone its policy and judge it."""
    dataset = load(options.dataset)
    env: Any = dataset.recover_environment()
    print(f"{dataset.id}: {len(dataset)} episodes of {env.spec.id}, score {score(dataset):.1f}")
    network = clone(*transitions(dataset), options)
    env.close()
    if (scenario := gridai_env.IDS[env.spec.id]) is None:
        print("gain captured: unknown, an own scenario has no frozen sets")
        return 0
    print_gain(network, ExampleOptions(scenario=scenario, steps=options.steps, seed=options.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
