"""Names of policies on the command line: the optimum, prefixes of kinds, forecasts of planners."""

from __future__ import annotations

OPTIMUM = "milp"
NETWORK, PLANNER, VARIANT = "ppo:", "mpc:", "variant:"
PYTHON, SB3 = "py:", "sb3:"  # what others have made: code, and files of Stable-Baselines3
PRETRAINED = "pretrained"  # ppo:pretrained are the agents that are shipped for the scenario
# The forecasts that a planner may read.
FORECASTS = ("perfect", "day_ahead", "published", "persistence")
OWN = "mpc:own"  # the planner with the scenario's own kind of forecast
