"""The optimum under perfect foresight: a proven bound for every policy, never a competitor."""


class SolverError(RuntimeError):
    """HiGHS refused an option or stopped for a reason that leaves no result."""


class InfeasibleError(ValueError):
    """No flows satisfy all rows; the message names rows that conflict."""
