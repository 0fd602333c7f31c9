"""The hash of an instance covers all that an episode shows or is played with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridai_env.episodes.instance import RECORDS, make_batch
from tests.support.small_scenario import small


def test_every_array_of_every_record_counts() -> None:
    instance = make_batch(small(horizon_h=12.0, jobs=[], events=[]), [3])[0]
    counted = set(instance.arrays())
    for group in RECORDS:
        record = getattr(instance, group)
        for name in record.names():
            assert f"{group}/{name}" in counted
            value = np.array(getattr(record, name))
            if value.size and value.dtype.kind == "f":
                value.flat[0] += 1.0
                changed = replace(instance, **{group: record.replace(**{name: value})})
                assert changed.hash != instance.hash, f"{group}/{name}"
