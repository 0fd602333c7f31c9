"""What the examples share: the arguments of their command lines, and a clear word where a library is missing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scripts.runs.command import BAD_INPUT, InputError

PIP = "pip install -c constraints.txt -e '.[examples]'"


@contextmanager
def needed(pip: str = PIP) -> Iterator[None]:
    """Around the imports of an example: says which command brings a library that is missing, exit code 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        print(f"error: this example needs {error.name}: {pip}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from error


@contextmanager
def asked_for() -> Iterator[None]:
    """Around what makes the environments: what they refuse (a device, a size) is the user's to correct."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def _at_least(least: int) -> Callable[[str], int]:
    """For argparse: a whole number that is not smaller."""

    def number(word: str) -> int:
        if not word.isdecimal() or int(word) < least:
            raise argparse.ArgumentTypeError(f"{word!r}: must be a whole number >= {least}")
        return int(word)

    return number


def parser(text: str | None, num_envs: int | None, steps: int) -> argparse.ArgumentParser:
    """The common arguments; ``num_envs`` and ``steps`` are defaults (None: no batch, no device)."""
    out = argparse.ArgumentParser(
        description=(text or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    out.add_argument("--scenario", default="two_sites", help="name or YAML file")
    out.add_argument(
        "--steps", type=_at_least(1), default=steps, help="environment steps, all environments together"
    )
    out.add_argument("--seed", type=_at_least(0), default=0, help="of episodes and learning")
    if num_envs is not None:
        out.add_argument("--num-envs", type=_at_least(1), default=num_envs, help="environments in the batch")
        out.add_argument("--device", default="cpu", help="of torch: cpu, cuda, cuda:1, ...")
    return out


def iterations(steps: int, each: int) -> int:
    """How often ``each`` steps fit into the budget; raises InputError where they do not fit once."""
    if steps < each:
        raise InputError(f"--steps {steps}: must be at least {each}, what all environments play in one go")
    return steps // each
