"""Former name of the command `scripts.pareto`."""
