"""Draw the picture of the README: one hour of the optimum of an episode, as the environment renders it.

python -m scripts.maintenance.picture                        # docs/images/optimal_hour.png, half a minute
python -m scripts.maintenance.picture --scenario two_sites --hours 24 --step 18 --out hour.png
"""

from pathlib import Path

import numpy as np
from pydantic import Field

from baselines.optimum.milp import solve
from gridai_env import GridAIEnv, make_instance
from scripts.runs.command import CommandOptions, File, InputError, command

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "optimal_hour.png"
COLOURS = 128  # of the PNG's palette: flat colours need no more, and the file is a third of the size


class PictureOptions(CommandOptions):
    """Which hour of which episode."""

    scenario: str = Field("global", description="name or file of a scenario")
    seed: int = Field(0, ge=0, description="seed of the episode")
    hours: float = Field(48.0, gt=0, description="length of the episode")
    step: int = Field(20, ge=1, description="step that is shown, counted from 1")
    out: File = Field(str(PICTURE), description="PNG file")


@command(PictureOptions)
def main(options: PictureOptions) -> int:
    """Solve the episode, play its plan up to the step and write the picture."""
    instance = make_instance(options.scenario, seed=options.seed, horizon_h=options.hours)
    if options.step > instance.steps:
        raise InputError(f"--step {options.step}: the episode has {instance.steps} steps")
    plan = solve(instance, mip_gap=0.001, time_limit_s=600)
    if plan.actions is None:
        raise InputError("no plan was found within 600 s: shorten the episode with --hours")

    env = GridAIEnv(instance=instance, scenario=None, render_mode="rgb_array")
    env.reset()
    for action in plan.actions[: options.step]:
        env.step(action)
    write_frame(Path(options.out), np.asarray(env.render()))
    print(options.out)
    return 0


def write_frame(path: Path, frame: np.ndarray) -> None:
    """Write a frame [height, width, 3] as a PNG with a palette."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())
