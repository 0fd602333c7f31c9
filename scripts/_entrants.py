"""Policies of an evaluation: a name on the command line, and the training runs (seeds) behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridai_env.compile import Compiled
from scripts._common import InputError
from scripts._contenders import NETWORK, PRETRAINED, find_contenders, pretrained

MODEL = "model.zip"
ENOUGH_SEEDS = 5  # below it a note says so


@dataclass(frozen=True)
class Entrant:
    """One policy and the runs it is known from: several where a network was trained with several seeds."""

    name: str  # as on the command line
    runs: tuple[str, ...]  # names that `find_contenders` takes, one per training seed

    @property
    def is_network(self) -> bool:
        """Whether it was trained."""
        return self.name.startswith(NETWORK)

    def policies(self, compiled: Compiled, solver: dict[str, Any]) -> list[Any]:
        """Return the policies of all runs; raises InputError for a file that does not belong to the scenario."""
        return [find_contenders([run], compiled, solver)[0].policy for run in self.runs]


def find_entrants(names: Sequence[str], scenario: str) -> list[Entrant]:
    """Return the policies of the command line; raises InputError for doubles and networks without a file."""
    doubles = sorted({name for name in names if list(names).count(name) > 1})
    if doubles:
        raise InputError(f"--policies: given twice: {', '.join(doubles)}")
    return [Entrant(name, tuple(_runs(name, scenario))) for name in names]


def _runs(name: str, scenario: str) -> list[str]:
    if not name.startswith(NETWORK) or name == NETWORK:
        return [name]
    if name == NETWORK + PRETRAINED:
        return [NETWORK + str(path) for path in pretrained(name, scenario)]
    return [NETWORK + str(path) for path in checkpoint_files(name.removeprefix(NETWORK))]


def checkpoint_files(where: str) -> list[Path]:
    """Return the checkpoints of one agent: a file, a run folder, a folder of run folders, or a pattern with ``*``.

    Raises InputError where there is none, saying how to get one.
    """
    path = Path(where)
    if any(sign in where for sign in "*?["):
        root = Path(path.anchor) if path.is_absolute() else Path()
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else where
        found = sorted(root.glob(pattern), key=_natural)
        found = [file / MODEL if file.is_dir() else file for file in found]
    elif path.is_dir():
        found = [path / MODEL] if (path / MODEL).is_file() else sorted(path.glob(f"*/{MODEL}"), key=_natural)
    else:
        found = [path]
    found = [file for file in found if file.is_file()]
    if not found:
        raise InputError(
            f"--policies {NETWORK}{where}: no {MODEL} there; give a checkpoint, a run folder, a folder of run "
            "folders (one per training seed) or a pattern; train one with python -m scripts.train --run-dir FOLDER"
        )
    return found


def _natural(path: Path) -> list[Any]:
    """Order in which seed10 comes after seed9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]
