"""Train PPO on a scenario.

    python -m scripts.train --config configs/agents/ppo.yaml --scenario two_sites --run-dir runs/demo
    python -m scripts.train --config configs/agents/ppo_mlp.yaml --learning_rate 1e-4 --hidden 128 128
    python -m scripts.train --resume runs/demo --total_steps 3000000

Every key of the configuration is an option, groups with a dot, lists space-separated; ``--keys`` lists them
all. The run folder gets run.json, bounds.json (proven bounds of the held-out episodes), checkpoints/,
model.zip and TensorBoard events (rollout/, train/ and eval/: benefit, bill, emissions, served share, gap,
gain captured, terms).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from agents.config import ConfigError, PPOConfig, load_config, parse_overrides
from scripts.runs.command import InputError, run_command
from scripts.studies.training import _require, _resume, _start


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments, overrides = _parser().parse_known_args(words)
    return run_command(lambda: _checked(arguments, overrides))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", help="YAML file of settings, e.g. configs/agents/ppo.yaml; default: built-in values"
    )
    parser.add_argument("--scenario", help="name or file; short for --environment.scenario")
    parser.add_argument("--traces", help="trace file or 'synthetic'; short for --environment.traces")
    parser.add_argument("--run-dir", help="run folder; default: runs/train-<scenario>-<time>")
    parser.add_argument("--resume", metavar="RUN_DIR", help="go on with a run from its last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that is in --run-dir")
    parser.add_argument("--no-bounds", action="store_true", help="do not solve the held-out episodes")
    parser.add_argument("--no-evaluation", action="store_true", help="train only")
    parser.add_argument("--keys", action="store_true", help="list all settings with their defaults, and stop")
    return parser


def _checked(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    if arguments.keys:
        print(describe(PPOConfig()))
        return 0
    _require("stable_baselines3", "torch", "tensorboard", "tqdm", extra="rl")
    from agents.networks.checkpoint import CheckpointError
    from agents.training.failures import TrainingError

    try:
        overrides = _overrides(arguments, words)
        if arguments.resume is not None:
            return _resume(arguments, overrides)
        return _start(arguments, load_config(arguments.config, overrides))
    except (ConfigError, CheckpointError, TrainingError) as error:
        raise InputError(str(error)) from error


def _overrides(arguments: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """Settings given on the command line, by dotted key."""
    overrides = parse_overrides(words)
    if arguments.scenario is not None:
        overrides["environment.scenario"] = arguments.scenario
    if arguments.traces is not None:
        overrides["environment.traces"] = arguments.traces
    if arguments.no_bounds:
        overrides["evaluation.bounds"] = False
    return overrides


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
    sys.exit(main())
