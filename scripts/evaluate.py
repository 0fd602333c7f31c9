"""Evaluate policies on a frozen set: its bounds and its planners' results are published, so nothing is solved.

    python -m scripts.evaluate --policy learned:pretrained --scenario four_markets
    python -m scripts.evaluate --policies learned:runs/seeds mpc:persistence greedy --scenario two_sites --set shifted
    python -m scripts.evaluate --policy learned:runs/a/model.zip --scenario two_sites --where milp

``learned:PATH`` is a model.zip, a run folder, a folder of run folders (one for each training seed) or a pattern.  The
last line is, for the first policy,

    gain_captured=<x> ci=[<lo>,<hi>] of_mpc_own=<y> dropped=<z>

x: share of the gain from Local-Only to the bound, ratio of sums, median over training seeds, with its 95 % bootstrap
interval; y: the same gain over that of MPC with the agent's own kind of forecast; z: share of arrivals refused or
dropped, less that of the optimum.  A policy that passes the bound or uses a masked route ends with exit code 1.
``--recompute`` solves and plays again what is published and compares; ``--where`` says which lever (routing,
deferral, battery, generation, jobs) loses how much against the optimum or a planner.
"""

from scripts.runs.command import SOLVER, command, need_packages
from scripts.studies.evaluation.options import EvaluateOptions


@command(EvaluateOptions)
def main(options: EvaluateOptions) -> int:
    """Check everything, play, score, write and print; return the exit code."""
    if options.recompute or options.where is not None:
        need_packages(*SOLVER)
    from scripts.studies.evaluation.run import play_and_judge

    return play_and_judge(options)


if __name__ == "__main__":
    raise SystemExit(main())
