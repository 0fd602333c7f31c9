"""What is printed of episodes and trajectories: a few lines that say what it is."""

import pytest

from baselines.rules import REGISTRY
from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.rollout.run import run

MOST_LINES, WIDEST = 6, 160


def _is_short(text: str) -> bool:
    lines = text.splitlines()
    return 1 < len(lines) <= MOST_LINES and max(map(len, lines)) <= WIDEST


@pytest.mark.parametrize("name", ["two_sites", "global"])
def test_episodes_and_trajectories_print_in_a_few_lines(name: str) -> None:
    instance = make_instance(name, seed=3, horizon_h=5.0)
    played = run(REGISTRY["local_only"](), instance)
    batch = make_batch(instance.compiled, range(9))
    for printed in (instance, played, batch):
        text = str(printed)
        assert _is_short(text), text
        assert text == repr(printed)
        assert f"{name}, seed {instance.seed}" in text
        assert str(instance.start_utc) in text
    assert instance.hash in str(instance)
    assert f"bill {played.bill_usd:,.2f} USD" in str(played)
    assert "9 episodes" in str(batch)
    assert "and 5 more" in str(batch)
    assert "arrivals_gpuh [5, " in str(instance.exogenous)
    assert len(repr(instance.compiled)) <= 2 * WIDEST
