"""What all commands share: run folders, run.json, lists on the command line, and errors in one line."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gridai_env
from gridai_env.files import whole
from gridai_env.instance import Instance, InstanceError
from gridai_env.problems import ScenarioError
from gridai_env.traces import TraceError
from gridai_env.version import environment_version

RUN_FILE = "run.json"
RUN_FORMAT = 1
BAD_INPUT, INTERRUPTED = 2, 130
PACKAGES = (
    "gridai-env",
    "numpy",
    "gymnasium",
    "pydantic",
    "pyomo",
    "highspy",
    "scipy",
    "torch",
    "stable-baselines3",
    "tensorboard",
)


class InputError(ValueError):
    """What was asked for cannot be done; the message says which argument, why and what to do."""


# The extra that brings a package.
EXTRAS = {
    "pyomo": "milp",
    "highspy": "milp",
    "scipy": "milp",
    "joblib": "milp",
    "torch": "rl",
    "stable_baselines3": "rl",
    "tensorboard": "rl",
    "tqdm": "rl",
    "rich": "rl",
    "matplotlib": "render",
    "pyarrow": "data",
    "plotly": "report",
    "moocore": "report",
}

# Errors whose message is all that a user needs.  Anything else is a fault of the program: its traceback
# shows.
USER_ERRORS = (InputError, ScenarioError, TraceError, InstanceError, ImportError, OSError)


def guarded(command: Callable[[], int]) -> int:
    """Run a command: bad input becomes one line on standard error and exit code 2, ctrl-C exit code 130."""
    try:
        return command()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        print(f"error: this command needs {error.name}: pip install 'gridai-env[{extra}]'", file=sys.stderr)
        return BAD_INPUT
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def need_packages(*modules: str) -> None:
    """Raise InputError naming package and extra where one is not installed: before anything is computed."""
    for name in modules:
        if find_spec(name) is None:
            raise InputError(f"this command needs {name}: pip install 'gridai-env[{EXTRAS[name]}]'")


# Lists ------------------------------------------------------------------------------------------------------


def parse_seeds(words: Iterable[str]) -> list[int]:
    """Return the seeds in ``0 1 2``, ``0-19`` or a mixture; raises InputError for others and for doubles."""
    seeds: list[int] = []
    for word in words:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if match is None:
            raise InputError(
                f"--seeds {word!r}: must be whole numbers >= 0 or ranges such as 0-19, space-separated"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"--seeds {word!r}: the range ends before it begins; write {last}-{first}")
        seeds += range(first, last + 1)
    doubles = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if doubles:
        raise InputError(f"--seeds: given twice: {', '.join(map(str, doubles))}")
    return seeds


def checked_number(name: str, value: float | None, low: float, high: float, unit: str) -> None:
    """Raise InputError where a number is outside [low, high); None passes."""
    if value is not None and not low <= value < high:
        raise InputError(f"--{name} {value:g}: must be in [{low:g}, {high:g}) [{unit}]")


# Run folders ------------------------------------------------------------------------------------------------


def default_folder(kind: str, scenario: str) -> Path:
    """``runs/<kind>-<scenario>-<UTC time>``."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{kind}-{Path(scenario).stem}-{stamp}"


def open_folder(path: str | Path, kind: str) -> Path:
    """Create a run folder and prove that it can be written to.

    Raises InputError where it cannot, and where it holds a run of another kind, which would be damaged.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"output folder {str(folder)!r} cannot be written: {error.strerror or error}"
        ) from error
    found = _kind_of(folder / RUN_FILE)
    if found not in (None, kind):
        raise InputError(
            f"output folder {str(folder)!r} holds a run of {found!r}, which {kind!r} would overwrite; "
            f"give another folder, e.g. {str(folder / kind)!r}"
        )
    return folder


def _kind_of(run_file: Path) -> str | None:
    try:
        data = json.loads(run_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{run_file}: not a run.json ({error}); give another folder") from error
    return str(data.get("kind", "something else")) if isinstance(data, dict) else "something else"


def write_run(
    folder: Path,
    kind: str,
    config: dict[str, Any],
    seeds: Sequence[int],
    instances: Sequence[Instance | dict[str, Any]] = (),
    device: str = "cpu",
    **more: Any,
) -> Path:
    """Write ``run.json``: what was run, with what, on what.  The file appears whole or not at all.

    ``instances`` are instances or what `instance_record` says of them.
    """
    record = {
        "kind": kind,
        "run_format": RUN_FORMAT,
        "environment_version": environment_version(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "config": config,
        "commit": commit(),
        "versions": versions(),
        "seeds": list(seeds),
        "device": device,
        "machine": machine(),
        "instances": [i if isinstance(i, dict) else instance_record(i) for i in instances],
        **more,
    }
    path = folder / RUN_FILE
    with whole(path) as partial:
        partial.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return path


def read_run(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """Return the record in a run folder (or of a ``run.json``).

    Raises InputError where it is missing, of another kind, format or version of the environment.
    """
    file = Path(path) / RUN_FILE if Path(path).is_dir() else Path(path)
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a run.json: {error}") from error
    wanted = {"run_format": RUN_FORMAT, "environment_version": environment_version()}
    if kind is not None:
        wanted["kind"] = kind  # type: ignore[assignment]
    for key, value in wanted.items():
        found = record.get(key) if isinstance(record, dict) else None
        if found != value:
            raise InputError(f"{file}: {key} is {found!r}, this program reads {value!r}; run it again")
    return dict(record)


def instance_record(instance: Instance) -> dict[str, Any]:
    """What identifies an instance."""
    return {"seed": instance.seed, "start_utc": str(instance.start_utc), "hash": instance.hash}


# Facts ------------------------------------------------------------------------------------------------------


def commit() -> str | None:
    """Commit of the checkout, with "+changes" where files differ from it; None outside of one."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        return head + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version(), "gridai_env": gridai_env.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor and system."""
    return {"system": platform.platform(), "processor": platform.processor(), "cpus": os.cpu_count()}
