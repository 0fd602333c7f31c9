"""Compiled steps show the quantity of the constraint: one library, its weights are inputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gridai_env.envs.vector_env import GridAIVectorEnv
from tests.support import measured_days as days

pytest.importorskip("torch", reason="the first compilation needs torch (extra rl)")
pytestmark = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++")), reason="no C++ compiler on this machine"
)


@pytest.mark.parametrize("quantity", ["line_excess_mwh", "carbon_excess_kg", "dropped_gpuh"])
def test_compiled_steps_show_the_cost(quantity: str, tmp_path: Path) -> None:
    envs = GridAIVectorEnv(2, scenario=days.scenario_data(tmp_path, quantity), compile=True)
    wanted = np.stack([days.costs(quantity)] * 2, 1)
    assert days.costs_of_batch(envs) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
