"""Settings of the whole suite: threads, headless plots, hypothesis profiles, the folder of real data."""

import os

# Before NumPy or torch is loaded: no screen, and one thread per process (spinning threads cost time).
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# `ci`: the same examples on every machine, and no verdict that depends on how fast the machine is.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# `fault`: the code is known to be broken; that a test fails counts, not the smallest example that fails.
settings.register_profile("fault", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
# `thorough`: fresh random examples each time (HYPOTHESIS_PROFILE=thorough make test).
settings.register_profile(
    "thorough",
    max_examples=1000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of this test run that all its processes see."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if hasattr(request.config, "workerinput") else root


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real traces, named by GRIDAI_DATA_DIR; the test is skipped where the variable is not set."""
    name = os.environ.get("GRIDAI_DATA_DIR")
    if not name:
        pytest.skip("real data: GRIDAI_DATA_DIR is not set")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"GRIDAI_DATA_DIR={name!r} is not a folder")
    return folder
