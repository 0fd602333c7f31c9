"""The settings of a training run: a YAML file whose keys are the fields below, with overrides from the command line.

Every field has a description.  Unknown keys are refused with the closest known one; the resolved settings are saved
next to every run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from gridai_env.benchmarks.sets import BenchmarkError, Part, training_days
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.errors import from_pydantic
from gridai_env.scenario.load import load_scenario, located
from gridai_env.scenario.paths import SourcePath, absolute_demand
from gridai_env.scenario.spec import Scenario
from gridai_env.scenario.values import ForecastKind, NonNegative, Positive, Share, StrictModel

Count = Annotated[int, Field(ge=1)]


class ConfigError(ValueError):
    """Settings that cannot be used; the message names file, key, value, allowed range and what to do."""


class EnvironmentConfig(StrictModel):
    """The world that the agent is trained in; null leaves a value as the scenario file has it.

    Paths count from the working folder, as those of a command line do, and are stored absolute.
    """

    scenario: Annotated[str, AfterValidator(located)] = Field(
        "two_sites", description="name of a shipped scenario or path of a scenario file"
    )
    traces: SourcePath | None = Field(None, description="'synthetic' or a trace file")
    demand: Annotated[str, AfterValidator(absolute_demand)] | None = Field(
        None, description="'synthetic' or FILE[,KEY=VALUE...] whose shape demand follows"
    )
    horizon_h: Positive | None = Field(None, description="length of an episode in hours")
    forecast: ForecastKind | None = Field(None, description="kind of forecast")
    latency_scale: Positive | None = Field(None, description="factor on all latency budgets")
    carbon_price_usd_per_t: NonNegative | None = Field(None, description="price of emissions")
    days: Literal["all", "train"] = Field(
        "all",
        description="'train': only the days that the scenario's benchmark trains on (all days where it has none); "
        "progress is then measured on its validation episodes, whose bounds are published",
    )

    benchmarks: SourcePath | None = Field(
        None,
        description="folder of own benchmarks, as scripts.maintenance.freeze makes them; null: the shipped ones",
    )

    @property
    def benchmark_folder(self) -> Path | None:
        """Folder of the benchmarks; None for the shipped ones."""
        return Path(self.benchmarks) if self.benchmarks else None

    def overrides(self) -> dict[str, Any]:
        """Return what `gridai_env.scenario.load.load_scenario` takes besides the name."""
        given = self.model_dump(exclude={"scenario", "days", "benchmarks"})
        return {key: value for key, value in given.items() if value is not None}


class EvaluationConfig(StrictModel):
    """How progress is measured: on the same held-out episodes each time, without exploration noise."""

    every_steps: Count = Field(100_000, description="environment steps between two evaluations")
    instances: Count = Field(24, description="number of held-out episodes")
    bounds: bool = Field(True, description="solve each held-out episode once, so that gap and gain are known")
    keep: Literal["last", "best"] = Field(
        "last",
        description="which weights model.zip holds: those after the last update, or those that earned most on the "
        "held-out episodes in the evaluations on the way (the one before training included; "
        "without evaluation, the last)",
    )
    bound_mip_gap: Share = Field(1e-3, description="relative gap at which the solver may stop")
    bound_time_limit_s: Positive = Field(
        30.0, description="per episode; the bound holds also when it runs out"
    )


class CalibrationConfig(StrictModel):
    """A search for the parameters of a structured policy's rule; off with 0 rounds."""

    rounds: Annotated[int, Field(ge=0)] = Field(
        0, description="passes over the numbers; steps halve between them"
    )
    steps: Count = Field(3072, description="environment steps of the training episodes that each try plays")


class ImitationConfig(StrictModel):
    """Imitation of plans before the algorithm begins; off without ``data`` and ``teacher``.

    With a teacher the network is cloned from what the teacher does, then plays itself while the teacher says what it
    would have done in the states met (DAgger), and is cloned again from all labels.
    """

    data: SourcePath | None = Field(
        None, description="folder of demonstrations to imitate first; null: the teacher plays first"
    )
    teacher: str | None = Field(
        None,
        description="planner or rule that labels: mpc:own, mpc:perfect (optimal plans), greedy, ...; null: none",
    )
    window_h: Positive = Field(24.0, description="hours that a planner looks ahead")
    rounds: Annotated[int, Field(ge=0)] = Field(
        3, description="how often the network plays and the teacher labels, after the first cloning"
    )
    episodes: Count = Field(64, description="labelled in each round, and in the first cloning")
    epochs: Count = Field(10, description="passes over the demonstrations, in each round")
    batch_size: Count = Field(512, description="demonstrated steps in one gradient step")
    learning_rate: Positive = Field(1e-3, description="of Adam while imitating")
    deviation: Positive | None = Field(
        None, description="standard deviation of actions after imitation; null: as it is"
    )
    workers: Count | None = Field(
        None, description="processes that label side by side; null: the cores of this machine"
    )

    @property
    def is_on(self) -> bool:
        """Whether there is anything to imitate."""
        return self.data is not None or self.teacher is not None


class OnDeviceConfig(StrictModel):
    """Details of the algorithms on tensors, ``device_ppo`` and ``pathwise``; ignored by ``ppo``."""

    dtype: Literal["float32", "float64"] = Field("float32", description="numbers of the environment")
    episodes: Literal["device", "host"] | None = Field(
        None,
        description="where episodes are drawn; 'host': the same ones as with 'ppo'; null: on the device if synthetic",
    )
    spikes: Share = Field(
        0.0,
        description="share of the training episodes whose prices spike ten times as often as calibrated and eight "
        "times as far: prepares for months that are wilder than those trained on",
    )
    shortages: Share = Field(
        0.0,
        description="share of the training episodes in which a zone runs short of power: for 6 to 96 hours its price "
        "stands at a level between 500 and 10,000 USD/MWh",
    )
    stagger: bool = Field(
        False, description="first episodes start mid-way, so that not all of them end in the same step"
    )
    compile: bool = Field(
        False, description="torch.compile the step and the loss: minutes at the start, then faster"
    )


class PathwiseConfig(StrictModel):
    """Details of ``algorithm: pathwise``; ignored by other algorithms, as it ignores what only PPO has.

    It plays whole episodes, undiscounted: gamma, rollout_steps, batch_size, epochs and clip_range say nothing to it.
    """

    last_h: Positive | None = Field(
        None,
        description="hours of an episode that are played, its last ones; null: all of it. Long episodes cost memory",
    )
    window_h: Positive | None = Field(
        None,
        description="hours played before each update, which adds a learned value of what is left; null: to the end",
    )
    weigh: bool = Field(
        True, description="let days of price spikes count less: weight (deviation of prices + 10) ** -0.5"
    )
    warm_up: Count = Field(10, description="updates over which the learning rate rises")


class PPOConfig(StrictModel):
    """All settings of a run of PPO, or of the gradient through the simulator."""

    environment: EnvironmentConfig = EnvironmentConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    calibration: CalibrationConfig = Field(
        CalibrationConfig(), description="fit the numbers of the rule before PPO ('structured' only)"
    )
    imitation: ImitationConfig = Field(
        ImitationConfig(), description="imitation of plans before the algorithm begins"
    )
    on_device: OnDeviceConfig = Field(OnDeviceConfig(), description="what only algorithms on tensors look at")
    pathwise: PathwiseConfig = Field(PathwiseConfig(), description="what only 'pathwise' looks at")
    algorithm: Literal["ppo", "device_ppo", "pathwise"] = Field(
        "ppo",
        description="'ppo': Stable-Baselines3 on the NumPy environment; 'device_ppo': all on tensors on `device`; "
        "'pathwise': the gradient of the return through the simulator, on tensors",
    )
    policy: Literal["mlp", "structured", "smooth_mlp", "set"] = Field(
        "mlp", description="kind of network; 'structured' begins as a rule, 'smooth_mlp' and 'set' know none"
    )
    start_from: SourcePath | None = Field(
        None,
        description="model.zip of a run whose weights the network begins with; those of 'set' and 'structured' fit "
        "scenarios of other sizes",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of weights, exploration and training episodes")
    total_steps: Count = Field(1_000_000, description="environment steps of the whole run")
    num_envs: Count = Field(64, description="episodes that run side by side")
    group: Count = Field(1, description="neighbours that play the same episode; must divide num_envs")
    advantage: Literal["gae", "group"] = Field(
        "gae",
        description="'gae': against the value estimate; 'group': return-to-go less its mean over the group at the same "
        "step (gae_lambda is not used)",
    )
    rollout_steps: Count = Field(24, description="steps of each episode between two updates")
    batch_size: Count = Field(512, description="transitions in one gradient step")
    epochs: Count = Field(5, description="passes over the transitions of one update")
    learning_rate: Positive = Field(1e-3, description="of Adam at the start")
    learning_rate_end: NonNegative = Field(1e-4, description="of Adam at the end, reached on a straight line")
    gamma: Share = Field(1.0, description="discount per step; 1 suits episodes that end")
    gae_lambda: Share = Field(0.95, description="weight of long returns against the value estimate")
    clip_range: Positive = Field(0.2, description="largest change of a probability ratio that still pays")
    entropy_coefficient: NonNegative = Field(0.0, description="bonus on exploration")
    value_coefficient: NonNegative = Field(0.5, description="weight of the value loss")
    max_grad_norm: Positive = Field(0.5, description="length at which gradients are cut")
    target_kl: Positive | None = Field(
        None, description="divergence at which an update stops early; null: never"
    )
    hidden: list[Count] = Field(
        [128, 128], min_length=1, description="widths of the hidden layers, policy and value"
    )
    attention: bool = Field(
        False, description="'set': sites attend to each other; else each sees the mean of all"
    )
    activation: Literal["tanh", "relu"] = Field("tanh", description="of the hidden layers")
    initial_deviation: Positive = Field(1.0, description="standard deviation of the first actions")
    reference_reward: bool = Field(
        True, description="learn from the gain over serving at home, which leaves the optimum where it is"
    )
    cost_features: bool = Field(
        True,
        description="show the network what energy and carbon cost at each site against other sites, hours",
    )
    shared_routing: bool = Field(
        False, description="one routing for the work of all regions: fewer actions, learned sooner"
    )
    may_refuse: bool = Field(False, description="whether the agent may turn work away of its own accord")
    reward_factor: Positive = Field(1.0, description="on the reward that is learned from")
    drop_charge_usd_per_gpuh: NonNegative = Field(
        0.0,
        description="taken off the reward that is learned from, besides what the scenario bills for drops",
    )
    reward_wrapper: str | None = Field(
        None,
        description="py:module:Factory of a function (reward [B], info, observation [B,N]) -> reward [B] on what is "
        "learned from; evaluations use the environment's own reward",
    )
    callbacks: list[str] = Field(
        [], description="py:module:Factory of callbacks of Stable-Baselines3, called after the run's own"
    )
    wandb: str | None = Field(None, description="project of Weights & Biases that gets the curves, too")
    compile: bool | None = Field(
        None,
        description="run steps on a processor as one compiled function, without gradients; null: from 100,000 steps on",
    )
    checkpoint_every_steps: Count = Field(250_000, description="environment steps between two checkpoints")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network lives, and the environment of the algorithms on tensors"
    )
    torch_threads: Count = Field(1, description="threads of one network operation on the CPU")

    @model_validator(mode="after")
    def _whole_batches(self) -> PPOConfig:
        if self.num_envs % self.group:
            raise ValueError(f"group = {self.group}: must divide num_envs = {self.num_envs} [episodes]")
        if self.advantage == "group" and self.group < 2:
            raise ValueError(
                f"group = {self.group}: must be at least 2 for advantage = 'group', e.g. 16 [episodes]"
            )
        if self.algorithm == "pathwise" and self.group > 1:
            raise ValueError(
                f"group = {self.group}: must be 1 for algorithm = 'pathwise', which compares no episodes"
            )
        rollout = self.num_envs * self.rollout_steps
        if self.algorithm == "pathwise":
            return self
        if rollout % self.batch_size != 0 or self.batch_size < 2:
            raise ValueError(
                f"batch_size = {self.batch_size}: "
                f"must divide num_envs * rollout_steps = {rollout} and be at least 2 [no unit]"
            )
        return self


def load_config(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> PPOConfig:
    """Return the settings of a YAML file (None: defaults) with ``overrides`` by dotted key.

    Raise ConfigError with all faults in one message.
    """
    data = {} if path is None else _read(Path(path))
    return parse_config(data, "settings" if path is None else str(path), overrides)


def parse_config(data: dict[str, Any], source: str, overrides: Mapping[str, Any] | None = None) -> PPOConfig:
    """Return checked settings with ``overrides`` by dotted key; ``source`` names them in errors."""
    data = copy.deepcopy(data)
    for key, value in (overrides or {}).items():
        _put(data, key, value)
    try:
        return PPOConfig.model_validate(data)
    except ValidationError as error:
        lines = from_pydantic(error, PPOConfig)
        raise ConfigError("\n  ".join([f"{source}: {len(lines)} problem(s)", *lines])) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a table of keys, found {type(data).__name__}")
    return data


def _put(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b`` in nested tables."""
    *parents, last = dotted.split(".")
    for part in parents:
        inner = data.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted}: {part!r} is a value, not a group of settings")
        data = inner
    data[last] = value


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Return settings by dotted key: ``{"hidden": [64, 64]}`` for ``--hidden 64 64``.

    A single value may also be written ``--key=value``; the values of a list follow each other.
    """
    found: dict[str, list[Any]] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            key = name.replace("-", "_")
            if key in found:
                raise ConfigError(f"--{name}: given twice")
            found[key] = [_scalar(value)] if equals else []
        elif key:
            found[key].append(_scalar(word))
        else:
            raise ConfigError(f"{word!r}: expected --key value")

    empty = [name for name, values in found.items() if not values]
    if empty:
        raise ConfigError(f"--{empty[0]}: needs a value")
    # A list of one value is still a list.
    return {
        name: values if name in ("hidden", "callbacks") or len(values) > 1 else values[0]
        for name, values in found.items()
    }


def _scalar(text: str) -> Any:
    """Return the value of a text in YAML; also floats such as 1e-4, text to YAML, as integers where whole."""
    try:
        value = yaml.safe_load(text) if text else text
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r}: not a value ({error.__class__.__name__})") from error
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
        return int(value) if value.is_integer() and "e" in text.lower() else value
    return value


def compiled_of(config: PPOConfig, part: Part = "train") -> Compiled:
    """Return the scenario of a run, compiled; with ``environment.days: train`` on the days of a part of its benchmark.

    Raise ConfigError where no episode fits into these days.
    """
    return compile_scenario(_on_days(config, part)[0])


def days_of(config: PPOConfig) -> str:
    """Return in words on which days a run trains; all of them where its scenario has no benchmark."""
    return _on_days(config, "train")[1]


def _on_days(config: PPOConfig, part: Part) -> tuple[Scenario, str]:
    world = config.environment
    scenario = load_scenario(world.scenario, **world.overrides())
    if world.days == "all":
        return scenario, "all that the scenario has"
    try:
        return training_days(scenario, part, world.benchmark_folder)
    except BenchmarkError as error:
        raise ConfigError(f"environment.days = 'train': {error} (--environment.days all)") from error
