"""How commands read their options: forms on the command line, YAML files, help, and errors in one line."""

import builtins
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from baselines.optimum import SolverError
from gridai_env.traces.errors import TraceWarning
from scripts.runs.arguments import Count, ParallelOptions, ScenarioOptions, Seeds, TimeLimit
from scripts.runs.command import (
    BAD_INPUT,
    INTERRUPTED,
    CommandOptions,
    InputError,
    Shown,
    exit_code,
    run_command,
)
from scripts.runs.parallel import spread

SEEN: list[Any] = []


class Settings(ScenarioOptions, ParallelOptions):
    """A bit of everything."""

    target: Annotated[str | None, Shown(names=("target",), nargs="?")] = Field(None, description="a place")
    policies: Annotated[list[str], Shown(names=("--policy", "--policies"), metavar="NAME")] = Field(
        ["greedy"], description="played, 100 % of the time"
    )
    seeds: Seeds = Field([0, 1])
    kind: Literal["cost", "carbon"] = Field("cost", description="of the optimum")
    go_on: Annotated[bool, Shown(names=("--continue",))] = Field(False, description="keep what is there")
    table: Annotated[str | None, Shown(nargs="?", const="", metavar="FILE")] = Field(
        None, description="write it"
    )
    reference: Annotated[list[float] | None, Shown(nargs=2, metavar=("USD", "KG"))] = Field(None)
    time_limit_s: TimeLimit = 60.0
    caps: Count | None = Field(None, description="how many")


class NoGroups(CommandOptions):
    """One required place."""

    place: Annotated[str, Shown(names=("place",), metavar="PLACE")] = Field(description="where")


def keep(options: Any) -> int:
    """The command of these tests."""
    SEEN.append(options)
    return 0


def given(*words: str) -> Settings:
    """The options that some words make."""
    assert run_command(Settings, keep, ["--scenario", "two_sites", *words]) == 0
    found = SEEN.pop()
    assert isinstance(found, Settings)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str, options: type[CommandOptions] = Settings) -> str:
    """What is said of words that cannot be used: one line."""
    assert run_command(options, keep, words) == BAD_INPUT
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out and not SEEN
    return said.err.removeprefix("error: ").rstrip()


def test_what_is_not_given_has_its_default() -> None:
    found = given()
    assert (found.scenario, found.target, found.policies, found.seeds) == (
        "two_sites",
        None,
        ["greedy"],
        [0, 1],
    )
    assert (found.kind, found.go_on, found.table, found.time_limit_s, found.jobs) == (
        "cost",
        False,
        None,
        60.0,
        None,
    )


def test_every_form_of_an_option() -> None:
    found = given(
        *(
            "here",
            "--policies",
            "local_only",
            "ppo:a b.zip",
            "--seeds",
            "0-2",
            "7",
            "--kind",
            "carbon",
            "--continue",
        ),
        *("--table", "--reference", "1e9", "-3", "--jobs", "2"),
    )
    assert found.target == "here" and found.policies == ["local_only", "ppo:a b.zip"]
    assert found.seeds == [0, 1, 2, 7] and found.kind == "carbon" and found.go_on
    assert found.table == "" and found.reference == [1e9, -3.0] and found.jobs == 2
    assert given("--policy", "milp").policies == ["milp"]
    assert given("--table=out.md", "--traces", "2023").table == "out.md"
    assert given("--traces", "2023").traces == str(Path.cwd() / "2023")  # text stays text


def test_a_file_gives_options_and_the_command_line_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "target: here\nseeds: [3, 4-5]\npolicies: [milp]\ngo_on: true\nreference: [1, 2]\ntraces: 2023\n"
    )
    assert given("--config", str(file), "there").target == "there"
    assert given("there", "--seeds", "9", "--config", str(file)).seeds == [9]
    found = given("--config", str(file), "--policies", "greedy", "random")
    assert found.target == "here"
    assert (
        found.seeds == [3, 4, 5]
        and found.go_on
        and found.reference == [1.0, 2.0]
        and found.traces == str(Path.cwd() / "2023")
    )
    assert found.policies == ["greedy", "random"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "missing: --scenario; see --help"),
        (("--scenario", "x", "--polices", "y"), "unrecognized arguments: --polices; see --help"),
        (
            ("--scenario", "x", "--policies"),
            "argument --policy/--policies: expected at least one argument; see --help",
        ),
        (("--scenario", "x", "--jobs", "0"), "--jobs 0: must be a whole number, at least 1"),
        (("--scenario", "x", "--jobs", "two"), "--jobs 'two': must be a whole number, at least 1"),
        (
            ("--scenario", "x", "--time-limit-s", "nan"),
            "--time-limit-s 'nan': must be a number, at least 0.1 [s]",
        ),
        (("--scenario", "x", "--kind", "mean"), "--kind 'mean': must be one of 'cost', 'carbon'"),
        (("--scenario", "x", "--seeds", "5-3"), "--seeds '5-3': the range ends before it begins; write 3-5"),
        (("--scenario", "x", "--horizon-h", "day"), "--horizon-h 'day': must be a number"),
        (
            ("--scenario", "x", "--jobs", "0", "--caps", "-2"),
            "--jobs 0: must be a whole number, at least 1; --caps -2: must be a whole number, at least 1",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *words) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sedes: [1]\n", "'sedes'"),
        ("seeds: [1\n", "Problems parsing config"),
        (None, "--config: File does not exist"),
    ],
)
def test_a_bad_file_is_one_line(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    if text is not None:
        file.write_text(text)
    assert message in refused(capsys, "--scenario", "x", "--config", str(file))


def test_a_place_that_is_missing_is_named_as_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, options=NoGroups) == "missing: PLACE; see --help"


def test_help_loads_no_heavy_library() -> None:
    """What imports torch takes seconds to answer, and fails where the extra is missing."""
    heavy = "torch", "stable_baselines3", "matplotlib", "pyomo", "plotly", "pyarrow", "joblib"
    code = (
        "import sys\n"
        f"import {', '.join(f'scripts.{path.stem}' for path in sorted(Path('scripts').glob('[a-z]*.py')))}\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_lists_options_with_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_command(Settings, keep, ["--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "How commands read their options" in text  # of the module
    assert (
        "--policy NAME [NAME ...], --policies NAME [NAME ...] played, 100 % of the time; default: greedy"
        in text
    )
    assert "--kind {cost,carbon} of the optimum; default: cost" in text
    assert "--seeds SEED [SEED ...]" in text and "default: 0 1" in text
    assert "parallel work: --jobs JOBS" in text and "episodes: --traces TRACES" in text


def test_errors_and_ctrl_c_end_with_their_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> int:
        raise error

    assert exit_code(lambda: 3) == 3
    assert exit_code(lambda: fail(InputError("no"))) == BAD_INPUT
    assert exit_code(lambda: fail(KeyboardInterrupt())) == INTERRUPTED
    assert capsys.readouterr().err == "error: no\ninterrupted\n"
    with pytest.raises(ZeroDivisionError):  # a fault of the program keeps its traceback
        exit_code(lambda: fail(ZeroDivisionError()))


def test_what_traces_warn_of_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    def warn(options: NoGroups) -> int:
        for _ in range(2):
            warnings.warn("odd", TraceWarning, stacklevel=1)
        warnings.warn("late", TraceWarning, stacklevel=1)
        return 0

    with warnings.catch_warnings():
        warnings.resetwarnings()
        assert run_command(NoGroups, warn, ["here"]) == 0
    assert capsys.readouterr().err == "note: odd\nnote: late\n"


@pytest.mark.parametrize("lines", [1, 100_000])  # still held at the end, or written on the way
def test_a_reader_that_leaves_ends_the_command_without_a_word(lines: int) -> None:
    code = f"from scripts.runs.command import exit_code\nexit(exit_code(lambda: print('line\\n' * {lines}) or 0))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def failing_solve(seed: int) -> int:
    raise SolverError(f"seed {seed} left no result")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_solver_that_fails_is_one_line_also_in_a_worker(
    jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: len(list(spread(failing_solve, [(3,)] * jobs, jobs)))) == BAD_INPUT
    assert capsys.readouterr().err == "error: seed 3 left no result\n"


def test_the_extra_of_the_command_lines_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "jsonargparse":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return honest(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refused(capsys) == "this command needs jsonargparse: pip install -e '.[cli]'"
