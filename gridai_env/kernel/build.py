"""Build C++ to a library that is kept in the user's cache folder, and load it.

What it is kept under says all that it depends on; a library that is damaged is built anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from gridai_env.files import atomic_write

# Strict aliasing gives wrong results where memory is used again; contracted products round unlike others.
FLAGS = (
    "-march=native", "-shared", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno",
    "-fno-trapping-math", "-Wno-psabi",
)  # fmt: skip


LIBRARY = "kernel.so"
_here: dict[Path, tuple[ctypes.CDLL, Any]] = {}  # what this process has loaded


class CannotBuild(Exception):
    """There is no way to a library here; the message says why in a line."""


@lru_cache(maxsize=1)
def compiler() -> str:
    """Return the path of a C++ compiler (that of $CXX, else g++ or clang++); raises CannotBuild where there is none."""
    given = os.environ.get("CXX")
    for name in [given] if given else ["g++", "clang++"]:
        if found := shutil.which(name):
            return found
    if given:
        raise CannotBuild(
            f"CXX = {given!r} is no program; name a C++ compiler, or unset it for g++ or clang++"
        )
    raise CannotBuild("no C++ compiler was found; install g++ or clang++, or name one in $CXX")


@lru_cache(maxsize=1)
def machine() -> str:
    """Return what a library for this processor depends on: compiler, flags, instructions."""
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False).stdout
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else [platform.processor()]
    able = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return "\n".join([version.partition("\n")[0], *FLAGS, platform.machine(), able])


def cache_folder() -> Path:
    """Return where libraries are kept; $GRIDAI_CACHE_DIR, or the user's cache folder."""
    given = os.environ.get("GRIDAI_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("gridai_env")


def library(key: str, make: Callable[[], tuple[str, Any]], optimise: str) -> tuple[ctypes.CDLL, Any]:
    """Return the library kept under ``key``, and what was noted about it; else build what ``make`` writes.

    ``make`` returns C++ and notes for JSON; ``optimise`` is one more flag.  Raise CannotBuild where it cannot be built;
    warn where it cannot be kept.
    """
    name = hashlib.sha256(f"{key}\n{optimise}\n{machine()}".encode()).hexdigest()[:24]
    path = cache_folder() / name
    if path not in _here:
        _here[path] = _loaded(path) or _built(path, *make(), optimise)
    return _here[path]


def _built(path: Path, text: str, notes: Any, optimise: str) -> tuple[ctypes.CDLL, Any]:
    """Return a library after it was built, and keep it at ``path``."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            built = _compiled(text, Path(temporary), optimise)
            found = ctypes.CDLL(str(Path(temporary) / LIBRARY))
    except OSError as error:
        raise CannotBuild(
            f"a library cannot be made or loaded ({error}); look at $TMPDIR and its space"
        ) from error

    noted = {"sha256": hashlib.sha256(built).hexdigest(), "notes": notes}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for end, content in ((".so", built), (".json", json.dumps(noted).encode())):
            with atomic_write(path.with_suffix(end)) as partial:
                partial.write_bytes(content)
    except OSError as error:
        warnings.warn(
            f"compiled steps cannot be kept in {path.parent} ({error.strerror}), so that each process compiles anew; "
            "set GRIDAI_CACHE_DIR to a folder that can be written to",
            stacklevel=2,
        )
    return found, notes


def _loaded(path: Path) -> tuple[ctypes.CDLL, Any] | None:
    """Return a library and its notes; None where they are not there, or not as they were written."""
    files = path.with_suffix(".so"), path.with_suffix(".json")
    try:
        noted = json.loads(files[1].read_text())
        if hashlib.sha256(files[0].read_bytes()).hexdigest() == noted["sha256"]:
            return ctypes.CDLL(str(files[0])), noted["notes"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # built anew
    return None


def _compiled(text: str, folder: Path, optimise: str) -> bytes:
    """Return the library of a C++ text."""
    source, target = folder / "kernel.cpp", folder / LIBRARY
    source.write_text(text)
    done = subprocess.run(
        [compiler(), optimise, *FLAGS, str(source), "-o", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.splitlines() or ["it said nothing"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise CannotBuild(f"{compiler()} failed: {first}; $CXX chooses another compiler")
    return target.read_bytes()
