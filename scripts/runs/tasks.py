"""Results of long jobs, one JSON file per point: written whole, and named after what they were computed from.

A killed job goes on where it stopped: a file that is there and has the right key is not computed again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gridai_env.files import atomic_write
from gridai_env.version import environment_version
from scripts.runs.command import InputError

Record = dict[str, Any]

FORMAT_VERSION = 1
NETWORK = "ppo:"


def key_of(*facts: Any) -> str:
    """What a record was computed from, as one word."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def checkpoint_of(policy: str) -> str:
    """The contents of a trained policy's file as one word; empty for every other policy."""
    path = policy.removeprefix(NETWORK)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path != policy else ""


def read_record(path: Path, kind: str, key: str | None = None) -> Record | None:
    """The record in a file, None where there is none yet.

    Raises InputError for a file that is damaged, of another version, or computed from something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not a whole point file ({error}); delete it and run again, the other points are kept"
        ) from error
    for name, value in _head(kind, key).items():
        found = record.get(name) if isinstance(record, dict) else None
        if found != value:
            raise InputError(
                f"{path}: {name} is {str(found)[:12]!r}, this run has {str(value)[:12]!r}: the file belongs to "
                "another scenario, version or setting; give another --run-dir or --overwrite"
            )
    return dict(record)


def write_record(path: Path, kind: str, key: str, record: Record) -> None:
    """Write a record with its head."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(_head(kind, key) | record, default=float) + "\n", encoding="utf-8")


def _head(kind: str, key: str | None) -> Record:
    head = {
        "format": f"gridai-env {kind}",
        "format_version": FORMAT_VERSION,
        "environment_version": environment_version(),
    }
    return head if key is None else head | {"key": key}
