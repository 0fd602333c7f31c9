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


class CannotBuild(Exception):
    """There is no way to a library here; the message says why in a line."""


@lru_cache(maxsize=1)
def compiler() -> str:
    """Return the path of a C++ compiler ($CXX, g++ or clang++); raises CannotBuild where there is none."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise CannotBuild("no C++ compiler (g++ or clang++, or $CXX) was found")


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

    ``make`` returns C++ and notes for JSON; ``optimise`` is one more flag.  Raise CannotBuild where it cannot be built.
    """
    name = hashlib.sha256(f"{key}\n{optimise}\n{machine()}".encode()).hexdigest()[:24]
    kept = _loaded(cache_folder() / name)
    if kept is not None:
        return kept

    text, notes = make()
    with tempfile.TemporaryDirectory() as temporary:
        built = _compiled(text, Path(temporary), optimise)
        folder = _writable(cache_folder()) or Path(temporary)
        noted = {"sha256": hashlib.sha256(built).hexdigest(), "notes": notes}
        for end, content in ((".so", built), (".json", json.dumps(noted).encode())):
            with atomic_write(folder / f"{name}{end}") as path:
                path.write_bytes(content)
        found = _loaded(folder / name)
    if found is None:
        raise CannotBuild(f"the library {folder / name}.so cannot be loaded after it was built")
    return found


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


def _writable(folder: Path) -> Path | None:
    """Return the folder, made where it is missing; None where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def _compiled(text: str, folder: Path, optimise: str) -> bytes:
    """Return the library of a C++ text."""
    source, target = folder / "kernel.cpp", folder / "kernel.so"
    source.write_text(text)
    done = subprocess.run(
        [compiler(), optimise, *FLAGS, str(source), "-o", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
        raise CannotBuild(f"{compiler()} failed: {first}")
    return target.read_bytes()
