"""gridai-env: where, when and how to serve AI work under electricity markets, as Gymnasium environments.

Importing this package registers ``gridai/TwoSites-v2``, ``gridai/FourMarkets-v2``,
``gridai/MicrogridProsumer-v2``, ``gridai/EnergyGeography-v2``, ``gridai/Global-v2`` and
``gridai/Custom-v2`` (which takes ``scenario="my.yaml"``). The names below are loaded when they are first
used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as _gym

from gridai_env.version import __version__, environment_version

if TYPE_CHECKING:
    from gridai_env.benchmarks.evaluation import Evaluation as Evaluation
    from gridai_env.benchmarks.evaluation import evaluate as evaluate
    from gridai_env.envs.env import GridAIEnv as GridAIEnv
    from gridai_env.envs.vector_env import GridAIVectorEnv as GridAIVectorEnv
    from gridai_env.envs.wrappers import ActiveAction as ActiveAction
    from gridai_env.envs.wrappers import DictAction as DictAction
    from gridai_env.envs.wrappers import RememberForecasts as RememberForecasts
    from gridai_env.envs.wrappers import VectorActiveAction as VectorActiveAction
    from gridai_env.envs.wrappers import VectorRememberForecasts as VectorRememberForecasts
    from gridai_env.episodes.instance import Instance as Instance
    from gridai_env.episodes.instance import InstanceBatch as InstanceBatch
    from gridai_env.episodes.instance import load_instance as load_instance
    from gridai_env.episodes.instance import make_batch as make_batch
    from gridai_env.episodes.instance import make_instance as make_instance
    from gridai_env.episodes.instance import stack as stack
    from gridai_env.files import InstanceError as InstanceError
    from gridai_env.rollout.policy import FlatObservations as FlatObservations
    from gridai_env.scenario.errors import ScenarioError as ScenarioError
    from gridai_env.scenario.load import load_scenario as load_scenario
    from gridai_env.scenario.load import scenario_names as scenario_names
    from gridai_env.scenario.spec import Scenario as Scenario

# Where each public name is defined: loaded when it is first used, so that the import is light.
_MODULES = {
    name: module
    for module, names in {
        "benchmarks.evaluation": "Evaluation evaluate",
        "envs.env": "GridAIEnv",
        "envs.vector_env": "GridAIVectorEnv",
        "envs.wrappers": "ActiveAction DictAction RememberForecasts VectorActiveAction VectorRememberForecasts",
        "episodes.instance": "Instance InstanceBatch load_instance make_batch make_instance stack",
        "files": "InstanceError",
        "rollout.policy": "FlatObservations",
        "scenario.errors": "ScenarioError",
        "scenario.load": "load_scenario scenario_names",
        "scenario.spec": "Scenario",
    }.items()
    for name in names.split()
}

__all__ = [*_MODULES, "__version__", "environment_version"]

IDS: dict[str, str | None] = {
    "gridai/TwoSites-v2": "two_sites",
    "gridai/FourMarkets-v2": "four_markets",
    "gridai/MicrogridProsumer-v2": "microgrid_prosumer",
    "gridai/EnergyGeography-v2": "energy_geography",
    "gridai/Global-v2": "global",
    "gridai/FlexibleCampus-v2": "flexible_campus",
    "gridai/DemandResponse-v2": "demand_response",
    "gridai/Custom-v2": None,
}
_SINCE_V2 = ("flexible_campus", "demand_response")


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    """Register the environments, and the ids before them as refused, once per process."""
    for id_, scenario in IDS.items():
        if id_ in _gym.registry:
            continue
        _gym.register(
            id=id_,
            entry_point="gridai_env.envs.env:GridAIEnv",
            vector_entry_point="gridai_env.entry:open_vector_env",
            kwargs={"scenario": scenario},
        )
        if scenario in _SINCE_V2:
            continue
        refuse = "gridai_env.entry:refuse_v1"
        old = id_.replace("-v2", "-v1")
        _gym.register(id=old, entry_point=refuse, vector_entry_point=refuse, kwargs={"new_id": id_})


_register()
