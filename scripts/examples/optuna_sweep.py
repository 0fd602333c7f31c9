"""Optuna searches settings of a training: each trial is a short run, judged on held-out episodes.

    python -m scripts.examples.optuna_sweep --scenario two_sites --trials 20 --steps 20000 --study sweep.db

A trial trains with settings that Optuna suggests and returns what its policy earns over serving at home, mean of the
held-out episodes (USD): the same episodes for all, never trained on. With ``--study`` the trials are kept in a file:
the same command goes on, also as several processes side by side. Prints each trial and the best settings, as options
of `scripts.train`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from scripts.examples.common import ExampleOptions, needed
from scripts.runs.arguments import Count
from scripts.runs.command import command

with needed():
    import optuna

    from agents.config import compiled_of, load_config
    from agents.training import environments, train
    from agents.training.validation import HeldOut
    from baselines.rules.single_signal import LocalOnly
    from gridai_env.benchmarks.published import validation_of
    from gridai_env.rollout.run import run_many


class SweepOptions(ExampleOptions):
    """Options of the search."""

    config: str = Field("configs/agents/ppo_mlp.yaml", description="settings that are not searched")
    steps: Count = Field(20_000, description="environment steps of a trial")
    trials: Count = Field(10, description="runs")
    episodes: Count = Field(8, description="held-out episodes that judge")
    study: str | None = Field(None, description="file of trials, to go on with; default: none is kept")


def earned_usd(trial: optuna.Trial, options: SweepOptions) -> float:
    """Train with settings that a trial suggests; return what the policy earns over Local-Only, USD an episode."""
    wanted = {
        "environment.scenario": options.scenario,
        "environment.days": "train",
        "evaluation.every_steps": options.steps,
        "total_steps": options.steps,
        "seed": options.seed,
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "epochs": trial.suggest_int("epochs", 1, 8),
        "initial_deviation": trial.suggest_float("initial_deviation", 0.05, 1.0, log=True),
        "gae_lambda": trial.suggest_float("gae_lambda", 0.8, 1.0),
    }
    config = load_config(options.config, wanted)
    judged = compiled_of(config, "validation")
    # With bounds, where the scenario has such a set.
    frozen = validation_of(judged.scenario, options.episodes)
    local = [] if frozen else run_many(LocalOnly(), environments.held_out_instances(judged, options.episodes))
    watched = HeldOut.published(frozen) if frozen else HeldOut.of(local)
    model = train.build(config, environments.make_training_env(config, compiled_of(config)))
    with TemporaryDirectory() as folder:
        evaluations = train.train(model, config, Path(folder), watched)
    assert evaluations is not None and evaluations.last is not None  # there are held-out episodes

    found = " ".join(f"{name}={value:.3g}" for name, value in trial.params.items())
    print(f"trial {trial.number}: {found}: {evaluations.last.line()}", flush=True)
    return evaluations.last.over_local_usd.value  # on the same episodes it ranks as the gain captured does


@command(SweepOptions)
def main(options: SweepOptions) -> int:
    """Search, print the trials and the best settings."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=f"{options.scenario}, {options.steps} steps",
        storage=None if options.study is None else f"sqlite:///{options.study}",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=options.seed),
    )
    study.optimize(lambda trial: earned_usd(trial, options), options.trials)
    best = " ".join(f"--{name} {value:.4g}" for name, value in study.best_params.items())
    print(f"best: python -m scripts.train --config {options.config} --scenario {options.scenario} {best}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
