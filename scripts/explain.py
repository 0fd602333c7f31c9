"""Say what the optimum or a policy does at an hour, and why, in sentences.

    python -m scripts.explain --scenario two_sites --seed 7 --at 18:00 --tz Europe/Berlin --policy greedy

``--at`` is HH:MM on the clocks of ``--tz`` (``--day`` says which local day of the episode) or an ISO stamp.  Of a
doubled hour the first is taken; a stamp with an offset names the second.
"""

from typing import Annotated

from pydantic import Field

from scripts.runs.arguments import InstancesBySeed, MipGap, ScenarioOptions, TimeLimit
from scripts.runs.command import SOLVER, InputError, command, need_packages
from scripts.runs.progress import bar


class ExplainOptions(ScenarioOptions):
    """Which hour of which episode."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the episode")
    at: str = Field(description="HH:MM on the clocks of --tz, or an ISO stamp")
    tz: str = Field("UTC", description="IANA name of a time zone, e.g. Europe/Berlin")
    day: Annotated[int, Field(ge=1)] = Field(
        1, description="local day of the episode that has this time of day"
    )
    policy: str = Field(
        "milp", description="milp (the optimum), greedy, mpc:day_ahead, ..., as in scripts.compare"
    )
    mip_gap: MipGap = 1e-4
    time_limit_s: TimeLimit | None = Field(None, description="of one solve; default: none")


@command(ExplainOptions)
def main(options: ExplainOptions) -> int:
    """Solve, play, print."""
    need_packages(*SOLVER)
    from baselines.optimum.milp import solve
    from baselines.optimum.shadow_prices import shadow_prices
    from gridai_env.rollout.run import run
    from scripts.studies.explanation.moment import local_times, step_at, time_zone
    from scripts.studies.explanation.sentences import Explainer, compared
    from scripts.studies.policies import find_contender

    zone = time_zone(options.tz)
    instance = InstancesBySeed(options).make(options.seed)
    t, times = step_at(instance, options.at, zone, options.day), local_times(instance, zone)
    contender = None if options.policy == "milp" else find_contender(options.policy, instance.compiled)
    print(f"{instance.scenario_name}, seed {instance.seed}: {times[t]:%a %Y-%m-%d %H:%M} to {times[t + 1]:%H:%M} "
          f"({options.tz}), step {t} of {instance.steps}")  # fmt: skip

    # A word while it lasts: a week of ten sites takes minutes.
    waiting = f"solving {instance.steps} steps; --time-limit-s ends it early"
    with bar(desc=waiting, bar_format="{desc}", leave=False):
        plan = solve(instance, mip_gap=options.mip_gap, time_limit_s=options.time_limit_s)
        if plan.actions is None:
            raise InputError("no optimum was found in time: raise --time-limit-s")
        optimum = run(plan, instance)
        lines = Explainer(optimum, times, shadow_prices(plan)).sentences(t)
    best = "optimum" if plan.status == "optimal" else f"best plan in time ({plan.gap:.2%} off the bound)"
    _print_list(f"\nThe {best}, which knows the whole episode:", lines)
    if contender is not None:
        played, _ = contender.play(instance, 0)
        if played is None:
            raise InputError(f"--policy {options.policy}: no plan was found in time")
        lines = [*Explainer(played, times).sentences(t), *compared(played, optimum, t)]
        _print_list(f"\n{options.policy}:", lines)
    return 0


def _print_list(title: str, lines: list[str]) -> None:
    print(title, *(f"- {text}" for text in lines), sep="\n")


if __name__ == "__main__":
    raise SystemExit(main())
