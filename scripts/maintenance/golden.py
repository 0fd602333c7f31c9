"""Write the golden episodes that `tests/gridai_env/rollout/test_golden.py` compares with.

    python -m scripts.maintenance.golden            # all, into tests/golden
    python -m scripts.maintenance.golden two_sites

It says which arrays changed; those that agree but for rounding stay as they are.  Run it only when the world is
meant to change: the difference in the files is then part of the change, with a new version of the environments and
a line in the changelog.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import make_instance, stack
from gridai_env.world.terms import TERMS
from scripts.runs.command import CommandOptions, InputError, Shown, command

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "golden"
# Scenario and horizon in hours.
EPISODES = {
    "two_sites": 24.0,
    "microgrid_prosumer": 24.0,
    "energy_geography": 24.0,
    "four_markets": 36.0,
    "global": 36.0,
    "flexible_campus": 36.0,
    "demand_response": 36.0,
}
EXOGENOUS = (
    "buy_usd_per_mwh", "carbon_average_kg_per_mwh", "carbon_marginal_kg_per_mwh", "renewable_available_mw", "pue",
)  # fmt: skip
OUTCOME = ("emissions_average_kg", "emissions_marginal_kg", "water_l")
SEED = 7
TOLERANCE = 1e-9  # relative, of what is rounding


def golden_actions(steps: int, size: int) -> np.ndarray:
    """Return actions [T,A] that a generator of fixed seed draws; a third of the entries is 0."""
    rng = np.random.default_rng(SEED)
    actions = rng.uniform(-1.0, 1.0, (steps, size))
    return (actions * (rng.random((steps, size)) < 2.0 / 3.0)).astype(np.float32)


def golden_episode(name: str) -> dict[str, np.ndarray]:
    """Return inputs, flows, terms and states of each step of one episode, float64 [T,...]."""
    simulator = Simulator(stack([make_instance(name, seed=SEED, horizon_h=EPISODES[name])]))
    rows: list[dict[str, Any]] = []
    for action in golden_actions(simulator.steps, simulator.layout.size):
        exo = simulator.exogenous
        row: dict[str, Any] = {"arrivals_gpuh": exo.arrivals_gpuh.sum(-1)}
        row |= {name: getattr(exo, name) for name in EXOGENOUS}

        # The record of a step spans it: inputs from before, states from after.
        flows, outcome = simulator.step(action[None])
        row |= {
            "terms_usd": np.stack([outcome.terms_usd[term] for term in TERMS], axis=-1),
            "served_gpuh": flows.served_gpuh.sum((1, 2)),
            "dropped_gpuh": flows.dropped_gpuh.sum(-1),
            "started": flows.started.sum((-2, -1)),
            **{name: getattr(flows, name) for name in ("import_mw", "export_mw", "generation_mw")},
            "battery_mwh": simulator.state.battery_mwh,
            "backlog_gpuh": simulator.state.backlog_gpuh.sum(-1),
            **{name: getattr(outcome, name) for name in OUTCOME},
        }
        rows.append(row)

    return {key: np.stack([np.asarray(row[key])[0] for row in rows]) for key in rows[0]}


class GoldenOptions(CommandOptions):
    """Which files are written."""

    scenarios: Annotated[list[str], Shown(names=("scenarios",), nargs="*")] = Field(
        [], description=f"of {', '.join(EPISODES)}; default: all"
    )


@command(GoldenOptions)
def main(options: GoldenOptions) -> int:
    """Write the files."""
    for name in options.scenarios:
        if name not in EPISODES:
            raise InputError(f"scenario {name!r}: must be one of {', '.join(EPISODES)}")

    FOLDER.mkdir(exist_ok=True)
    for name in options.scenarios or EPISODES:
        path = FOLDER / f"{name}.npz"
        stored = read_stored(path) if path.exists() else {}
        now = golden_episode(name)
        changed = [key for key, value in now.items() if key not in stored or not is_same(value, stored[key])]
        # Another processor rounds otherwise: what did not change stays as it was, to the bit.
        kept = {key: value if key in changed else stored[key] for key, value in now.items()}

        np.savez_compressed(path, allow_pickle=False, **kept)
        print(f"{path}: {path.stat().st_size / 1000:.1f} kB, changed: {', '.join(changed) or 'nothing'}")
    return 0


def read_stored(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a golden episode."""
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def is_same(now: np.ndarray, stored: np.ndarray) -> bool:
    """Return whether two arrays agree but for rounding."""
    scale = TOLERANCE * float(np.abs(stored).max(initial=1.0))
    return now.shape == stored.shape and np.allclose(now, stored, rtol=TOLERANCE, atol=scale)


if __name__ == "__main__":
    raise SystemExit(main())
