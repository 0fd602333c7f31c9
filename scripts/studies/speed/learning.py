"""Speed of PPO with its updates: on the device, and as plain Stable-Baselines3 does it.

Same scenario, network and settings.  Plain PPO is measured in each way that it has to run this environment: on the
NumPy batch, and on the torch batch, which then hands out arrays; ours is compared with the fastest of them.  All take
turns, so that a machine that is busy for a while slows each of them, and play as many steps as an episode has, so that
each begins equally many episodes.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.studies.speed.measure import Figure, spread_of
from scripts.studies.speed.setting import Setting, seconds, settings_of

NUMPY, EAGER, COMPILED = "NumPy batch", "torch batch", "compiled torch batch"
OURS, PLAIN = "device_ppo", "ppo"
TITLES = {OURS: "FourMarkets PPO", PLAIN: "FourMarkets plain SB3 PPO"}


@dataclass(frozen=True)
class Way:
    """One way to learn: which algorithm, on which batch."""

    algorithm: str
    batch: str


def ways(compiled: bool) -> list[Way]:
    """Return ours, then those of plain PPO."""
    batches = [EAGER, COMPILED] if compiled else [EAGER]
    return [*(Way(OURS, batch) for batch in batches), *(Way(PLAIN, batch) for batch in (NUMPY, *batches))]


def learning_figures(setting: Setting) -> Iterator[Figure]:
    """Yield environment-steps per second of PPO with its updates, and the ratio to plain Stable-Baselines3."""
    models = {way: warm(setting, way) for way in ways(setting.compiled)}
    speeds: dict[Way, list[float]] = {way: [] for way in models}
    for _ in range(setting.repetitions):
        for way, model in models.items():
            speeds[way].append(_speed(model, setting))

    best = {name: fastest(speeds, name) for name in (OURS, PLAIN)}
    for way, found in speeds.items():
        model = models[way]
        where = setting.kind if way in best.values() else f"{setting.kind}, {way.batch}"
        passes = f"{model.n_epochs} passes in batches of {model.batch_size:,}"
        note = setting.note(model.n_envs, f"{way.batch}, {passes}; {spread_of(found)}")
        yield Figure(f"{TITLES[way.algorithm]}, {where}", statistics.median(found), "env-steps/s", note)

    gains = [mine / plain for mine, plain in zip(speeds[best[OURS]], speeds[best[PLAIN]], strict=True)]
    note = f"each in its fastest way: {best[OURS].batch}, {best[PLAIN].batch}; {spread_of(gains)}"
    name = f"FourMarkets PPO over plain SB3, {setting.kind}"
    yield Figure(name, statistics.median(gains), "1", note)


def fastest(speeds: dict[Way, list[float]], algorithm: str) -> Way:
    """Return the way of an algorithm whose median speed is highest."""
    own = {way: statistics.median(found) for way, found in speeds.items() if way.algorithm == algorithm}
    return max(own, key=own.__getitem__)


def warm(setting: Setting, way: Way) -> Any:
    """Return a model after its first update, so that compilation is over."""
    from agents.config import compiled_of
    from agents.training.environments import make_training_env
    from agents.training.train import build

    config = settings_of(setting, way.algorithm, compile=way.batch == COMPILED)
    world = config.model_copy(update={"algorithm": PLAIN if way.batch == NUMPY else OURS})
    model = build(config, make_training_env(world, compiled_of(config)))
    model.learn(model.n_steps * model.n_envs)
    return model


def _speed(model: Any, setting: Setting) -> float:
    """Return environment-steps per second over as many steps as an episode has."""
    updates = -(-model.env.env.compiled.shape.steps // model.n_steps)
    steps = updates * model.n_steps * model.n_envs
    return steps / seconds(lambda: model.learn(steps, reset_num_timesteps=False), setting.device)
