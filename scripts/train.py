"""Train PPO on a scenario.

    python -m scripts.train --config configs/agents/ppo.yaml --scenario two_sites --run-dir runs/demo
    python -m scripts.train --config configs/agents/ppo_mlp.yaml --learning_rate 1e-4 --hidden 128 128
    python -m scripts.train --resume runs/demo --total_steps 3000000

Every key of the configuration is an option, groups with a dot, lists space-separated; ``--keys`` lists them all, among
them your own code (``--callbacks``, ``--reward-wrapper``: py:module:Factory) and ``--wandb PROJECT``. The run folder
gets run.json, bounds.json (proven bounds of the held-out episodes), checkpoints/, model.zip and TensorBoard events
(eval/: benefit, bill, emissions, served share, gap, gain captured; rollout/; terms/ in USD on the held-out episodes;
train/), with all figures also in progress.csv.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agents.config import ConfigError, PPOConfig, load_config, parse_overrides
from scripts.runs.command import CommandOptions, InputError, Shown, need_packages, run_command


class TrainOptions(CommandOptions):
    """The options of `scripts.train` besides the settings of `PPOConfig`."""

    config: str | None = Field(
        None, description="YAML file of settings, e.g. configs/agents/ppo.yaml; default: built-in values"
    )
    scenario: str | None = Field(None, description="name or file; short for --environment.scenario")
    traces: str | None = Field(None, description="trace file or 'synthetic'; short for --environment.traces")
    run_dir: str | None = Field(None, description="run folder; default: runs/train-<scenario>-<time>")
    resume: Annotated[str | None, Shown(metavar="RUN_DIR")] = Field(
        None, description="go on with a run from its last checkpoint"
    )
    overwrite: bool = Field(False, description="replace the run that is in --run-dir")
    no_bounds: bool = Field(False, description="do not solve the held-out episodes")
    no_evaluation: bool = Field(False, description="train only")
    keys: bool = Field(False, description="list all settings with their defaults, and stop")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    own, settings = split_words(sys.argv[1:] if words is None else words)
    return run_command(TrainOptions, lambda options: train(options, settings), own)


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of the command's own options, and those of settings by dotted key."""
    known = {"help", *(name.replace("_", "-") for name in TrainOptions.model_fields)}
    own: list[str] = []
    settings: list[str] = []
    target = own

    # Values follow their option, whoever it belongs to.
    for word in words:
        if word.startswith("-"):
            is_own = word == "-h" or word.removeprefix("--").partition("=")[0] in known
            target = own if is_own else settings
        target.append(word)
    return own, settings


def train(options: TrainOptions, words: Sequence[str]) -> int:
    """Check everything, then start a run or go on with one."""
    if options.keys:
        print(describe(PPOConfig()))
        return 0

    need_packages("stable_baselines3", "torch", "tensorboard", "tqdm")
    from agents.networks.checkpoint import CheckpointError
    from agents.training.failures import TrainingError
    from scripts.studies.training import resume, start

    try:
        overrides = _overrides(options, words)
        if options.resume is not None:
            return resume(_folder_to_resume(options, options.resume), overrides, not options.no_evaluation)
        config = load_config(options.config, overrides)
        return start(config, options.run_dir, options.overwrite, not options.no_evaluation)
    except (ConfigError, CheckpointError, TrainingError) as error:
        raise InputError(str(error)) from error


def _folder_to_resume(options: TrainOptions, folder: str) -> Path:
    """Return the folder of the run to go on with; raises InputError for options that belong to a new run."""
    elsewhere = options.run_dir is not None and Path(options.run_dir) != Path(folder)
    if options.config is not None or elsewhere:
        raise InputError(
            "--resume goes on in the folder and with the settings of its run; leave out --config, --run-dir"
        )
    return Path(folder)


def _overrides(options: TrainOptions, words: Sequence[str]) -> dict[str, Any]:
    """Return the settings given on the command line, by dotted key."""
    short: dict[str, Any] = {"environment.scenario": options.scenario, "environment.traces": options.traces}
    if options.no_bounds:
        short["evaluation.bounds"] = False
    return parse_overrides(words) | {key: value for key, value in short.items() if value is not None}


def describe(config: Any, prefix: str = "") -> str:
    """Return one line for each setting: key, value and what it does."""
    lines = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if hasattr(value, "model_fields_set"):
            lines.append(describe(value, f"{prefix}{name}."))
        else:
            lines.append(f"--{prefix}{name:<{max(34 - len(prefix), 1)}} {value!s:<14} {field.description}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
