"""Inputs with faults of all kinds, from a seed: values that do not belong, keys and rows gone, bytes turned."""

from __future__ import annotations

import copy
import io
import random
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gridai_env.benchmarks.sets import BenchmarkError
from gridai_env.files import InstanceError
from gridai_env.scenario.errors import ScenarioError
from gridai_env.traces import TraceError
from scripts.runs.command import InputError

# What a user may see; anything else is a fault of the program.
CLEAR = (InputError, ScenarioError, TraceError, InstanceError, BenchmarkError, OSError)

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, 1e-300, 1e300, -1e300, 1e-9, 1e9, 10**30, float("nan"), float("inf"), "", " ",
    "x", "NO", "nan", "\x00", "é" * 50, "1e3", "2023-02-30", "2023-07-01", "synthetic", "../..", "/", "/dev/null",
    [], {}, [[]], [None], [1, 2], {"a": 1}, [{}], "a,b=c", "0" * 5000,
)  # fmt: skip
SIZES = (0, 0.25, 0.5, 2, 3, 10, 1e-3, 1e-9, 1e-300, 1e3, 1e6, 1e12, 1e100, 1e300, -1)
BYTES = (b"", b"\x00", b"\xff\xfe", b"\n", b",", b";", b'"', b"'", b"[", b"{", b": ", b"&a ", b"*a", b"nan", b"1e999",
         b"-", b"\t", b"\r", b"9" * 400, b"\xe2\x80\xa8", b"null", b"!!int ", b"Z", b"+25:00")  # fmt: skip


class Slow(Exception):
    """A call that took too long."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise Slow in the main thread after some seconds."""

    def stop(*_: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def changed_tree(rng: random.Random, tree: Any) -> Any:
    """Return nested tables and lists with one to three faults, half of them numbers of another size alone."""
    tree, mild = copy.deepcopy(tree), rng.random() < 0.5
    for _ in range(rng.randint(1, 3)):
        node = tree
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            below = node[key]
            if not (isinstance(below, dict | list) and below) or rng.random() < 0.15:
                is_number = isinstance(below, int | float) and not isinstance(below, bool)
                if is_number and mild:
                    node[key] = below * rng.choice(SIZES)
                elif not mild:
                    _change(rng, node, key)
                break
            node = below
    return tree


def _change(rng: random.Random, node: Any, key: Any) -> None:
    kind = rng.random()
    if kind < 0.12:
        del node[key]
    elif kind < 0.2 and isinstance(node, dict):
        node[rng.choice(["x", key + "s", key[:-1], "name"])] = node[key]
    elif kind < 0.3 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    else:
        node[key] = rng.choice(ODD)


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return a file with one to four places changed, doubled, or cut."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([0, 0, 1, 1, 3, 20]))
        kind = rng.random()
        if kind < 0.05:
            data = data[:at]
        elif kind < 0.15:
            lines = data.splitlines(keepends=True)
            i = rng.randrange(len(lines) + 1)
            data = b"".join([*lines[:i], *lines[max(i - 1, 0) : i], *lines[i + rng.randint(0, 1) :]])
        elif kind < 0.4 and data:
            data = data[:at] + bytes([rng.randrange(256)]) + data[min(at + 1, len(data)) :]
        else:
            data = data[:at] + rng.choice(BYTES) + data[end:]
    return data


def changed_words(rng: random.Random, words: list[str]) -> list[str]:
    """Return words of a command line with one or two faults."""
    words = list(words)
    for _ in range(rng.randint(1, 2)):
        i = rng.randrange(len(words) + 1)
        kind = rng.random()
        odd = str(rng.choice([value for value in ODD if "\x00" not in str(value)]))
        if kind < 0.2 and words:
            del words[min(i, len(words) - 1)]
        elif kind < 0.4:
            words.insert(i, odd)
        elif words:
            words[min(i, len(words) - 1)] = odd
    return words


def repacked(rng: random.Random, archive: bytes) -> bytes:
    """Return a zip archive in which one member is changed, or whose bytes are."""
    if rng.random() < 0.5:
        return changed_bytes(rng, archive)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        victim = rng.choice(old.namelist())
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, changed_bytes(rng, data) if name == victim else data)
    return out.getvalue()


def faults_of(call: Callable[[random.Random], object], seeds: range, seconds: float = 20.0) -> dict[int, str]:
    """Return what each seed raised that no user should see, with the last frame of it."""
    import traceback

    found: dict[int, str] = {}
    for seed in seeds:
        try:
            with at_most(seconds):
                call(random.Random(seed))
        except CLEAR:
            continue
        except (Exception, RecursionError, MemoryError) as error:  # noqa: BLE001
            frame = traceback.extract_tb(error.__traceback__)[-1]
            found[seed] = f"{type(error).__name__}: {str(error)[:200]} ({frame.filename}:{frame.lineno})"
    return found
