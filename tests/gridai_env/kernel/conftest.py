"""Kernels of tests: in a folder of this test run, most of them built in less time than they would be for use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridai_env.envs import step_kernel
from gridai_env.kernel import build
from tests.support.kernels import BATCHES


@pytest.fixture(autouse=True)
def _cache(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Libraries that all processes of the test run share, built without optimisation."""
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(shared_dir / "kernels"))
    monkeypatch.setattr(step_kernel, "OPTIMISE", dict.fromkeys(BATCHES, "-O0"))
    for cached in (build.compiler, build.machine, step_kernel._say):
        cached.cache_clear()
    build._here.clear()
    yield
    for cached in (build.compiler, build.machine, step_kernel._say):
        cached.cache_clear()
    build._here.clear()
