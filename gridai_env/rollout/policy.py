"""The policy interface, and the adapter for everything else that can act.

The package itself handles only `Policy`.  `as_policy` converts what users have: a policy, any object with
Stable-Baselines3's ``predict`` (a model, a duck-typed class), or a plan, whose actions are replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import Env

from gridai_env.arrays.types import Bools, Float, Floats32, Observation
from gridai_env.envs.arguments import checked_action
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.forms import PolicyForm, form_of
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Flows


class Schedule(Protocol):
    """A plan for a whole episode, such as `baselines.optimum.milp.Plan`; None where none was found."""

    @property
    def instance(self) -> Instance: ...
    @property
    def actions(self) -> Float[Floats32, "T A"] | None: ...
    @property
    def flows(self) -> Flows | None: ...


@runtime_checkable
class Predictor(Protocol):
    """Anything with Stable-Baselines3's ``predict``, called with the keywords of `Policy.predict`.

    The other names of `Policy` (``name``, ``prepare``, ``reseed``, ``begin``) are optional, and so are
    ``observation_space`` and ``action_space``; see `AdaptedPolicy`.
    """

    @property
    def predict(self) -> Any: ...


class _ClassName:
    """The name of a policy that gives none: that of its class."""

    def __get__(self, policy: object, owner: type) -> str:
        return owner.__name__


class Policy:
    """Base of policies: act on observations by the interface of Stable-Baselines3.

    Before an episode `prepare`, `reseed` and `begin` are called, in this order; each does nothing unless overridden.
    """

    name: str = _ClassName()  # type: ignore[assignment]

    def prepare(self, compiled: Compiled) -> None:
        """Take the constants of the scenario that the next observations belong to."""

    def reseed(self, seed: int) -> None:
        """Take the seed of the run, where the policy draws."""

    def begin(self, instance: Instance) -> None:
        """Take the episode itself: only planners do.

        They read forecasts beyond the observation (`gridai_env.episodes.planner_forecast`), or the whole episode where
        they stand for perfect foresight.
        """

    @property
    def plays_one_episode(self) -> bool:
        """Whether `predict` takes one observation at a time, the steps of the episode that `begin` named in order."""
        return type(self).begin is not Policy.begin

    @property
    def observed_parts(self) -> Mapping[str, int] | None:
        """Size of each part of the observation that the policy reads; None for one that adapts to any scenario."""
        return None

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats32, Any]:
        """Return the action [A] (or [B,A] for a batch) in [-1, 1], and the policy's memory for the next call.

        ``state`` is the memory that the call before returned, None at the start; ``episode_start`` [B] is True for
        episodes that begin now.  Policies with a memory override it, others `act`.
        """
        return self.act(observation), state

    def act(self, observation: Observation) -> Floats32:
        """Return the action [A] (or [B,A] for a batch) in [-1, 1] of a policy without a memory."""
        raise NotImplementedError(f"{type(self).__name__}: define act(observation), or predict")


class PolicyError(ValueError):
    """A policy that does not fit the scenario or returns the wrong thing; the message says what it must do."""


def checked_answer(name: str, answer: Any, shape: tuple[int, ...]) -> tuple[Floats32, Any]:
    """Return action and memory of what ``predict`` returned; raises PolicyError for anything else."""
    must = (
        f"predict must return (action, memory): {' x '.join(map(str, shape))} numbers in [-1, 1] as an array, and what "
        "the next call gets as state (None without a memory)"
    )
    if not isinstance(answer, tuple) or len(answer) != 2:
        size = f" of {len(answer)}" if isinstance(answer, tuple) else ""
        raise PolicyError(f"{name}: returned {type(answer).__name__}{size}; {must}")

    action, memory = answer
    try:
        return checked_action(action, shape).astype(np.float32), memory
    except (ValueError, TypeError, RuntimeError) as error:  # torch raises the last for what NumPy cannot take
        raise PolicyError(f"{name}: {error}; {must}") from error


class AdaptedPolicy(Policy):
    """An object with ``predict`` that is no `Policy`: it is asked for one episode at a time.

    ``predict`` gets a Dict of 1-D float32 arrays.  Where the object has an ``observation_space`` or an
    ``action_space``, as Stable-Baselines3's models do, these say whether it reads the flat observation instead and
    whether it returns all entries of the action or the active ones (see `gridai_env.rollout.forms`).  What else it has
    of a policy's methods is called, too.
    """

    reads_flat = False
    form: PolicyForm | None = None  # what it reads and returns in the scenario of the last `prepare`

    def __init__(self, adapted: Predictor) -> None:
        """Take over the methods that the object has; raises PolicyError for a ``predict`` of other arguments."""
        self.adapted, self.name = adapted, _name_of(adapted)
        _check_arguments(self.name, adapted)
        for method in ("reseed", "begin"):
            if (own := self._own(method)) is not None:
                setattr(self, method, own)

    def _own(self, name: str) -> Any:
        """Return what an object of others may have or not, None where it has not."""
        return getattr(self.adapted, name, None)

    def prepare(self, compiled: Compiled) -> None:
        """Raise PolicyError where the object's spaces are not those of the scenario."""
        if (own := self._own("prepare")) is not None:
            own(compiled)
        seen, done = self._own("observation_space"), self._own("action_space")
        try:
            self.form = form_of(seen, done, compiled, self.reads_flat)
        except ValueError as error:
            raise PolicyError(f"{self.name}: {error}") from error

    @property
    def plays_one_episode(self) -> bool:
        """True: an object may keep what belongs to one episode in itself."""
        return True

    @property
    def observed_parts(self) -> Mapping[str, int] | None:
        """Parts that the scenario shows for which `prepare` was called; None before."""
        return None if self.form is None else self.form.parts

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats32, Any]:
        """Return what the object predicts as the environment's action; raise PolicyError for a wrong answer."""
        if self.form is None:
            raise RuntimeError(f"{self.name} knows no scenario yet: call prepare(compiled) first")
        answer = self.adapted.predict(
            self.form.shown(observation, begins=bool(np.any(episode_start))),
            state=state,
            episode_start=episode_start,
            deterministic=deterministic,
        )
        numbers, memory = checked_answer(self.name, answer, (self.form.size,))
        return self.form.expand(numbers), memory


class FlatObservations(AdaptedPolicy):
    """An object with ``predict`` on the flat observation [N], parts in the order of the Dict.

    For objects without an ``observation_space``, which says so by itself.
    """

    reads_flat = True


def _check_arguments(name: str, adapted: Predictor) -> None:
    try:
        signature(adapted.predict).bind(None, state=None, episode_start=None, deterministic=True)
    except TypeError as error:
        raise PolicyError(
            f"{name}: predict must take (observation, state, episode_start, deterministic) ({error})"
        ) from error
    except ValueError:
        return  # compiled code without a signature: calling it will tell


class PlanPolicy(Policy):
    """A plan's actions, step by step, whatever is observed; the memory is the number of the next step."""

    plan: Schedule | None = None

    def predict(
        self,
        observation: Observation,
        state: int | None = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats32, int]:
        """Return the plan's next action; raise RuntimeError without a plan and after its last step."""
        if self.plan is None or self.plan.actions is None:
            raise RuntimeError(f"{self.name} knows no episode yet: call begin(instance) first")
        step = 0 if state is None or (episode_start is not None and bool(np.any(episode_start))) else state
        if step >= len(self.plan.actions):
            raise RuntimeError(f"{self.name}: the plan has {len(self.plan.actions)} steps and all are played")
        return self.plan.actions[step], step + 1


class ReplayedPlan(PlanPolicy):
    """A plan made beforehand."""

    plan: Schedule

    def __init__(self, plan: Schedule) -> None:
        self.plan = plan
        self.name = _name_of(plan)

    def begin(self, instance: Instance) -> None:
        """Raise ValueError for a plan of another instance, one without a schedule or of another length."""
        plan = self.plan
        if plan.instance is not instance and plan.instance.hash != instance.hash:
            raise ValueError(
                "the plan belongs to another instance: "
                f"it is of seed {plan.instance.seed}, hash {plan.instance.hash[:12]}; "
                f"the one to play is seed {instance.seed}, hash {instance.hash[:12]}"
            )

        if plan.actions is None or plan.flows is None:
            raise ValueError(
                "the plan holds no schedule (time limit without an incumbent): raise time_limit_s"
            )
        for what, steps in (("actions", len(plan.actions)), ("flows", len(plan.flows.served_gpuh))):
            if steps != instance.steps:
                raise ValueError(f"the plan's {what} are of {steps} steps, the instance has {instance.steps}")


def as_policy(policy: Policy | Predictor | Schedule) -> Policy:
    """Return anything that can act as a `Policy`: a policy itself, an object with ``predict``, a plan.

    Raises ValueError for a class and for an object that is none of these.
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, type):
        raise ValueError(f"policy = {policy.__name__}: is a class; give an object, {policy.__name__}()")

    if isinstance(policy, Predictor) and callable(policy.predict):
        return AdaptedPolicy(policy)
    # An environment has an instance, too, which it refuses before an episode.
    if not isinstance(policy, Env) and isinstance(getattr(policy, "instance", None), Instance):
        return ReplayedPlan(policy)  # type: ignore[arg-type]
    raise ValueError(
        f"policy = {policy!r:.80}: must have predict(observation, state, episode_start, deterministic) -> (action, "
        "state), as Stable-Baselines3's models do, or be a plan with instance, actions and flows"
    )


def _name_of(policy: object) -> str:
    """Return the object's own name, else that of its class."""
    return str(getattr(policy, "name", type(policy).__name__))
