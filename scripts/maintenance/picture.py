"""Draw the picture of the README: one hour of the optimum of an episode, as the environment renders it.

python -m scripts.maintenance.picture                        # docs/images/optimal_hour.png, about two minutes
python -m scripts.maintenance.picture --scenario two_sites --hour 18 --out hour.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from baselines.optimum.milp import solve
from gridai_env import GridAIEnv, make_instance
from scripts.runs.arguments import SCENARIO_HELP, Count
from scripts.runs.command import InputError, Options, run_command

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "optimal_hour.png"


class PictureOptions(Options):
    """Which hour of which episode is drawn."""

    scenario: str = Field("global", description=SCENARIO_HELP)
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the episode")
    hours: Annotated[float, Field(gt=0)] = Field(48.0, description="length of the episode")
    hour: Count = Field(20, description="step that is shown, from 1")
    out: Path = Field(PICTURE, description="PNG file")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(PictureOptions, draw, words)


def draw(options: PictureOptions) -> int:
    """Solve the episode, play its plan up to the hour and write the picture."""
    instance = make_instance(options.scenario, seed=options.seed, horizon_h=options.hours)
    if not 1 <= options.hour <= instance.compiled.shape.steps:
        raise InputError(f"--hour {options.hour}: must be from 1 to {instance.compiled.shape.steps}")
    plan = solve(instance, mip_gap=0.001, time_limit_s=600)
    if plan.actions is None:
        raise InputError("no plan was found within 600 s: shorten the episode with --hours")

    env = GridAIEnv(instance=instance, scenario=None, render_mode="rgb_array")
    env.reset()
    for action in plan.actions[: options.hour]:
        env.step(action)
    _write(options.out, env)
    print(options.out)
    return 0


def _write(path: Path, env: GridAIEnv) -> None:
    """Write the frame as a PNG with a palette: flat colours need no more, and the file is a third of the size."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(env.render())).quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())
