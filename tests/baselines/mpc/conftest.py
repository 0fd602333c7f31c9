"""Episodes that the tests of planners share."""

from __future__ import annotations

import pytest

from gridai_env import make_instance
from gridai_env.episodes.instance import Instance, make_batch
from tests.support.small_scenario import small


@pytest.fixture(scope="module")
def day() -> Instance:
    return make_instance("two_sites", seed=1003)


@pytest.fixture(scope="module")
def with_everything() -> Instance:
    """Jobs, generator, battery, budget, demand charge, faults, 48 h."""
    return make_batch(small(), [1004])[0]
