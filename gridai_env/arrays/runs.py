"""Runs of True in a row."""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Int, Ints


def runs_of_true(mask: Bool[Bools, " N"]) -> Int[Ints, "runs 2"]:
    """Return the first index of each run of True and the one after its last, in order."""
    return np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
