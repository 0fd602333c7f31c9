"""Solve the perfect-foresight optimum of one episode and prove it by replay through the public step.

    python -m scripts.solve --scenario two_sites --seed 0 --objective benefit \\
        --mip-gap 1e-4 --time-limit-s 60 --out plan.npz

Writes the plan (flows and actions) and, beside it, the instance (plan.instance.npz), both without pickled
objects. ``--shadow-prices prices.csv`` writes what one more unit of each limit would earn, by hour and site (see
`baselines.optimum.shadow_prices`). Exit code 1: no plan was found within the time limit; the bound is printed all
the same.
"""

from scripts.runs.command import SOLVER, command, need_packages
from scripts.studies.optimum import SolveOptions, solve_one


@command(SolveOptions)
def main(options: SolveOptions) -> int:
    """Solve, print, replay, write."""
    need_packages(*SOLVER)
    return solve_one(options)


if __name__ == "__main__":
    raise SystemExit(main())
