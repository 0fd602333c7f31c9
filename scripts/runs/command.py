"""Command."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec

from gridai_env.files import InstanceError
from gridai_env.scenario.errors import ScenarioError
from gridai_env.traces import TraceError

BAD_INPUT, INTERRUPTED = 2, 130


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


def run_command(command: Callable[[], int]) -> int:
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
