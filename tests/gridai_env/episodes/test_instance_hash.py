"""The hash of an instance covers all that an episode shows or is played with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gridai_env.episodes.instance import RECORDS, make_batch
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import OPTIONAL
from tests.support.small_scenario import flexible, small


@pytest.mark.parametrize("world", [small, flexible])
def test_every_array_of_every_record_counts(world: Callable[..., Compiled]) -> None:
    instance = make_batch(world(horizon_h=12.0, jobs=[], events=[]), [3])[0]
    counted = set(instance.arrays())
    for group in RECORDS:
        record = getattr(instance, group)
        for name in record.names():
            value = np.array(getattr(record, name))
            # What a scenario lacks counts for nothing, so that its episodes stay those of earlier versions.
            assert (f"{group}/{name}" in counted) == (name not in OPTIONAL or value.size > 0)
            if value.size and value.dtype.kind == "f":
                value.flat[0] += 1.0
                changed = replace(instance, **{group: record.replace(**{name: value})})
                assert changed.hash != instance.hash, f"{group}/{name}"
