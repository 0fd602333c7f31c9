"""The perfect-foresight optimum of one episode, proven by replay: what `scripts.solve` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gridai_env.episodes.instance import Instance, load_instance
from gridai_env.rollout.run import run
from gridai_env.rollout.step_table import write_table
from gridai_env.world.terms import TERMS
from scripts.runs.arguments import (
    OVERRIDES,
    SCENARIO_HELP,
    Count,
    EpisodeOptions,
    InstancesBySeed,
    MipGap,
    Objective,
    ScenarioFile,
    ScenarioOptions,
    TimeLimit,
    sources,
)
from scripts.runs.command import InputError
from scripts.runs.tables import proof_of

if TYPE_CHECKING:
    from baselines.optimum.milp import Plan


NO_PLAN = 1
SOLVER = {"mip_gap", "time_limit_s", "threads"}  # what of the options a solve takes


class SolveOptions(EpisodeOptions):
    """What to solve, how far, and where results go."""

    scenario: ScenarioFile | None = Field(None, description=SCENARIO_HELP)
    seed: Annotated[int | None, Field(ge=0)] = Field(None, description="of the episode; default: 0")
    instance: str | None = Field(
        None, description="a saved instance in place of --scenario, --seed and what changes them"
    )
    objective: Objective = "benefit"
    mip_gap: MipGap = 1e-4
    time_limit_s: TimeLimit | None = Field(None, description="of one solve; default: none")
    threads: Count = Field(2, description="of the solver")
    carbon_budget_share: Annotated[float | None, Field(ge=1e-6, allow_inf_nan=False)] = Field(
        None,
        description="carbon budget as a share of what the benefit optimum emits without one, in place of the "
        "scenario's",
    )
    out: str | None = Field(None, description="file for the plan (.npz); default: nothing is written")
    shadow_prices: str | None = Field(
        None, description="file for the prices of all limits (.csv); objective benefit or cost"
    )


def solve_one(arguments: SolveOptions) -> int:
    """Solve, print, replay and write; return the exit code."""
    from baselines.optimum.milp import solve

    # Before the solver starts, since it may take long: can everything be written?
    out = None if arguments.out is None else _checked_out("--out", arguments.out, ".npz")
    prices = _checked_prices(arguments)
    instance = _instance(arguments)
    where = f"{instance.scenario_name}, seed {instance.seed}, {instance.start_utc}Z"
    print("\n".join([where, *sources(instance)]))

    plan = solve(instance, arguments.objective, **arguments.model_dump(include=SOLVER))
    _print_plan(plan)
    if out is not None:
        beside = instance.save(out.with_suffix(".instance.npz"))
        print(f"instance: {beside}")
    if plan.actions is None:
        return NO_PLAN

    _print_replay(plan)
    if out is not None:
        from baselines.optimum.plan_files import save_plan

        print(f"plan: {save_plan(plan, out)}")
    if prices is not None:
        _write_prices(plan, prices, arguments)
    return 0


def _instance(arguments: SolveOptions) -> Instance:
    if (arguments.scenario is None) == (arguments.instance is None):
        raise InputError("give either --scenario (with --seed) or --instance")
    if arguments.instance is not None:
        changes = ("seed", "start", "carbon_budget_share", *OVERRIDES)
        given = [name for name in changes if getattr(arguments, name) is not None]
        if given:
            words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InputError(f"{words}: cannot change a saved instance; leave out, or give --scenario")
        return load_instance(arguments.instance)

    seed = arguments.seed or 0
    episodes = InstancesBySeed(
        ScenarioOptions(**arguments.model_dump(include=set(ScenarioOptions.model_fields)))
    )
    if arguments.carbon_budget_share is not None:
        episodes = _budgeted(episodes, seed, arguments.carbon_budget_share, arguments)
    return episodes.make(seed)


def _budgeted(episodes: InstancesBySeed, seed: int, share: float, arguments: SolveOptions) -> InstancesBySeed:
    """Return the episodes under a budget that is a share of what the benefit optimum emits without one."""
    from baselines.optimum.milp import solve

    without = episodes.with_carbon_budget(None).make(seed)
    free = solve(without, **arguments.model_dump(include=SOLVER))
    if free.emissions_kg is None:
        raise InputError(
            "--carbon-budget-share: no optimum without a budget was found in time; raise --time-limit-s"
        )
    budget_kg = share * free.emissions_kg
    print(
        f"carbon budget: {budget_kg:,.0f} kg, {share:g} of the {free.emissions_kg:,.0f} kg "
        "that the benefit optimum emits without one"
    )
    return episodes.with_carbon_budget(budget_kg)


def _checked_prices(arguments: SolveOptions) -> Path | None:
    """Return the file for prices; raises InputError before the solver starts."""
    if arguments.shadow_prices is None:
        return None
    if arguments.objective == "carbon":
        raise InputError("--shadow-prices: prices are in USD; use --objective benefit or cost, not carbon")
    return _checked_out("--shadow-prices", arguments.shadow_prices, ".csv")


def _checked_out(option: str, name: str, suffix: str) -> Path:
    """Return the file to write; raises InputError where it cannot be written, before the solver starts."""
    path = Path(name)
    if path.suffix != suffix:
        raise InputError(f"{option} {name!r}: the name must end in {suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{option} {name!r}: cannot be written: {error.strerror or error}") from error
    return path


def _write_prices(plan: Plan, path: Path, arguments: SolveOptions) -> None:
    """Price the limits of a plan, write them and print where each kind binds most."""
    from baselines.optimum.shadow_prices import shadow_prices

    prices = shadow_prices(plan, threads=arguments.threads)
    table = prices.table()
    write_table(table, path)
    print("\nlimits that bind, and what one unit more would earn where that is most:")
    for name, place, value, step in prices.highest():
        print(f"  {name:30s}{place:34s}{value:14,.4f}  in step {step} ({table['time_utc'][step]}Z)")
    print(f"shadow prices: {path}")


def _print_plan(plan: Plan) -> None:
    """Print status, objective, bound, gap and times."""
    value = "none found in time" if plan.objective_value is None else f"{plan.objective_value:,.2f}"
    print(f"\nobjective {plan.objective}: {plan.status}")
    print(f"  plan        {value} {plan.unit}")
    print(f"  bound       {plan.bound:,.2f} {plan.unit}  (gap {plan.gap:.2e}{proof_of([plan.is_safe])})")
    print(f"  model       {plan.rows:,} rows, {plan.columns:,} columns")
    print(f"  time        build {plan.build_s:.2f} s, solve {plan.solve_s:.2f} s")


def _print_replay(plan: Plan) -> None:
    """Replay the actions through the environment and print the ledger and the difference."""
    assert plan.benefit_usd is not None
    replay = run(plan, plan.instance)
    print("\nreplayed through the public step, action by action:")
    for name in TERMS:
        if abs(replay.terms[name]) >= 0.005:
            print(f"  {name:18s}{replay.terms[name]:16,.2f} USD")
    scale = sum(abs(value) for value in replay.terms.values())
    apart = replay.benefit_usd - plan.benefit_usd
    print(f"  {'benefit':18s}{replay.benefit_usd:16,.2f} USD")
    print(f"  {'emissions':18s}{replay.emissions_kg:16,.0f} kg (billed intensity)")
    print(f"  difference to the solver: {apart:+.2e} USD ({abs(apart) / max(scale, 1.0):.1e} of all terms)")
