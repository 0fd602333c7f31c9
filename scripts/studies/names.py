"""Names of policies on the command line: the optimum, prefixes of kinds, forecasts of planners."""

from __future__ import annotations

OPTIMUM = "milp"
NETWORK, PLANNER, VARIANT = "ppo:", "mpc:", "variant:"
PYTHON, SB3 = "py:", "sb3:"  # what others have made: code, and files of Stable-Baselines3
PRETRAINED = "pretrained"  # ppo:pretrained are the agents that are shipped for the scenario
# The forecasts that a planner may read; one of them is the scenario's own.
FORECASTS = ("perfect", "day_ahead", "persistence")
