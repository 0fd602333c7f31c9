"""Speed on this machine's processor: steps, resets, solves; and all that `scripts.benchmark` measures."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from timeit import timeit
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import gymnasium as gym
import numpy as np
from pydantic import Field

from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.scenario.load import load_scenario
from scripts.runs.arguments import Count, ScenarioFile
from scripts.runs.command import SOLVER, CommandOptions, InputError, Shown, need_packages
from scripts.runs.folder import check_out
from scripts.runs.parallel import cores
from scripts.runs.user_code import made_by, users_code
from scripts.studies.decision_times import decision_times_s
from scripts.studies.speed.large import large_optima
from scripts.studies.speed.measure import Figure, median_of
from scripts.studies.speed.probe import PROBES, cpu_s

if TYPE_CHECKING:
    from baselines.optimum.milp import Plan


Solved = Literal["TwoSites", "MicrogridProsumer", "FourMarkets", "Global"]
Planned = Literal["TwoSites", "FourMarkets", "Global"]

# Scenario -> relative gap that its optimum is asked for.
GAPS = {"TwoSites": 1e-4, "MicrogridProsumer": 1e-2, "FourMarkets": 1e-4, "Global": 1e-4}
# Carbon budget of `--long` as a share of what the optimum emits without one, and the gap asked for under it.
BUDGET_SHARE, BUDGET_GAP = 0.8, 1e-2
COLUMNS = "| figure | median | unit | target | met | first version | range, details |"
HEADER_OF_FIGURES = f"{COLUMNS}\n|{'---|' * (COLUMNS.count('|') - 1)}"
IMPORTING = "import time; t=time.perf_counter(); import gridai_env; print(time.perf_counter()-t)"


class BenchmarkOptions(CommandOptions):
    """What is measured, and how often."""

    repetitions: Count = Field(5, description="of each timing")
    optimum: Annotated[list[Solved], Shown(nargs="*")] = Field(
        list(get_args(Solved)), description="scenarios to solve"
    )
    mpc: Annotated[list[Planned], Shown(nargs="*")] = Field(
        list(get_args(Planned)), description="planners to time"
    )
    long: bool = Field(
        False,
        description="also a frontier with one worker and with two, MicrogridProsumer to 0.1 %, and Global under a "
        "carbon budget of 80 % of its free emissions",
    )
    large: bool = Field(
        False, description="nothing but certified gaps of 20 sites over a week and of 50 sites over a day"
    )
    device: str = Field("cpu", description="of the batch on torch: cpu, cuda, or none (leave it out)")
    dtype: Literal["float32", "float64"] = Field("float32", description="of that batch")
    batches: Annotated[list[Annotated[int, Field(ge=2)]] | None, Shown(nargs="*", unit="environments")] = (
        Field(None, description="environments side by side on the device")
    )
    eager: bool = Field(False, description="leave compiled steps out")
    no_learning: bool = Field(False, description="leave PPO and its decisions out")
    torch_threads: Count | None = Field(None, description="of torch on the CPU; default: one for each core")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the instances that are solved")
    threads: Count = Field(2, description="of the solver")
    out: Path | None = Field(None, description="write the figures, as a table (.csv) or as JSON")
    growth: Annotated[list[ScenarioFile] | None, Shown(nargs=2)] = Field(
        None,
        description="nothing but time and memory of compiled batches of two scenarios, the one with fewer sites first "
        "(scripts.maintenance.enlarge makes them)",
    )
    peers: Annotated[list[str] | None, Shown(nargs="*")] = Field(
        None,
        description="environments of others beside these: py:module:function of the working folder that returns one, "
        "or a function that plays and returns how many steps that were",
    )
    against: str | None = Field(
        None,
        description="a commit: nothing but this checkout and that one in turn, --repetitions times, and the ratios of "
        "their CPU times with intervals (--optimum chooses the optima)",
    )


def speed(name: str) -> Callable[[], float]:
    """Return what measures steps per CPU second of a probe, resets included, after a first round that compiles."""
    work = PROBES[name]()
    work()
    return lambda: 1.0 / cpu_s(work)


def peer_speed(name: str) -> Callable[[], float]:
    """Return what measures steps per CPU second of another environment, resets included, after a first round.

    Raise InputError in one line where it cannot be had or played.
    """
    made = made_by(name, "--peers", None)
    work = random_play(made) if hasattr(made, "step") else made
    if not callable(work):
        raise InputError(f"--peers {name}: a {type(made).__name__} has neither step() nor can it be called")
    with users_code(f"--peers {name}"):
        work()
    return lambda: 1.0 / cpu_s(work)


def random_play(env: Any, steps: int = 1000) -> Callable[[], int]:
    """Return a function that plays random actions in an environment of Gymnasium, resets included."""
    actions = [env.action_space.sample() for _ in range(64)]
    env.reset(seed=0)

    def work() -> int:
        for i in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[i % 64])
            if terminated or truncated:
                env.reset()
        return steps

    return work


def reset_in_steps(name: str) -> float:
    """Return the cost of a reset, in steps of the same environment."""
    env = gym.make(f"gridai/{name}-v2")
    action = np.zeros(env.action_space.shape, dtype=np.float32)  # type: ignore[type-var]
    env.reset(seed=0)
    reset_s = timeit(env.reset, number=10) / 10
    return reset_s / (timeit(lambda: env.step(action), number=20) / 20)


def in_fresh_process(code: str) -> float:
    """Return the number that a snippet prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def memory_mb(name: str) -> float:
    """Return the peak resident memory (Linux) of a process that makes, resets and steps one environment, in MB."""
    return in_fresh_process(
        "import gymnasium as gym, gridai_env\n"
        f"env = gym.make('gridai/{name}-v2'); env.reset(seed=0)\n"
        "for _ in range(50): env.step(env.action_space.sample())\n"
        "line = next(l for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "print(int(line.split()[1]) / 1024)"
    )


def optimum(name: str, seed: int, threads: int) -> list[Figure]:
    """Return time and gap of the perfect-foresight optimum of one instance."""
    from baselines.optimum.milp import solve

    plan = solve(_episode(name, seed), mip_gap=GAPS[name], threads=threads)
    figures = [_solved(f"{name} optimum", plan, GAPS[name])]
    if name == "Global":
        share = 100 * plan.build_s / (plan.build_s + plan.solve_s)
        figures.append(Figure("Global optimum, share of building", share, "%"))
    return figures


def _episode(name: str, seed: int) -> Instance:
    env: Any = gym.make(f"gridai/{name}-v2").unwrapped
    env.reset(seed=seed)
    return env.instance


def _solved(name: str, plan: Plan, asked: float) -> Figure:
    """Time of a solve, building included."""
    note = (
        f"gap {100 * plan.gap:.4f} % (asked {100 * asked:g} %), {plan.rows:,} rows, {plan.columns:,} columns"
    )
    return Figure(name, plan.build_s + plan.solve_s, "s", f"seed {plan.instance.seed}; {note}")


def mpc_decision(name: str, seed: int, decisions: int) -> Figure:
    """Return the median wall time of a planner's decisions, 24 h ahead, the first one (which compiles) left out."""
    from baselines.mpc.policy import MPC

    times_s = list(islice(decision_times_s(MPC("day_ahead"), _episode(name, seed)), decisions + 1))
    rest = times_s[1:]
    note = f"seed {seed}; {len(rest)} decisions, at most {max(rest):.3g} s, the first {times_s[0]:.3g} s"
    return Figure(f"{name}, MPC decision", statistics.median(rest), "s", note)


def frontier_times(seeds: int, points: int) -> Iterator[Figure]:
    """Yield a sweep of all latency budgets with one worker, then with two, one solver thread each."""
    from gridai_env.analysis.latency_budgets import make_sweep
    from scripts.studies.latency.run import Frontier
    from scripts.studies.solver import SolverOptions

    instances = [make_instance("energy_geography", seed) for seed in range(seeds)]
    sweep = make_sweep(instances[0].scenario, "scale", points=points)
    options, seconds = SolverOptions(1e-4, None, threads=1), dict[int, float]()
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            run = Frontier(
                folder=Path(folder), instances=instances, sweeps=[sweep], policies=[], solver=options, jobs=jobs,
                ray=None, config={},
            )  # fmt: skip
            run.compute()
            seconds[jobs] = run.seconds
    note = f"{points} points x 3 objectives x {seeds} episodes; one worker {seconds[1]:.4g} s"
    yield Figure("EnergyGeography frontier, 2 workers", seconds[2], "s", note)
    efficiency = seconds[1] / (2.0 * seconds[2])
    yield Figure("EnergyGeography frontier, parallel efficiency", efficiency, "1", f"{os.cpu_count()} cores")


def long_optima(seed: int, threads: int) -> Iterator[Figure]:
    """Yield two optima that take minutes: MicrogridProsumer to 0.1 %, Global under a carbon budget."""
    from baselines.optimum.milp import solve

    prosumer = make_instance("microgrid_prosumer", seed)
    yield _solved("MicrogridProsumer optimum to 0.1 %", solve(prosumer, mip_gap=1e-3, threads=threads), 1e-3)
    free = solve(make_instance("global", seed), mip_gap=BUDGET_GAP, threads=threads)
    assert free.emissions_kg is not None
    budget = {"carbon_budget_kg": BUDGET_SHARE * free.emissions_kg}
    bound = make_instance(load_scenario("global").model_copy(update=budget), seed)
    plan = solve(bound, mip_gap=BUDGET_GAP, threads=threads)
    yield _solved("Global optimum, carbon budget 80 %", plan, BUDGET_GAP)


def measure(args: BenchmarkOptions) -> list[Figure]:
    """Return all figures, printed as they come."""
    if args.growth:
        return list(shown(growth(args.growth, args.repetitions)))
    figures: list[Figure] = []

    def add(name: str, unit: str, function: Callable[[], float]) -> None:
        value, note = median_of(function, args.repetitions)
        figures.append(Figure(name, value, unit, note))
        print(figures[-1].line(), flush=True)

    print(HEADER_OF_FIGURES, flush=True)
    if args.large:
        return list(shown(large_optima(args.seed, args.threads)))
    for name in (probe for probe in PROBES if "environment" in probe):
        add(name, "steps/CPU s" if ", 1 " in name else "env-steps/CPU s", speed(name))
    for name in args.peers or ():
        add(f"{name}, random actions", "steps/CPU s", peer_speed(name))
    for name in ("FourMarkets", "Global"):
        add(f"{name} reset", "steps", lambda n=name: reset_in_steps(n))  # type: ignore[misc]
    add("import gridai_env", "s", lambda: in_fresh_process(IMPORTING))
    add("Global environment, memory", "MB", lambda: memory_mb("Global"))
    optima = (figure for name in args.optimum for figure in optimum(name, args.seed, args.threads))
    planners = (mpc_decision(name, args.seed, 96) for name in args.mpc)
    sweeps = frontier_times(seeds=4, points=12) if args.long else ()
    optima_too = long_optima(args.seed, args.threads) if args.long else ()
    return figures + list(shown(chain(on_device(args), planners, optima, sweeps, optima_too)))


def shown(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Print figures as they come, and hand them on."""
    for figure in figures:
        print(figure.line(), flush=True)
        yield figure


def growth(files: list[ScenarioFile], repetitions: int) -> Iterator[Figure]:
    """Yield how a step and an environment grow from one scenario to another."""
    from scripts.studies.speed.growth import growth_figures

    smaller, larger = map(load_scenario, files)
    print(HEADER_OF_FIGURES, flush=True)
    yield from growth_figures(smaller, larger, repetitions)


def on_device(args: BenchmarkOptions) -> Iterator[Figure]:
    """Yield the figures of the batch on torch; none with ``--device none``."""
    if args.device == "none":
        return
    import torch

    from gridai_env.envs.torch.arguments import checked_device, checked_dtype
    from scripts.studies.speed.setting import Setting
    from scripts.studies.speed.torch_batch import BATCHES, device_figures

    torch.set_num_threads(args.torch_threads or cores())
    device = checked_device(args.device)
    checked_dtype(args.dtype)
    batches = tuple(args.batches or BATCHES[device.type])
    setting = Setting(device, args.dtype, batches, args.repetitions, not args.eager)
    yield from device_figures(setting, learn=not args.no_learning)


def check(args: BenchmarkOptions) -> None:
    """Raise InputError for what would fail only after minutes of measuring."""
    if args.device != "none" and not args.large:
        need_packages("torch", "stable_baselines3")
        from gridai_env.envs.torch.arguments import checked_device
        from scripts.studies.speed.setting import KINDS

        try:
            device = checked_device(args.device)
        except ValueError as error:
            raise InputError(f"--device: {error}") from error
        if device.type not in KINDS or device.index:
            raise InputError(f"--device {args.device}: must be none, {' or '.join(KINDS)} (the first GPU)")
    if args.optimum or args.mpc or args.long or args.large:
        need_packages(*SOLVER)
    if args.out:
        check_out(args.out, "speed.json")
