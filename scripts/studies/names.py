"""Names of policies on the command line: the optimum, prefixes of kinds, forecasts of planners."""

from __future__ import annotations

OPTIMUM = "milp"
NETWORK, PLANNER, VARIANT = "ppo:", "mpc:", "variant:"
PRETRAINED = "pretrained"  # ppo:pretrained are the agents that are shipped for the scenario
# The forecasts that a planner may read; one of them is the scenario's own.
FORECASTS = ("perfect", "day_ahead", "persistence")
