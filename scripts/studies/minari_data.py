"""What a run of demonstrations played, as a Minari data set: loaded by name, with its environment and its scores.

The recorded actions are played once more in the environment that the data set names, so that what it holds is what
that environment gives.  References of an episode (Local-Only, the proven bound) are kept in ``references/`` of the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import gymnasium as gym
import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage import get_dataset_path

import gridai_env
from gridai_env.analysis.statistics import gain_captured
from gridai_env.arrays.types import Floats32
from gridai_env.benchmarks.play import BOUND_TOLERANCE, BoundError, scale_usd
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.step_figures import KEYS
from gridai_env.episodes.instance import Instance
from gridai_env.world.terms import TERMS
from scripts.runs.command import InputError
from scripts.runs.tasks import ARRAYS, Record, Store, Task, key_of, open_store, run_tasks
from scripts.studies.contest import refer
from scripts.studies.demonstrations import DECISIVE, KIND, DemonstrationRun
from scripts.studies.solver import SolverOptions

REFERENCES = "references"


# References ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReferenceTask(Task):
    """What the scores of one episode are measured by."""

    instance: Instance
    solver: SolverOptions

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.instance.hash

    @cached_property
    def key(self) -> str:
        """What the references are computed from."""
        return key_of(self.instance.hash, self.solver.mip_gap, self.solver.time_limit_s)


def compute(batch: Sequence[ReferenceTask]) -> Iterator[Record]:
    """Yield what Local-Only earns and the proven bound, USD; raises InputError where none was proven in time."""
    for task in batch:
        found = refer(task.instance, "benefit", **vars(task.solver))
        if not np.isfinite(found.bound_score):
            raise InputError(
                f"seed {task.instance.seed}: no bound within --time-limit-s {task.solver.limit_s:g} s, so the data set "
                "has no reference score; raise it (in another --run-dir)"
            )
        yield {"local_usd": found.local.benefit_usd, "bound_usd": found.bound_score}


# The data set -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MinariDataSet:
    """A data set to write."""

    name: str
    scenario: str  # as the command line names it
    start: str | None  # of all episodes; None: seeds draw it
    author: str | None
    code_permalink: str | None
    overwrite: bool

    @property
    def path(self) -> Path:
        """Its folder, among Minari's own (``MINARI_DATASETS_PATH``)."""
        return Path(get_dataset_path(self.name))

    @classmethod
    def of(cls, options: Any) -> Self:
        """Return the data set of the options of `scripts.demonstrate`, before anything is played.

        Raises InputError for a name that is none or taken and for plans that were not played, OSError where nothing
        can be written.
        """
        if options.actor is not None:
            raise InputError(
                "--minari: a data set holds what was played, and --actor records what the planner would have done "
                "instead; leave one of them out"
            )
        name, others = options.minari, ("scenario", "start", "author", "code_permalink", "overwrite")
        try:
            parse_dataset_id(name)
        except (ValueError, TypeError) as error:  # the latter without a version
            raise InputError(
                f"--minari {name!r}: must be [NAMESPACE/]NAME-vN of letters, digits, - and _, "
                "e.g. gridai/two_sites-day_ahead-v0"
            ) from error
        out = cls(name, **{other: getattr(options, other) for other in others})
        if out.path.exists() and not out.overwrite:
            raise InputError(
                f"--minari {name}: there is such a data set ({out.path}); give another name or version, delete it, "
                "or --overwrite to compute everything again"
            )
        with TemporaryDirectory(dir=get_dataset_path(), prefix="."):
            return out

    def spec(self, run: DemonstrationRun) -> EnvSpec:
        """Return what makes the environment: the scenario's id, with all values and the days of the episodes."""
        ids = {scenario: id_ for id_, scenario in gridai_env.IDS.items()}
        own: dict[str, Any] = {"scenario": run.instances[0].compiled.resolved_scenario()}
        if self.start is not None:
            own["start"] = self.start
        return replace(gym.spec(ids.get(self.scenario, ids[None])), kwargs=own)

    def write(self, run: DemonstrationRun) -> str:
        """Write all episodes that have a plan, whole or not at all; return a summary of two lines."""
        records = {i.hash: run.store.read(task) for i, task in zip(run.instances, run.tasks, strict=True)}
        instances = [instance for instance in run.instances if records[instance.hash] is not None]
        if not instances:
            raise InputError(f"--minari {self.name}: no episode has a plan; raise --time-limit-s")
        spec, references = self.spec(run), self._references(run, instances)

        # In a hidden folder first: Minari does not list it.
        with TemporaryDirectory(dir=get_dataset_path(), prefix=".") as folder:
            storage = MinariStorage.new(Path(folder) / "data", env_spec=spec)
            env = gym.make(spec)
            returns = []
            for instance, reference in zip(instances, references, strict=True):
                record = records[instance.hash]
                assert record is not None
                episode = played(env, instance, record[ARRAYS]["actions"], reference["bound_usd"])
                storage.update_episodes([episode])
                returns.append(float(np.sum(episode.rewards)))
            env.close()

            scale = instances[0].compiled.reward_scale_usd
            local, bound = (
                np.array([each[name] for each in references]) / scale for name in ("local_usd", "bound_usd")
            )
            storage.update_metadata(self._metadata(run, spec, local, bound))
            storage.update_episode_metadata(
                {"start_utc": f"{i.start_utc}Z", "local_only_return": low, "bound_return": high}
                for i, low, high in zip(instances, local, bound, strict=True)
            )
            steps = storage.total_steps
            self._publish(Path(folder) / "data")
        score = 100.0 * gain_captured(np.array(returns), local, bound)
        return (
            f"{self.name}: {len(instances)} episode(s), {steps:,} steps, return {np.mean(returns):,.3f}, score "
            f"{score:.1f} (0: Local-Only {local.mean():,.3f}, 100: proven bound {bound.mean():,.3f})\n"
            f"Minari data set: {self.path}"
        )

    def _references(self, run: DemonstrationRun, instances: Sequence[Instance]) -> list[Record]:
        open_store(run.folder, KIND, REFERENCES, run.config, DECISIVE, "other demonstrations", self.overwrite)
        store = Store(run.folder / REFERENCES, "reference")
        tasks = [ReferenceTask(instance, run.work.solver) for instance in instances]
        batches = [[task] for task in tasks]
        run_tasks(store, [batches], compute, jobs=run.jobs, ray=run.ray, total=len(tasks), unit="bound")
        return [store.result(task) for task in tasks]

    def _metadata(
        self, run: DemonstrationRun, spec: EnvSpec, local: np.ndarray, bound: np.ndarray
    ) -> dict[str, Any]:
        """Return what Minari keeps beside the episodes; ``local`` and ``bound`` are returns [episodes]."""
        compiled, planner = run.instances[0].compiled, run.work.planner
        out = {
            "dataset_id": self.name,
            "minari_version": minari.__version__,
            "algorithm_name": planner,
            "description": (
                f"Plans of {planner} in {compiled.name}: {len(local)} episodes of {compiled.scenario.horizon_h:g} h; "
                f"days: {run.config['days_in_words']}. A reward is the benefit of a step in USD over "
                f"{compiled.reward_scale_usd:g} USD. Reference scores are mean returns over these episodes: lowest, "
                "serving at home (Local-Only); highest, the proven bound of perfect foresight. infos: figures of "
                "each step in the units of their names, 0 at the reset."
            ),
            "requirements": [f"gridai-env>={gridai_env.__version__}"],
            "eval_env_spec": spec.to_json(),
            "ref_min_score": float(local.mean()),
            "ref_max_score": float(bound.mean()),
            "num_episodes_average_score": len(local),
        }
        if self.author is not None:
            out["author"] = {self.author}
        if self.code_permalink is not None:
            out["code_permalink"] = self.code_permalink
        return out

    def _publish(self, data: Path) -> None:
        namespace = parse_dataset_id(self.name)[0]
        if namespace is not None and namespace not in list_local_namespaces():
            create_namespace(namespace)
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir()
        os.replace(data, self.path / "data")


def played(env: gym.Env[Any, Any], instance: Instance, actions: Floats32, bound_usd: float) -> EpisodeBuffer:
    """Return an episode as its environment plays the actions [T,A]: observations and infos [T+1], the rest [T].

    Raises BoundError where it earns more than the proven bound.
    """
    observation, info = env.reset(seed=instance.seed)
    world = env.unwrapped
    assert isinstance(world, GridAIEnv)
    if world.instance.hash != instance.hash:
        raise RuntimeError(f"seed {instance.seed}: the environment of the data set plays another episode")
    seen, told, steps = [observation], [info], []
    for action in actions:
        observation, *step, info = env.step(action)
        seen.append(observation)
        told.append(info)
        steps.append(step)

    over_usd = info["episode/benefit_usd"] - bound_usd
    terms_usd = {name: info[f"episode/terms/{name}_usd"] for name in TERMS}
    if not over_usd <= BOUND_TOLERANCE * scale_usd({"terms_usd": terms_usd}):
        raise BoundError(
            f"seed {instance.seed}: the plan passes the proven bound by {over_usd:,.6f} USD; solver and simulator "
            f"disagree, please report it with the instance {instance.hash[:12]}"
        )
    rewards, terminations, truncations = (np.array(column) for column in zip(*steps, strict=True))
    return EpisodeBuffer(
        seed=instance.seed,
        observations={name: np.stack([each[name] for each in seen]) for name in observation},
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        infos={key: np.array([each[key] for each in told]) for key in KEYS},
    )
