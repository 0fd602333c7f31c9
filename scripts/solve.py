"""Solve the perfect-foresight optimum of one episode and prove it by replay through the public step.

    python -m scripts.solve --scenario two_sites --seed 0 --objective benefit \\
        --mip-gap 1e-4 --time-limit-s 60 --out plan.npz

Writes the plan (flows and actions) and, beside it, the instance (plan.instance.npz), both without pickled
objects. Exit code 1: no plan was found within the time limit; the bound is printed all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gridai_env.instance import Instance, load_instance
from gridai_env.terms import TERMS
from scripts._common import InputError, checked_number, guarded, need_packages
from scripts._scenarios import OVERRIDES, Episodes, add_scenario_arguments, sources

NO_PLAN = 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m scripts.solve", description=(__doc__ or "").split("\n")[0])
    add_scenario_arguments(out)
    out.set_defaults(scenario=None)
    for action in out._actions:
        if action.dest == "scenario":
            action.required = False
    out.add_argument("--seed", type=int, help="of the episode; default: 0")
    out.add_argument(
        "--instance", help="a saved instance in place of --scenario, --seed and what changes them"
    )
    out.add_argument("--objective", choices=("benefit", "cost", "carbon"), default="benefit")
    out.add_argument("--mip-gap", type=float, default=1e-4, help="relative gap at which the solver may stop")
    out.add_argument("--time-limit-s", type=float, help="of one solve; default: none")
    out.add_argument("--threads", type=int, default=2, help="of the solver")
    out.add_argument("--out", help="file for the plan (.npz); default: nothing is written")
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = parser().parse_args(words)
    return guarded(lambda: solve_one(arguments))


def solve_one(arguments: argparse.Namespace) -> int:
    """Solve, print, replay, write."""
    need_packages("pyomo", "highspy", "scipy")
    from baselines.milp import InfeasibleError, solve

    checked_number("mip-gap", arguments.mip_gap, 0.0, 1.0, "relative")
    checked_number("time-limit-s", arguments.time_limit_s, 0.1, float("inf"), "s")
    checked_number("threads", arguments.threads, 1, float("inf"), "threads")
    out = None if arguments.out is None else _checked_out(arguments.out)
    instance = _instance(arguments)
    print(
        "\n".join(
            [f"{instance.scenario_name}, seed {instance.seed}, {instance.start_utc}Z", *sources(instance)]
        )
    )
    try:
        plan = solve(
            instance,
            arguments.objective,
            mip_gap=arguments.mip_gap,
            time_limit_s=arguments.time_limit_s,
            threads=arguments.threads,
        )
    except InfeasibleError as error:
        raise InputError(str(error)) from error
    _print_plan(plan)
    if out is not None:
        beside = instance.save(out.with_suffix(".instance.npz"))
        print(f"instance: {beside}")
    if plan.actions is None:
        return NO_PLAN
    _print_replay(plan)
    if out is not None:
        from scripts._plans import save_plan

        print(f"plan: {save_plan(plan, out)}")
    return 0


def _instance(arguments: argparse.Namespace) -> Instance:
    if (arguments.scenario is None) == (arguments.instance is None):
        raise InputError("give either --scenario (with --seed) or --instance")
    if arguments.instance is not None:
        given = [name for name in ("seed", "start", *OVERRIDES) if getattr(arguments, name) is not None]
        if given:
            words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InputError(f"{words}: cannot change a saved instance; leave out, or give --scenario")
        return load_instance(arguments.instance)
    seed = 0 if arguments.seed is None else arguments.seed
    if seed < 0:
        raise InputError(f"--seed {seed}: must be a whole number >= 0")
    return Episodes(arguments).make(seed)


def _checked_out(name: str) -> Path:
    """The file to write; raises InputError where it cannot be written, before the solver starts."""
    path = Path(name)
    if path.suffix != ".npz":
        raise InputError(f"--out {name!r}: the name must end in .npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"--out {name!r}: cannot be written: {error.strerror or error}") from error
    return path


def _print_plan(plan: object) -> None:
    """Print status, objective, bound, gap and times."""
    facts = vars(plan)
    value = "none found in time" if facts["objective_value"] is None else f"{facts['objective_value']:,.2f}"
    print(f"\nobjective {facts['objective']}: {facts['status']}")
    print(f"  plan        {value} {facts['unit']}")
    print(f"  bound       {facts['bound']:,.2f} {facts['unit']}  (gap {facts['gap']:.2e})")
    print(f"  model       {facts['rows']:,} rows, {facts['columns']:,} columns")
    print(f"  time        build {facts['build_s']:.2f} s, solve {facts['solve_s']:.2f} s")


def _print_replay(plan: object) -> None:
    """Replay the actions through the environment and print the ledger and the difference."""
    from gridai_env.rollout import run

    facts = vars(plan)
    replay = run(plan, facts["instance"])  # type: ignore[arg-type]
    print("\nreplayed through the public step, action by action:")
    for name in TERMS:
        if abs(replay.terms[name]) >= 0.005:
            print(f"  {name:18s}{replay.terms[name]:16,.2f} USD")
    scale = sum(abs(value) for value in replay.terms.values())
    apart = replay.benefit_usd - facts["benefit_usd"]
    print(f"  {'benefit':18s}{replay.benefit_usd:16,.2f} USD")
    print(f"  {'emissions':18s}{replay.emissions_kg:16,.0f} kg (billed intensity)")
    print(f"  difference to the solver: {apart:+.2e} USD ({abs(apart) / max(scale, 1.0):.1e} of all terms)")


if __name__ == "__main__":
    sys.exit(main())
