"""Stored episodes: the world of every shipped scenario is today what it was (see `scripts.maintenance.golden`)."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.maintenance.golden import EPISODES, FOLDER, TOLERANCE, golden_episode


@pytest.mark.parametrize("name", EPISODES)
def test_episode_is_the_stored_one(name: str) -> None:
    now = golden_episode(name)
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as stored:
        assert sorted(stored.files) == sorted(now)
        for key, value in now.items():
            scale = TOLERANCE * float(np.abs(stored[key]).max(initial=1.0))
            hint = f"{name}, {key}: if the world is meant to change, run python -m scripts.maintenance.golden"
            np.testing.assert_allclose(value, stored[key], rtol=TOLERANCE, atol=scale, err_msg=hint)


def test_stored_episodes_are_small_and_have_content() -> None:
    files = list(FOLDER.glob("*.npz"))
    assert {file.stem for file in files} == set(EPISODES)
    assert sum(file.stat().st_size for file in files) < 200_000
    for file in files:
        with np.load(file, allow_pickle=False) as stored:
            assert np.abs(stored["terms_usd"]).sum(0)[:3].max() > 0.0
            assert stored["served_gpuh"].min() >= 0.0 and stored["served_gpuh"].max() > 0.0
