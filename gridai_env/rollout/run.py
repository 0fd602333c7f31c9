"""Play a policy or a plan on an instance and record it.

`run` goes through the public `step` of the environment, action by action, and accounts by the same
ledger that pays the reward; results that a policy or a solver reports of itself are not used.  `run_many` plays
many instances at once in the batch simulator, with the same results.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from gridai_env.arrays.types import Floats, Floats32, Observation
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.observer import Observer
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, stack
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy, Predictor, ReplayedPlan, Schedule, as_policy, checked_answer
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.world.actions import decode
from gridai_env.world.feasible import project
from gridai_env.world.state import Flows, State
from gridai_env.world.violations import relative_violations

# Rewards and ledger sum the same figures: a difference beyond rounding is a bug in one of them.
LEDGER_TOLERANCE = 1e-9
# By how much a plan's flows may miss a limit, over the limit's size: what solvers and rounding need.
LIMIT_TOLERANCE = 1e-6
# Instances played at the same time by `run_many`: bounds the memory.
BATCH = 64


def run(
    policy: Policy | Predictor | Schedule,
    instance: Instance,
    seed: int = 0,
    replay: Literal["actions", "flows"] = "actions",
) -> Trajectory:
    """Play one episode through the environment's public `step`.

    ``policy`` decides from observations; a plan is replayed, by its actions or (``replay="flows"``) by its
    flows in the simulator, without the rounding of actions to float32.  ``seed`` seeds the environment and
    policies that draw. Raises ValueError for a plan of another instance, one without a schedule, one whose flows
    break a limit, and PolicyError (a ValueError) for a policy that does not fit or returns the wrong thing.
    """
    if replay not in ("actions", "flows"):
        raise ValueError(f"replay = {replay!r}: must be 'actions' or 'flows'")
    actor = as_policy(policy)
    if not isinstance(actor, ReplayedPlan):
        if replay == "flows":
            raise ValueError("replay = 'flows' is for plans; a policy acts through actions")
        return _play(actor, instance, seed)

    # A plan decided beforehand, so there is no time per decision to report.
    played = _replay_flows(actor, instance) if replay == "flows" else _play(actor, instance, seed)
    return dataclasses.replace(played, seconds_per_decision=float("nan"))


def policy_name(policy: Policy | Predictor | Schedule) -> str:
    """Return the policy's own name, else that of its class."""
    return as_policy(policy).name


def _start(policy: Policy, instance: Instance, seed: int) -> None:
    policy.prepare(instance.compiled)
    policy.reseed(seed)
    policy.begin(instance)


# One episode ------------------------------------------------------------------------------------------------


def _play(policy: Policy, instance: Instance, seed: int) -> Trajectory:
    _start(policy, instance, seed)
    env = GridAIEnv(instance.scenario)
    observation, _ = env.reset(seed=seed, options={"instance": instance})
    log, terminated = _Log(), False

    while not terminated:
        action = log.decide(policy, observation, env.simulator, env.action_space.shape)
        observation, reward, terminated, _, _ = env.step(action)
        log.rewards.append(np.array([reward]))

    env.close()
    return log.trajectories(policy.name, [instance])[0]


def _replay_flows(replayed: ReplayedPlan, instance: Instance) -> Trajectory:
    replayed.begin(instance)
    plan_flows = replayed.plan.flows
    assert plan_flows is not None
    simulator = Simulator(stack([instance]))
    log = _Log()
    for t in range(instance.steps):
        flows = plan_flows.map(itemgetter(slice(t, t + 1)))
        _check_limits(simulator, flows, t)

        log.before.append(simulator.state)
        log.flows.append(flows)
        _, outcome = simulator.step_flows(flows)
        log.rewards.append(outcome.benefit_usd / instance.compiled.reward_scale_usd)
        log.seconds.append(float("nan"))
    return log.trajectories(replayed.name, [instance])[0]


def _check_limits(simulator: Simulator, flows: Flows, t: int) -> None:
    """Raise ValueError where flows [B,...] break a limit of the step: nobody is paid for the impossible."""
    broken = relative_violations(simulator.params, simulator.state, simulator.exogenous, flows)
    # Written so that a value that is not a number counts as broken.
    bad = {name: amount for name, amount in broken.items() if not amount <= LIMIT_TOLERANCE}
    if bad:
        listed = ", ".join(f"{name!r} by {amount:.3g}" for name, amount in sorted(bad.items()))
        raise ValueError(
            f"step {t}: the plan's flows break {listed} of the limit's size, allowed is {LIMIT_TOLERANCE:g}; "
            "solve again, or replay its actions, which are projected onto the limits"
        )


# Many episodes ----------------------------------------------------------------------------------------------


def run_many(
    policy: Policy | Predictor, instances: Sequence[Instance], seed: int = 0, batch: int = BATCH
) -> list[Trajectory]:
    """Play a policy on many instances of one scenario, ``batch`` at a time; results as those of `run`.

    ``seconds_per_decision`` is then the time of one prediction shared by the episodes of a batch.  Planners
    (policies with ``begin``) remember one episode, and so may what is no `Policy`: they are played one after the other,
    by `run`.
    """
    actor = as_policy(policy)
    if isinstance(actor, ReplayedPlan):
        raise ValueError("run_many plays policies; replay a plan with run(plan, instance)")
    if batch < 1:
        raise ValueError(f"batch = {batch}: must be at least 1")
    if actor.plays_one_episode:
        return [run(actor, instance, seed) for instance in instances]
    out: list[Trajectory] = []
    for first in range(0, len(instances), batch):
        out += _run_batch(actor, instances[first : first + batch], seed)
    return out


def _run_batch(policy: Policy, instances: Sequence[Instance], seed: int) -> list[Trajectory]:
    _start(policy, instances[0], seed)
    data = stack(instances)
    layout = ObservationLayout(data.compiled)
    simulator = Simulator(data, layout)
    observer = Observer(simulator)
    scale = data.compiled.reward_scale_usd
    log, shape = _Log(), (len(instances), simulator.layout.size)

    for _ in range(simulator.steps):
        observation = layout.as_dict(observer.observe())
        log.decide(policy, observation, simulator, shape)
        _, outcome = simulator.step_flows(log.flows[-1])
        log.rewards.append(outcome.benefit_usd / scale)
    return log.trajectories(policy.name, instances)


class _Log:
    """What happens in a batch of episodes, step by step."""

    def __init__(self) -> None:
        self.before: list[State] = []
        self.flows: list[Flows] = []
        self.actions: list[Floats32] = []
        self.rewards: list[Floats] = []
        self.seconds: list[float] = []
        self._memory: Any = None  # of the policy

    def decide(
        self, policy: Policy, observation: Observation, simulator: Simulator, shape: tuple[int, ...]
    ) -> Floats32:
        """Return the policy's action; note where the episodes stand, and the flows that it will become there."""
        start = np.full(len(simulator.t), not self.actions)
        begin = time.perf_counter()
        answer = policy.predict(observation, state=self._memory, episode_start=start, deterministic=True)
        self.seconds.append((time.perf_counter() - begin) / len(start))

        # Checked as by the environment, since the action is recorded before the environment sees it.
        action, self._memory = checked_answer(policy.name, answer, shape)
        self.actions.append(action.reshape(len(start), -1))
        request = decode(simulator.params, simulator.layout, self.actions[-1])
        self.before.append(simulator.state)
        self.flows.append(project(simulator.params, simulator.state, simulator.exogenous, request))
        return action

    def trajectories(self, name: str, instances: Sequence[Instance]) -> list[Trajectory]:
        """Return one trajectory per episode; raises RuntimeError where rewards and ledger differ."""
        before, flows = State.stacked(self.before), Flows.stacked(self.flows)
        actions = np.stack(self.actions) if self.actions else None
        rewards = np.stack(self.rewards).astype(np.float64)

        out = []
        for b, instance in enumerate(instances):
            at, own = itemgetter((slice(None), b)), None if actions is None else actions[:, b]
            played = Trajectory(
                instance,
                before.map(at),
                flows.map(at),
                name,
                rewards[:, b],
                own,
                float(np.mean(self.seconds)),
            )
            _check_ledger(played)
            out.append(played)
        return out


def _check_ledger(episode: Trajectory) -> None:
    """Insist that what the environment paid is what the ledger says, step by step."""
    paid = episode.rewards * episode.instance.compiled.reward_scale_usd
    booked = episode.outcome.benefit_usd
    scale = sum(np.abs(term) for term in episode.outcome.terms_usd.values())
    apart = np.abs(paid - booked) - LEDGER_TOLERANCE * np.maximum(scale, 1.0)
    if (apart > 0.0).any():
        t = int(apart.argmax())
        raise RuntimeError(
            f"step {t}: the environment paid {paid[t]!r} USD but the ledger says {booked[t]!r} USD"
        )
