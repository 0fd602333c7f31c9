"""Kernels of tests: in a folder of this session, built in less time than they would be for use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gridai_env.envs import step_kernel
from gridai_env.kernel import build
from tests.support.kernels import BATCHES


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Libraries of this session, built in less time than they would be for use."""
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "kernels"))
    monkeypatch.setattr(step_kernel, "OPTIMISE", dict.fromkeys(BATCHES, "-O1"))
    for cached in (build.compiler, build.machine, step_kernel._say):
        cached.cache_clear()
    build._here.clear()
    yield
    for cached in (build.compiler, build.machine, step_kernel._say):
        cached.cache_clear()
    build._here.clear()
