"""The rule of `agents.structured` as a policy: without any learned correction, for every scenario.

Its few numbers were fitted to the shipped scenarios on training episodes (`agents.training.rule_tuning`); elsewhere
it acts by those that `agents.structured.weights` begins with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.structured.policy import StructuredPolicy
from gridai_env.scenario.compile import Compiled

NAME = "rule:merit_order"
# Scenario -> numbers of the rule, by name; `scripts.maintenance.merit_order` writes it.
NUMBERS_FILE = Path(__file__).resolve().parents[2] / "configs" / "agents" / "merit_order.json"


def fitted_numbers() -> dict[str, dict[str, float]]:
    """Return the numbers of the rule that were fitted, by scenario."""
    return dict(json.loads(NUMBERS_FILE.read_text(encoding="utf-8")))


class MeritOrder(NetworkPolicy):
    """The rule, with the numbers of the scenario that it is made for; it plays others with the same numbers."""

    observed_parts = None  # type: ignore[assignment]  # reads what the scenario shows that it is prepared for

    def __init__(self, compiled: Compiled, numbers: Mapping[str, float] | None = None) -> None:
        """Take some or all ``numbers`` of the rule; None: those that were fitted to the scenario of this name."""
        network = StructuredPolicy.of(compiled)
        own = fitted_numbers().get(compiled.name, {}) if numbers is None else numbers
        for name, value in own.items():
            torch.nn.init.constant_(network.rule_numbers()[name][0], value)
        super().__init__(network.eval(), Identity.of(compiled), NAME, NAME)

    def prepare(self, compiled: Compiled) -> None:
        """Take any scenario."""
        self.identity = Identity.of(compiled)
        super().prepare(compiled)
