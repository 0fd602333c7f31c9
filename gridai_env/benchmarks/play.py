"""Policies on the episodes of a frozen set, and the proof that none passes its bound."""

from collections.abc import Mapping, Sequence
from typing import Any

from gridai_env.benchmarks.published import FrozenSet
from gridai_env.benchmarks.sets import BenchmarkError
from gridai_env.episodes.instance import Instance
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run, run_many
from gridai_env.rollout.trajectory import Trajectory

# By how much a policy may pass the bound, over the sum of its absolute terms: rounding, no more.
BOUND_TOLERANCE = 1e-6


class BoundError(RuntimeError):
    """A policy did better than the proven bound: solver and simulator disagree, and no figure can be trusted."""


class ShiftedScenarioPolicy(Policy):
    """A network in a shifted scenario: prepared for its own, whose parts it reads from observations by name."""

    def __init__(self, policy: Policy, known: Mapping[str, int], instance: Instance) -> None:
        """Raise BenchmarkError where the changed world does not show what the network reads."""
        parts = ObservationLayout(instance.compiled).parts
        for name, size in known.items():
            shown = parts[name].stop - parts[name].start if name in parts else 0
            if shown != size:
                raise BenchmarkError(
                    f"shifted episodes show {shown} entries of {name!r}, the network reads {size}: the shift changes "
                    "the observation, so this network cannot be judged on it"
                )
        self.policy, self.name, self.known = policy, policy.name, tuple(known)
        self.reseed, self.begin = policy.reseed, policy.begin  # type: ignore[method-assign]

    @property
    def plays_one_episode(self) -> bool:
        """As the network."""
        return self.policy.plays_one_episode

    def predict(self, observation: Any, *memory: Any, **more: Any) -> tuple[Any, Any]:
        """Return what the network decides."""
        return self.policy.predict({name: observation[name] for name in self.known}, *memory, **more)


def player_for(policy: Policy, instance: Instance, shift: str) -> Policy:
    """Return the policy as it plays an episode; a network acts as in the scenario without the shift."""
    known = policy.observed_parts
    return ShiftedScenarioPolicy(policy, known, instance) if shift and known is not None else policy


def by_world(instances: Sequence[Instance]) -> list[list[int]]:
    """Return the indices of the episodes grouped by scenario, shift included."""
    groups: dict[str, list[int]] = {}
    for i, instance in enumerate(instances):
        groups.setdefault(instance.compiled.hash, []).append(i)
    return list(groups.values())


def played(
    policy: Policy, frozen: FrozenSet, instances: Sequence[Instance], seed: int = 0, together: bool = True
) -> list[Trajectory]:
    """Return one trajectory for each episode; ``together``: a policy that takes batches gets them."""
    out: dict[int, Trajectory] = {}
    for places in by_world(instances):
        first = places[0]
        player = player_for(policy, instances[first], frozen.entries[first].key.shift)
        own = [instances[i] for i in places]
        done = run_many(player, own, seed) if together else [run(player, each, seed) for each in own]
        out |= dict(zip(places, done, strict=True))
    return [out[i] for i in range(len(instances))]


def scale_usd(figures: dict[str, Any]) -> float:
    """Return the sum of absolute terms of an episode, in USD."""
    return max(sum(abs(value) for value in figures["terms_usd"].values()), 1.0)


def check_result(name: str, frozen: FrozenSet, figures: Sequence[dict[str, Any]]) -> None:
    """Raise BoundError where a policy passes the proven bound, or uses a masked route."""
    for entry, own in zip(frozen.entries, figures, strict=True):
        over_usd = own["benefit_usd"] - entry.bound_usd
        if not over_usd <= BOUND_TOLERANCE * scale_usd(own):
            raise BoundError(
                f"seed {entry.key.seed}: {name} passes the proven bound by {over_usd:,.6f} USD; solver and simulator "
                f"disagree, please report it with the instance {entry.hash[:12]}"
            )

        # Written so that NaN fails too.
        if not own["masked_gpuh"] <= 0.0:
            raise BoundError(
                f"seed {entry.key.seed}: {name} serves {own['masked_gpuh']:g} GPU-h over masked routes, please report "
                f"it with the instance {entry.hash[:12]}"
            )
