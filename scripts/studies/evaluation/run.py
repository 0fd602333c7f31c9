"""One evaluation: check the options, play what is not published, score, write and print."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from gridai_env.analysis.loss_by_lever import plans
from gridai_env.benchmarks.evaluation import judged
from gridai_env.benchmarks.published import FrozenSet, read_set, set_path
from gridai_env.benchmarks.summary import PolicyResult, Summary, published_result, summarise
from gridai_env.rollout.policy import Policy
from gridai_env.scenario.compile import compile_scenario
from scripts.runs.command import DEFECT, InputError
from scripts.runs.folder import commit, default_folder, file_name, open_folder, write_run
from scripts.runs.progress import bar as progress_bar
from scripts.runs.tables import proof_of
from scripts.studies.evaluation import output
from scripts.studies.evaluation.freeze import differences
from scripts.studies.evaluation.loss import BETTER, show_where
from scripts.studies.evaluation.options import EvaluateOptions
from scripts.studies.evaluation.play import check_local, play_network
from scripts.studies.names import OWN
from scripts.studies.policies import ENOUGH_SEEDS, TrainedPolicy, find_contenders, find_entrants

KIND = "evaluate"


def play_and_judge(arguments: EvaluateOptions) -> int:
    """Check everything, play what is not published, score, write and print; return the exit code."""
    frozen = _frozen(arguments)
    # mpc:own is the planner of the set's own kind of forecast, so that its published results serve.
    names = [frozen.own_planner if name == OWN else name for name in arguments.policies]
    entrants = find_entrants(names, arguments.scenario)
    policies = [_ready(entrant, frozen) for entrant in entrants]
    table = _table_path(arguments, frozen)
    if arguments.where:
        _check_where(arguments, entrants[0], policies[0])

    run_dir = open_folder(arguments.run_dir or default_folder(KIND, arguments.scenario), KIND)
    results = _judged(arguments, entrants, policies, frozen, run_dir)
    summaries = [summarise(result, frozen) for result in results]
    output.write_results(run_dir, results, summaries, frozen)

    facts = _facts(frozen, entrants)
    print("\n".join([*facts, *output.report_lines(results, summaries)]), flush=True)
    if arguments.save_results:
        _save(Path(arguments.save_results), summaries, frozen)
    if table is not None:
        _write_table(table, summaries, facts)
    if arguments.where:  # of several training seeds the first
        sample = frozen.first(min(arguments.where_episodes, len(frozen.entries)))
        show_where(policies[0][0], results[0], frozen, sample, arguments.where, run_dir)
    if arguments.recompute and not _recompute(frozen, arguments.set, run_dir):
        return DEFECT

    # The last line is read by programs.
    print(f"results: {run_dir}")
    print(summaries[0].line())
    return 0


def _judged(
    arguments: EvaluateOptions,
    entrants: Sequence[TrainedPolicy],
    policies: Sequence[list[Policy]],
    frozen: FrozenSet,
    run_dir: Path,
) -> list[PolicyResult]:
    """Play what is not published and write run.json; raises InputError where the simulator is another one."""
    # Local-Only is published: where it earns something else here, the published bounds do not hold either.
    instances = frozen.instances()
    check_local(frozen, instances)
    results = []
    total = sum(len(own) for own in policies)
    with progress_bar(
        total=total, desc=f"{frozen.scenario}/{frozen.name}", disable=not sys.stderr.isatty()
    ) as bar:
        for entrant, own in zip(entrants, policies, strict=True):
            if own:
                results.append(play_network(entrant.name, entrant.runs, own, frozen, instances, bar.update))
            else:
                results.append(published_result(entrant.name, frozen))

    seeds, runs = [instance.seed for instance in instances], [entrant.runs for entrant in entrants]
    write_run(run_dir, KIND, vars(arguments), seeds, instances, runs=runs)
    return results


def _frozen(arguments: EvaluateOptions) -> FrozenSet:
    """Return the frozen set, or the selected episodes of it."""
    frozen = read_set(
        arguments.scenario, arguments.set, Path(arguments.benchmarks) if arguments.benchmarks else None
    )
    return frozen if arguments.episodes is None else frozen.first(arguments.episodes)


def _table_path(arguments: EvaluateOptions, frozen: FrozenSet) -> Path | None:
    """Return where the table goes, None without one; raises InputError for a name that does not end in .md."""
    if arguments.table is None:
        return None
    path = Path(arguments.table or set_path(frozen.scenario, frozen.name, frozen.folder).with_suffix(".md"))
    if path.suffix != ".md":
        raise InputError(f"--table {str(path)!r}: must end in .md")
    return path


def _check_where(arguments: EvaluateOptions, entrant: TrainedPolicy, policies: list[Policy]) -> None:
    """Raise InputError where ``--where`` cannot be answered."""
    if arguments.where not in BETTER:
        raise InputError(f"--where {arguments.where!r}: must be one of {', '.join(BETTER)}")
    if not policies or plans(policies[0]):
        raise InputError(
            f"--where is for what decides step by step and is not published, not for {entrant.name}"
        )


def _ready(entrant: TrainedPolicy, frozen: FrozenSet) -> list[Policy]:
    """Return the policies of an entrant, none where its results are published; raises InputError for bad ones."""
    if entrant.name in frozen.published:
        return []
    compiled = compile_scenario(frozen.benchmark.world)
    found = [find_contenders([run], compiled, {"threads": 1})[0].policy for run in entrant.runs]
    policies = [policy for policy in found if policy is not None]
    if len(policies) < len(found):
        raise InputError(f"policy {entrant.name}: its results are not in {frozen.scenario}/{frozen.name}")
    return policies


def _facts(frozen: FrozenSet, entrants: Sequence[TrainedPolicy]) -> list[str]:
    """Return what a reader of the figures must know."""
    made = frozen.facts
    gap = max(entry.solver["gap"] for entry in frozen.entries)
    proof = proof_of(entry.solver.get("is_safe", math.nan) for entry in frozen.entries)
    lines = [
        f"{frozen.scenario}/{frozen.name}: {len(frozen.entries)} episodes from {frozen.entries[0].key.start_utc[:10]} "
        f"to {max(e.key.start_utc for e in frozen.entries)[:10]}, frozen by gridai-env {made['package_version']} "
        f"(commit {_short_commit(made['commit'])}); bounds within {gap:.3%} of plans{proof}",
        *frozen.notes,
    ]
    few = [entrant.name for entrant in entrants if entrant.is_network and len(entrant.runs) < ENOUGH_SEEDS]
    if few:
        lines.append(
            f"fewer than {ENOUGH_SEEDS} training seeds ({', '.join(few)}): the interval says little about training anew"
        )

    return lines


def _short_commit(text: str | None) -> str:
    """Return a commit in seven letters, with a plus where files differed from it."""
    return "unknown" if text is None else text[:7] + ("+" if text.endswith("+changes") else "")


def _write_table(path: Path, summaries: Sequence[Summary], facts: Sequence[str]) -> None:
    """Write the table that is committed, with command, commit and device."""
    head = [f"`{_command()}`", f"Commit {commit()}, device cpu.", *(f"{line}." for line in facts)]
    for written in output.write_table(path, summaries, head):
        print(f"table: {written}")


def _save(folder: Path, summaries: Sequence[Summary], frozen: FrozenSet) -> None:
    """Write the figures of each policy in the form of `gridai_env.evaluate`."""
    folder.mkdir(parents=True, exist_ok=True)
    for summary in summaries:
        path = folder / f"{frozen.scenario}-{frozen.name}-{file_name(summary.policy)}.json"
        print(f"result: {judged(summary, frozen, command=_command()).save(path)}")


def _command() -> str:
    """Return the command line without its run folder, which is of one machine."""
    words = sys.argv[1:]
    hidden = [i for i, word in enumerate(words) if word == "--run-dir"]
    kept = [word for i, word in enumerate(words) if i not in hidden and i - 1 not in hidden]
    return " ".join(["python -m scripts.evaluate", *kept])


def _recompute(frozen: FrozenSet, name: str, run_dir: Path) -> bool:
    """Return whether what is published comes out again; prints what does not."""
    faults = differences(frozen, run_dir / "recomputed")
    for fault in faults:
        print(f"defect: {fault}", file=sys.stderr)
    print(f"{frozen.scenario}/{name}: published figures {'differ' if faults else 'come out again'}")
    return not faults
