"""Names of policies on the command line: the optimum, prefixes of kinds, forecasts of planners."""

OPTIMUM = "milp"
# What scripts.train has trained: without a rule, on top of one, and by PPO of Stable-Baselines3 on an MLP.
LEARNED = "learned:"
NETWORK = (LEARNED, "residual:", "ppo:")
PLANNER, VARIANT = "mpc:", "variant:"
MERIT_ORDER = "rule:merit_order"
PYTHON, SB3 = "py:", "sb3:"  # what others have made: code, and files of Stable-Baselines3
# The forecasts that a planner may read.
FORECASTS = ("perfect", "day_ahead", "published", "persistence")
OWN = "mpc:own"  # the planner with the scenario's own kind of forecast
SCENARIOS = "mpc:scenarios"  # the same in several futures drawn from the errors of that forecast
