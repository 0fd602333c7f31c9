"""Learning from demonstrations: behaviour cloning.

Cloning brings the environment action of the network's mean numbers close to the demonstrated one (see
`agents.imitation.action_distance`).  A cloned network has seen only the planner's states; `agents.training.imitation`
plays the network, lets the planner label the states it meets, and clones again.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from agents.imitation.action_distance import Batch, Distance
from agents.imitation.demonstrations import Demonstrations
from agents.networks.kinds import memory_of
from agents.vec_env.actions import AgentActions
from gridai_env.arrays.types import Float
from gridai_env.observation.forecast_memory import ForecastMemory

# The learning rate falls to this share of its first value, on a straight line.
LAST_RATE = 0.05


class ImitationError(RuntimeError):
    """Cloning cannot go on; the message says why."""


@dataclass(frozen=True)
class ValueGoal:
    """What the value head is regressed on: the return to go, in the reward that PPO will learn from."""

    gamma: float = 1.0
    reward_factor: float = 1.0
    drop_charge_usd_per_gpuh: float = 0.0
    weight: float = 0.5


@dataclass(frozen=True)
class CloneReport:
    """Result of cloning."""

    epochs: int  # passes made
    best_epoch: int  # whose weights were kept
    steps: int  # demonstrated steps learned from
    seconds: float
    loss: float  # on the episodes left out (if none: on all), as all that follows
    distance_mwh: float  # per step
    parts_mwh: dict[str, float] = field(default_factory=dict)  # the same by part of the action
    value_error: float | None = None  # root mean square, in units of reward


Callback = Callable[[int, dict[str, float]], None]  # epoch, figures


def clone(
    policy: ActorCriticPolicy,
    actions: AgentActions,
    data: Demonstrations,
    epochs: int = 60,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
    callback: Callback | None = None,
    value: ValueGoal | None = None,
    left_out: float = 0.1,
) -> CloneReport:
    """Train the network on the demonstrations; it ends with the weights of its best epoch.

    The best epoch has the lowest loss on the episodes ``left_out`` (a share of them).  ``value``: also regress the
    value head; None leaves it alone, as far as it shares no weights.  The policy's own optimiser is not used.  Raise
    ImitationError where the loss is not finite; the weights are then those of the best epoch so far.
    """
    if epochs < 1 or batch_size < 1 or not learning_rate > 0.0 or not 0.0 <= left_out < 1.0:
        raise ValueError(
            f"epochs = {epochs}, batch_size = {batch_size} must be at least 1, learning_rate = {learning_rate} "
            f"above 0, left_out = {left_out} in [0, 1)"
        )

    return _Cloning(policy, actions, data, value, left_out, seed).run(
        epochs, batch_size, learning_rate, callback
    )


@dataclass
class _Cloning:
    """One run of `clone`."""

    policy: ActorCriticPolicy
    actions: AgentActions
    data: Demonstrations
    value: ValueGoal | None
    left_out: float
    seed: int

    def __post_init__(self) -> None:
        data, value = self.data, self.value
        self.distance = Distance(data.compiled, data.device)
        self.train, self.test = data.split(self.left_out, self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)

        # The network sees what it would remember.
        self.observations = data.arrays["observations"]
        memory = memory_of(self.policy)
        if memory is not None:
            remembered = _along(memory, self.observations, data.lengths)
            self.observations = torch.cat([self.observations, remembered], 1)

        self.returns = None
        if value is not None:
            self.returns = data.returns(value.gamma, value.reward_factor, value.drop_charge_usd_per_gpuh)

        # Scales, so that learning rates mean the same in every scenario: MWh on hand, spread of the returns.
        on_hand_gpuh = float(data.arrays["on_hand_gpuh"].flatten(1).sum(1).mean())
        self.mwh = max(on_hand_gpuh * self.distance.mwh_per_gpuh, 1e-9)
        self.spread = 1.0 if self.returns is None else max(float(self.returns.std()), 1e-6)

    def run(
        self, epochs: int, batch_size: int, learning_rate: float, callback: Callback | None
    ) -> CloneReport:
        begin = time.perf_counter()
        # An optimiser and a learning rate of its own: the policy's stay as they are.
        optimiser = torch.optim.Adam(self.policy.parameters(), lr=learning_rate)
        updates = epochs * math.ceil(len(self.train) / batch_size)
        schedule = LinearLR(optimiser, 1.0, LAST_RATE, total_iters=updates)

        # The best weights are put back however the passes end.
        best, best_epoch = math.inf, 0
        kept = copy.deepcopy(self.policy.state_dict())
        try:
            for epoch in range(1, epochs + 1):
                self._pass(optimiser, schedule, batch_size, epoch)
                figures = self.judge()
                if figures["loss"] < best:
                    best, best_epoch = figures["loss"], epoch
                    kept = copy.deepcopy(self.policy.state_dict())
                if callback is not None:
                    callback(epoch, figures)
        finally:
            self.policy.load_state_dict(kept)

        figures = self.judge()
        return CloneReport(
            epochs=epochs,
            best_epoch=best_epoch,
            steps=len(self.train),
            seconds=time.perf_counter() - begin,
            loss=figures.pop("loss"),
            distance_mwh=figures.pop("distance_mwh"),
            value_error=figures.pop("value_error", None),
            parts_mwh=figures,
        )

    def _pass(self, optimiser: torch.optim.Adam, schedule: LinearLR, batch_size: int, epoch: int) -> None:
        """Go once through the demonstrations; raise ImitationError where the loss is not finite."""
        self.policy.set_training_mode(True)
        order = self.train[torch.randperm(len(self.train), generator=self.generator).to(self.train.device)]
        for rows in order.split(batch_size):
            batch = self._batch(rows)
            loss = self.distance.loss(self._acts(batch), batch) / self.mwh
            if self.value is not None:
                loss = loss + self.value.weight * self._value_loss(batch, rows)

            if not math.isfinite(loss.item()):
                raise ImitationError(
                    f"epoch {epoch}: the loss is {loss.item()}; lower the learning rate "
                    f"({optimiser.defaults['lr']:g}), or look for numbers that are none in the demonstrations"
                )

            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        self.policy.set_training_mode(False)

    def _batch(self, rows: torch.Tensor) -> Batch:
        batch = {name: array[rows] for name, array in self.data.arrays.items()}
        return batch | {"observations": self.observations[rows]}

    def _acts(self, batch: Batch) -> torch.Tensor:
        """Return the environment actions of the network's mean numbers.

        Numbers beyond the box are clipped as when the network is played, but the gradient passes (straight-through):
        an entry that has left the box can come back.
        """
        numbers = self.policy.get_distribution(batch["observations"]).mode()
        space: Any = self.policy.action_space
        low, high = (torch.as_tensor(x, device=numbers.device) for x in (space.low, space.high))
        cut = torch.minimum(torch.maximum(numbers, low), high)
        return torch.as_tensor(self.actions.expand(numbers + (cut - numbers).detach()))

    def _value_loss(self, batch: Batch, rows: torch.Tensor) -> torch.Tensor:
        assert self.returns is not None
        guess = self.policy.predict_values(batch["observations"])[:, 0]
        return ((guess - self.returns[rows]) / self.spread).square().mean()

    @torch.no_grad()
    def judge(self, chunk: int = 4096) -> dict[str, float]:
        """Return distance and its parts on the steps left out (else on all), and the error of the value head."""
        rows = self.test if len(self.test) else self.train
        sums: dict[str, float] = {}
        for part in rows.split(chunk):
            batch = self._batch(part)
            acts = self._acts(batch)
            figures = self.distance.parts(acts, batch) | {"loss": self.distance.loss(acts, batch) / self.mwh}
            if self.value is not None:
                figures["value"] = self._value_loss(batch, part)
            for name, figure in figures.items():
                sums[name] = sums.get(name, 0.0) + float(figure) * len(part) / len(rows)

        # What is left after these two are the parts of the distance.
        loss, value = sums.pop("loss"), sums.pop("value", None)
        found = {"loss": loss, "distance_mwh": sum(sums.values()), **sums}
        return found if value is None else found | {"value_error": math.sqrt(value) * self.spread}


def _along(
    memory: ForecastMemory, observations: Float[Tensor, "n N"], lengths: Sequence[int]
) -> Float[Tensor, "n M"]:
    """Return the memories along whole episodes of these lengths, one episode after the other."""
    # Side by side, filled up to the longest: one update per step for all episodes.
    longest = max(lengths)
    padded = [torch.cat([x, x[-1:].expand(longest - len(x), -1)]) for x in observations.split(list(lengths))]

    state: Tensor | None = None
    found = []
    for now in torch.stack(padded).unbind(1):
        state = memory.update(state, now)
        found.append(state)

    rows = torch.stack(found, 1)
    return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])
