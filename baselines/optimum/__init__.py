"""The optimum under perfect foresight: a proven bound for every policy, never a competitor."""
