"""Attribute a policy's loss to its levers, by replacing them with those of a better schedule in the public actions.

The flat action has blocks: where work is served (routing), what waits or is refused (deferral), batteries, own
generation, jobs.  In a mixed episode some levers act as the better schedule did (its recorded actions, step by step)
and the others as the policy decides, which sees the state that the mixture has led to.  With no lever replaced that
is the policy, with all of them the better schedule.

What a lever is worth depends on which others were replaced before it; its Shapley value, the mean over all orders,
does not, and the values sum exactly to the whole difference.  ``alone`` is what replacing only this lever gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from gridai_env.arrays.types import Bools, Float, Floats, Floats32, Observation
from gridai_env.envs.action_space import active_mask
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.policy import Policy, Predictor, as_policy
from gridai_env.rollout.run import run, run_many
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout

Coalition = frozenset[str]

LEVERS = ("routing", "deferral", "battery", "generation", "jobs", "modes")


@dataclass(frozen=True)
class LeverLoss:
    """What a lever is worth on each episode, USD, positive where the better schedule uses it better."""

    lever: str
    shapley_usd: Float[Floats, " m"]  # over all levers they sum to the difference
    alone_usd: Float[Floats, " m"]  # by replacing this lever alone


def lever_masks(compiled: Compiled) -> dict[str, Bools]:
    """Return which entries of the flat action [A] belong to each lever that the scenario has."""
    layout, sites = Layout(compiled.shape), compiled.shape.sites
    active = active_mask(compiled, may_refuse=True)
    masks = {name: np.zeros(layout.size) for name in LEVERS}
    layout.split(masks["routing"])["routing"][..., :sites] = 1.0  # views
    layout.split(masks["deferral"])["routing"][..., sites:] = 1.0
    for name in ("battery", "jobs"):
        layout.split(masks[name])[name][...] = 1.0
    for name in ("generator", "renewable"):
        layout.split(masks["generation"])[name][...] = 1.0
    layout.split(masks["modes"])["mode"][...] = 1.0
    own = {name: mask > 0.0 for name, mask in masks.items()}
    return {name: mask for name, mask in own.items() if (mask & active).any()}


class Mixture(Policy):
    """A policy of which some entries of the action are those of recorded schedules, one per episode."""

    def __init__(self, policy: Policy, schedules: Floats32, replaced: Bools) -> None:
        """Take recorded actions [B,T,A], or [T,A] of one episode, and which entries [A] they replace."""
        self.policy, self.schedules, self.replaced = policy, schedules, replaced
        self.name = "mixture"

    def prepare(self, compiled: Compiled) -> None:
        """Pass the scenario on."""
        self.policy.prepare(compiled)

    def reseed(self, seed: int) -> None:
        """Pass the seed on."""
        self.policy.reseed(seed)

    def predict(
        self, observation: Observation, state: Any = None, *more: Any, **options: Any
    ) -> tuple[Floats32, Any]:
        """Return actions [B,A]; the memory is the step and the policy's own."""
        t, memory = (0, None) if state is None else state
        action, memory = self.policy.predict(observation, memory, *more, **options)
        return np.where(self.replaced, self.schedules[..., t, :], action), (t + 1, memory)


def lever_losses(
    policy: Policy | Predictor,
    instances: Sequence[Instance],
    schedules: Sequence[Floats32],
    seed: int = 0,
    on_progress: Callable[[], object] | None = None,
) -> list[LeverLoss]:
    """Return what each lever of better schedules (actions [T,A], one per instance) is worth to a policy.

    2**levers batches of episodes are played (what is asked for one episode at a time plays them one by one);
    ``on_progress`` is called after each.  Raises ValueError for planners, which cannot follow a mixture, and for
    instances of different scenarios.
    """
    actor = as_policy(policy)
    if plans(actor):
        raise ValueError(f"{actor.name}: a planner plays one episode at a time, not a mixture")

    masks = lever_masks(instances[0].compiled)
    recorded = np.stack([np.asarray(schedule, dtype=np.float32) for schedule in schedules])

    values: dict[Coalition, Floats] = {}
    for coalition in coalitions(tuple(masks)):
        replaced = np.zeros(recorded.shape[-1], dtype=np.bool_)
        for lever in coalition:
            replaced |= masks[lever]
        if len(coalition) == len(masks):
            replaced[:] = True  # entries without effect included: the better schedule itself
        if actor.plays_one_episode:
            mixtures = [Mixture(actor, own, replaced) for own in recorded]
            played = [run(own, each, seed) for own, each in zip(mixtures, instances, strict=True)]
        else:
            mixture = Mixture(actor, recorded, replaced)
            played = run_many(mixture, instances, seed, batch=len(instances))
        values[coalition] = np.array([trajectory.benefit_usd for trajectory in played])
        if on_progress is not None:
            on_progress()

    nothing: Coalition = frozenset()
    shares = shapley(values, tuple(masks))
    return [LeverLoss(name, shares[name], values[frozenset({name})] - values[nothing]) for name in masks]


def plans(policy: Policy) -> bool:
    """Return whether a policy looks at the episode itself beforehand."""
    return getattr(policy.begin, "__func__", None) is not Policy.begin


def coalitions(levers: Sequence[str]) -> list[Coalition]:
    """Return all sets of levers, small ones first."""
    return [frozenset(some) for size in range(len(levers) + 1) for some in combinations(levers, size)]


def shapley(values: dict[Coalition, Floats], levers: Sequence[str]) -> dict[str, Floats]:
    """Return each lever's mean marginal value over all orders, given the value of every set of levers."""
    count = len(levers)
    out: dict[str, Floats] = {}
    for lever in levers:
        others = [some for some in coalitions(levers) if lever not in some]
        parts = [
            factorial(len(some)) * factorial(count - len(some) - 1) / factorial(count)
            * (values[some | {lever}] - values[some])
            for some in others
        ]  # fmt: skip
        out[lever] = np.sum(parts, axis=0)
    return out
