"""Keywords of the three environments: names, order, defaults and checks, written once.

`GridAIEnv` and the two vector environments say in their docstrings what each keyword means.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode

from gridai_env.envs.arguments import checked_mode, positive_int
from gridai_env.envs.episode_source import EpisodeSource, ScenarioSource, open_source
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.starts import Start
from gridai_env.scenario.errors import refuse_unknown
from gridai_env.scenario.load import OVERRIDES

if TYPE_CHECKING:
    import torch

RENDER_MODES = ["rgb_array"]
P = ParamSpec("P")
Options = TypeVar("Options")


@dataclass
class EnvOptions:
    """Keywords of `GridAIEnv`."""

    num_envs = group = 1  # no keywords of a single environment
    compile_kinds: ClassVar[tuple[bool | str, ...]] = (False, True)
    scenario: ScenarioSource | None = "two_sites"
    traces: str | Path | None = None
    horizon_h: float | None = None
    forecast: str | None = None
    latency_scale: float | None = None
    carbon_price_usd_per_t: float | None = None
    instance: str | Path | Instance | None = None
    render_mode: str | None = None
    demand: str | None = field(default=None, kw_only=True)
    start: Start | Sequence[Start] | None = field(default=None, kw_only=True)
    compile: bool | str = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Raise ValueError for values that are impossible whatever the scenario is."""
        if self.render_mode not in (None, *RENDER_MODES):
            raise ValueError(f"render_mode = {self.render_mode!r}: must be None or one of {RENDER_MODES}")
        if not isinstance(self.compile, bool | str) or self.compile not in self.compile_kinds:
            raise ValueError(f"compile = {self.compile!r}: must be one of {list(self.compile_kinds)}")

    def open_source(self) -> EpisodeSource:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        overrides = {name: getattr(self, name) for name in OVERRIDES}
        source = replace(open_source(self.scenario, self.instance, **overrides), start=self.start)
        source.starts(np.arange(self.num_envs // self.group), self.start)
        return source


@dataclass
class _NumEnvs:
    """The first keyword of a batch: dataclasses put the fields of the last base first."""

    num_envs: int = 1


@dataclass
class VectorOptions(EnvOptions, _NumEnvs):
    """Keywords of `GridAIVectorEnv`."""

    max_episode_steps: int | None = None
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP
    flat_observations: bool = False
    group: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Raise ValueError for values that are impossible whatever the scenario is."""
        self.num_envs = positive_int("num_envs", self.num_envs)
        self.group = positive_int("group", self.group)
        if self.num_envs % self.group:
            raise ValueError(f"group = {self.group}: must divide num_envs = {self.num_envs} [episodes]")
        if self.max_episode_steps is not None:
            self.max_episode_steps = positive_int("max_episode_steps", self.max_episode_steps)
        super().__post_init__()
        self.autoreset_mode = checked_mode(self.autoreset_mode)


@dataclass
class TorchVectorOptions(VectorOptions):
    """Keywords of `GridAITorchVectorEnv`."""

    compile_kinds = (False, True, "torch")
    device: torch.device | str = field(default="cpu", kw_only=True)
    dtype: torch.dtype | str = field(default="float32", kw_only=True)
    episodes: str | None = field(default=None, kw_only=True)
    spikes: float = field(default=0.0, kw_only=True)
    shortages: float = field(default=0.0, kw_only=True)
    stagger: bool = field(default=False, kw_only=True)
    copy: bool = field(default=True, kw_only=True)
    graphs: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Raise ValueError for values that are impossible whatever the scenario is."""
        if self.render_mode is not None:
            raise ValueError(
                f"render_mode = {self.render_mode!r}: environments on a device draw no pictures; leave device out "
                "for that"
            )
        for name in ("spikes", "shortages"):
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise ValueError(f"{name} = {share!r}: must be a share of the episodes, in [0, 1]")
        super().__post_init__()


# What only the batch on torch understands.
DEVICE_ONLY = tuple(
    sorted(
        {f.name for f in fields(TorchVectorOptions)} - {f.name for f in fields(VectorOptions)} - {"device"}
    )
)


def keywords_of(
    options: Callable[P, Options],
) -> Callable[[Callable[[Any, Options], None]], Callable[Concatenate[Any, P], None]]:
    """Return a decorator that gives a constructor of ``options`` the options' own keywords and signature."""
    known = inspect.signature(options).parameters

    def decorate(init: Callable[[Any, Options], None]) -> Callable[Concatenate[Any, P], None]:
        @functools.wraps(init)
        def construct(self: Any, /, *args: P.args, **keywords: P.kwargs) -> None:
            refuse_unknown(type(self).__name__, keywords, known)
            init(self, options(*args, **keywords))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        construct.__signature__ = inspect.Signature([own, *known.values()])  # type: ignore[attr-defined]
        return construct

    return decorate
