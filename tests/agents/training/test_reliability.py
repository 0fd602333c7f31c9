"""Training that is killed, runs out of disk, loses a folder or its numbers: nothing is lost, nothing is unclear."""

from __future__ import annotations

import csv
import errno
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents.config import compiled_of, load_config
from agents.networks.checkpoint import CheckpointError, Identity, NetworkPolicy, load_model
from agents.training import checkpoints, environments, train, validation
from agents.training.checkpoints import (
    checkpoint_path,
    latest_checkpoint,
    read_training_state,
    remove_leftovers,
    save_checkpoint,
)
from agents.training.curves import PROGRESS, STEP
from agents.training.failures import TrainingError
from gridai_env.rollout.run import run
from gridai_env.world.state import State
from scripts import train as command

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "configs" / "agents" / "ppo_tiny.yaml"
ALGORITHMS = ["ppo", "device_ppo"]
# Small runs in which episodes end inside rollouts, and more often than checkpoints are written.
SMALL = {"total_steps": 256, "rollout_steps": 4, "batch_size": 16, "checkpoint_every_steps": 64, "seed": 3}


def weights(path: Path) -> list[np.ndarray]:
    return [value.numpy() for value in load_model(path, "cpu").policy.state_dict().values()]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


# The recommended settings at a small size: structured policy on tensors, calibration, evaluations, best weights kept.
RECOMMENDED = SMALL | {
    "num_envs": 8,
    "environment.horizon_h": 6.0,
    "evaluation.every_steps": 64,
    "evaluation.instances": 2,
    "calibration.rounds": 1,
    "calibration.steps": 12,
}


def recommended(folder: Path, *more: str) -> list[str]:
    """The command of a small run with the recommended settings."""
    options = [word for key, value in RECOMMENDED.items() for word in (f"--{key}", str(value))]
    config = ROOT / "configs" / "agents" / "ppo.yaml"
    return ["--config", str(config), "--run-dir", str(folder), "--no-bounds", *options, *more]


def curve(folder: Path) -> list[dict[str, str]]:
    """The rows of progress.csv, without what depends on the clock or on when the process began."""
    with (folder / PROGRESS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: row[name] for name in row if name == STEP or name.startswith(("eval/", "rollout/"))}
        for row in rows
    ]


def words(folder: Path, algorithm: str, **changes: Any) -> list[str]:
    """The command of a small run."""
    settings = {**SMALL, "algorithm": algorithm, **changes}
    options = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return ["--config", str(TINY), "--no-evaluation", "--run-dir", str(folder), *options]


@pytest.fixture(scope="module")
def processes() -> Any:
    """Fresh processes that have the modules loaded already, which takes longer than these runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo", "torch.utils.tensorboard"])
    return context


def in_process(arguments: list[str], largest_file_bytes: int | None = None) -> None:
    """A run as a process of its own: with a limit on files, every write beyond it fails, as on a full disk."""
    torch.set_num_threads(1)
    if largest_file_bytes is not None:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, most))
    sys.exit(command.main(arguments))


def kill_after(process: Any, folder: Path, steps: int, delay_s: float) -> bool:
    """Kill a run a little after it has a checkpoint of at least ``steps``; whether it was still running then."""
    limit = time.monotonic() + 60.0
    while process.is_alive() and time.monotonic() < limit:
        last = latest_checkpoint(folder)
        if last is not None and int(last.stem.split("_")[1]) >= steps:
            break
        time.sleep(0.001)
    time.sleep(delay_s)
    process.kill()
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "pathwise"])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, algorithm: str, processes: Any
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command.main(words(whole, algorithm)) == 0
    rng = np.random.default_rng()  # any moment will do
    kills = 0
    process = processes.Process(target=in_process, args=(words(killed, algorithm),))
    for steps in (64, 128):
        process.start()
        kills += kill_after(process, killed, steps, float(rng.uniform(0.0, 0.03)))
        process = processes.Process(target=in_process, args=(["--resume", str(killed), "--no-evaluation"],))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert kills >= 1
    assert same(weights(whole / "model.zip"), weights(killed / "model.zip"))
    names = [path.name for path in (whole / "checkpoints").iterdir()]
    assert sorted(names) == sorted(path.name for path in (killed / "checkpoints").iterdir())


def test_a_killed_run_with_evaluations_ends_like_one_that_was_not(tmp_path: Path, processes: Any) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command.main(recommended(whole)) == 0
    process = processes.Process(target=in_process, args=(recommended(killed),))
    process.start()
    kills = kill_after(process, killed, 64, 0.0)
    process = processes.Process(target=in_process, args=(["--resume", str(killed)],))
    process.start()
    process.join(60)
    assert (process.exitcode, kills) == (0, True)
    for name in ("model.zip", "best_model.zip"):
        assert same(weights(whole / name), weights(killed / name)), name
    assert json.loads((whole / "calibration.json").read_text()) == json.loads(
        (killed / "calibration.json").read_text()
    )
    curves = [curve(folder) for folder in (whole, killed)]
    assert curves[0] == curves[1] and len(curves[0]) == len({row[STEP] for row in curves[0]})


def test_evaluations_leave_training_as_it_is(tmp_path: Path) -> None:
    assert command.main(recommended(tmp_path / "with", "--evaluation.keep", "last")) == 0
    assert (
        command.main(recommended(tmp_path / "without", "--evaluation.keep", "last", "--no-evaluation")) == 0
    )
    assert same(*(weights(tmp_path / name / "model.zip") for name in ("with", "without")))


def test_an_evaluation_leaves_all_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawing(*_: Any) -> Any:
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        raise RuntimeError("also then")

    monkeypatch.setattr(validation, "run_many", drawing)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002
    with pytest.raises(RuntimeError, match="also then"):
        validation.evaluate(SimpleNamespace(), SimpleNamespace(instances=[]))  # type: ignore[arg-type]
    found = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002
    assert found == expected


def built(algorithm: str = "ppo", **changes: Any) -> tuple[Any, Any]:
    config = load_config(TINY, SMALL | {"algorithm": algorithm} | changes)
    return config, train.build(config, environments.make_training_env(config, compiled_of(config)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_going_on_from_any_checkpoint_gives_the_same_weights(tmp_path: Path, algorithm: str) -> None:
    config, model = built(algorithm)
    train.train(model, config, tmp_path / "whole")
    expected = weights(tmp_path / "whole" / "model.zip")
    for steps in (64, 192):
        env = environments.make_training_env(config, compiled_of(config))
        again = train.resume(config, env, checkpoint_path(tmp_path / "whole", steps))
        assert again.num_timesteps == steps
        train.train(again, config, tmp_path / str(steps))
        assert same(expected, weights(tmp_path / str(steps) / "model.zip")), steps
        returns = [[info["r"] for info in m.ep_info_buffer] for m in (model, again)]
        assert returns[0] == returns[1]


def test_the_first_checkpoint_comes_before_the_first_step_and_goes_when_the_next_is_whole(
    tmp_path: Path,
) -> None:
    seen: list[list[str]] = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(sorted(path.name for path in (tmp_path / "checkpoints").iterdir()))
            return True

    config, model = built(total_steps=96)
    train.train(model, config, tmp_path, extra=[Look()])
    assert seen[0] == ["steps_000000000000.zip"]
    assert seen[-1] == ["steps_000000000064.zip"]


def test_resuming_from_the_untrained_checkpoint(tmp_path: Path) -> None:
    config, model = built(total_steps=64)

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        train.train(model, config, tmp_path / "cut", extra=[Stop()])
    first = latest_checkpoint(tmp_path / "cut")
    assert first == checkpoint_path(tmp_path / "cut", 0)
    again = train.resume(config, environments.make_training_env(config, compiled_of(config)), first)
    train.train(again, config, tmp_path / "cut")
    config, model = built(total_steps=64)
    train.train(model, config, tmp_path / "whole")
    assert same(weights(tmp_path / "whole" / "model.zip"), weights(tmp_path / "cut" / "model.zip"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_weights_are_kept_also_where_training_was_interrupted(
    tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations come at 0, 64, 128, 192 and 256 steps; which earns most is decided here."""
    earned = {0: 1.0, 64: 2.0, 128: 5.0, 192: 3.0, 256: 4.0}

    def fake(policy: Any, held_out: Any) -> Any:
        value = float(np.sum([weight.sum().item() for weight in model.policy.parameters()]))
        seen.append((model.num_timesteps, value))
        interval = SimpleNamespace(value=earned[model.num_timesteps])
        return SimpleNamespace(
            over_local_usd=interval, gain_captured=None, dropped_over_local_gpuh=0.0, tags=dict, line=str
        )

    for module in ("callbacks", "validation"):
        monkeypatch.setattr(f"agents.training.{module}.evaluate", fake)
    evaluation = {"every_steps": 64, "keep": "best"}
    config, model = built(algorithm, evaluation=evaluation)
    seen: list[tuple[int, float]] = []
    evaluations = train.train(model, config, tmp_path / "whole", held_out=object())  # type: ignore[arg-type]
    # The same weights are evaluated once, those taken at the end included.
    assert [steps for steps, _ in seen] == [0, 64, 128, 192, 256]
    assert len({value for _, value in seen}) == 5
    assert evaluations is not None
    assert evaluations.last is not None
    assert evaluations.last.over_local_usd.value == earned[128]
    taken = sum(weight.sum().item() for weight in model.policy.parameters())
    assert taken == pytest.approx(dict(seen)[128])
    stages = json.loads((tmp_path / "whole" / "stages.json").read_text())["stages"]
    assert [(stage["name"], stage["over_local_usd"]) for stage in stages] == [("start", 1.0), ("ppo", 5.0)]
    best = weights(tmp_path / "whole" / "model.zip")
    assert same(best, weights(tmp_path / "whole" / "best_model.zip"))
    # From a checkpoint before the best and one after it.  A run that goes on does not look where it does.
    for steps in (64, 192):
        again = tmp_path / str(steps)
        shutil.copytree(tmp_path / "whole", again)
        env = environments.make_training_env(config, compiled_of(config))
        model = train.resume(config, env, checkpoint_path(again, steps))
        seen.clear()
        train.train(model, config, again, held_out=object())  # type: ignore[arg-type]
        assert min(seen)[0] == steps + 64
        assert same(best, weights(again / "model.zip"))


def test_what_a_killed_run_left_half_written_goes(tmp_path: Path) -> None:
    config, model = built()
    train.train(model, config.model_copy(update={"total_steps": 32}), tmp_path)
    half = tmp_path / "checkpoints" / ".77.steps_000000000099.zip"
    half.write_bytes(b"half")
    last = latest_checkpoint(tmp_path)
    assert last == checkpoint_path(tmp_path, 32)
    remove_leftovers(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == [last]


def test_weights_alone_are_no_checkpoint(tmp_path: Path) -> None:
    config, model = built()
    train.train(model, config.model_copy(update={"total_steps": 32}), tmp_path)
    env = environments.make_training_env(config, compiled_of(config))
    with pytest.raises(CheckpointError, match="no state of training"):
        train.resume(config, env, tmp_path / "model.zip")


def test_a_checkpoint_of_a_version_with_fewer_fields_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = built()
    train.train(model, config.model_copy(update={"total_steps": 32}), tmp_path)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None

    names = (*State.names(), "spare_mw")
    monkeypatch.setattr(State, "names", classmethod(lambda _: names))
    with pytest.raises(CheckpointError, match=r"another version .*a State .*without spare_mw.*train again"):
        read_training_state(checkpoint)


# Disk -------------------------------------------------------------------------------------------------------


class FullAfter:
    """Stands for `save_checkpoint` on a disk that has room for so many checkpoints."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, model: Any, path: Path) -> Path:
        if self.room == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.room -= 1
        return save_checkpoint(model, path)


def test_a_full_disk_stops_with_one_message_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("agents.training.callbacks.save_checkpoint", FullAfter(3))
        assert command.main(words(folder, "ppo")) == 2
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "steps_000000000192.zip" in told  # what could not be written
    assert f"steps_000000000128.zip; go on with --resume {folder}" in told
    assert "Traceback" not in told
    assert latest_checkpoint(folder) == checkpoint_path(folder, 128)
    assert command.main(["--resume", str(folder), "--no-evaluation"]) == 0
    assert command.main(words(tmp_path / "whole", "ppo")) == 0
    assert same(weights(folder / "model.zip"), weights(tmp_path / "whole" / "model.zip"))


def test_a_file_cut_short_by_a_full_disk_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = built()
    model._last_obs = model.env.reset()
    path = save_checkpoint(model, checkpoint_path(tmp_path, 8))
    before = path.read_bytes()

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_takes_no_more_leaves_the_last_checkpoint(
    tmp_path: Path, processes: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert command.main(words(folder, "ppo", total_steps=128)) == 0
    before = latest_checkpoint(folder).read_bytes()  # type: ignore[union-attr]
    more = ["--resume", str(folder), "--no-evaluation", "--total_steps", "256"]
    process = processes.Process(target=in_process, args=(more, 20_000))
    process.start()
    process.join(60)
    assert process.exitcode == 2
    assert [path.name for path in (folder / "checkpoints").glob("*128.zip")]
    last = latest_checkpoint(folder)
    assert last is not None and last.read_bytes() == before
    assert not list((folder / "checkpoints").glob(".*"))
    assert command.main(more) == 0


def test_a_lost_folder_of_curves_stops_and_the_run_goes_on_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from agents.training.callbacks import TotalsCallback

    folder = tmp_path / "run"
    kept = TotalsCallback._on_rollout_end

    def lose(self: TotalsCallback) -> None:
        kept(self)
        if self.num_timesteps == 160:
            shutil.rmtree(folder / "tensorboard")

    with monkeypatch.context() as patch:
        patch.setattr(TotalsCallback, "_on_rollout_end", lose)
        assert command.main(words(folder, "ppo")) == 2
    told = capsys.readouterr().err
    assert f"{folder / 'tensorboard'}: gone" in told
    assert "--resume" in told
    assert command.main(["--resume", str(folder), "--no-evaluation"]) == 0
    assert (folder / "tensorboard").is_dir()


# Numbers ----------------------------------------------------------------------------------------------------


class Spoil(BaseCallback):
    """Puts a NaN into a weight, or into the rewards, when a step count is reached."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__()
        self.what, self.at = what, at

    def _on_step(self) -> bool:
        if self.num_timesteps == self.at and self.what == "rewards":
            self.locals["rewards"][0] = float("nan")
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps == self.at and self.what == "weights":
            with torch.no_grad():
                self.model.policy.value_net.weight[0, 0] = float("nan")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("what", ["weights", "rewards"])
def test_a_nan_stops_training_and_is_in_no_checkpoint(tmp_path: Path, what: str, algorithm: str) -> None:
    config, model = built(algorithm)
    with pytest.raises(TrainingError, match=r"step 160: .*last good checkpoint is .*128") as caught:
        train.train(model, config, tmp_path, extra=[Spoil(what, 160)])
    assert "learning_rate" in str(caught.value)
    last = latest_checkpoint(tmp_path)
    assert last == checkpoint_path(tmp_path, 128)
    assert all(np.isfinite(value).all() for value in weights(last))
    assert not (tmp_path / "model.zip").exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_nan_in_the_last_update_is_in_no_model(tmp_path: Path, algorithm: str) -> None:
    config, model = built(algorithm)
    with pytest.raises(TrainingError, match="left the numbers"):
        train.train(model, config, tmp_path, extra=[Spoil("rewards", 256)])
    assert not (tmp_path / "model.zip").exists()
    assert latest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 192)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["dict", "flat", "batch"])
def test_corrupted_observations_are_refused(bad: float, kind: str) -> None:
    from gridai_env.envs.env import GridAIEnv

    config, model = built()
    compiled = compiled_of(config)
    policy = NetworkPolicy(model.policy, Identity.of(compiled))
    env = GridAIEnv("two_sites", horizon_h=6.0)
    observation, _ = env.reset(seed=0)
    given: Any = {name: value.copy() for name, value in observation.items()}
    given["forecast_buy_price"][2] = bad
    if kind != "dict":
        given = np.concatenate([given[name] for name in policy.identity.observation])
    if kind == "batch":
        given = np.stack([given * 0.0 if np.isnan(bad) else np.zeros_like(given), given])
        given[0] = 0.0
    with pytest.raises(ValueError, match=r"forecast_buy_price\[2\] is (nan|inf|-inf)"):
        policy.predict(given)
    policy.predict(observation)


def test_a_corrupted_trace_does_not_route() -> None:
    from gridai_env.episodes.instance import make_instance

    config, model = built()

    class Corrupted(NetworkPolicy):
        def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
            last = list(self.identity.observation)[-1]
            broken = observation[last].copy()
            broken[..., -1] = np.nan
            return super().predict({**observation, last: broken}, *args, **kwargs)

    instance = make_instance("two_sites", seed=1, horizon_h=6.0)
    identity = Identity.of(compiled_of(config))
    run(NetworkPolicy(model.policy, identity), instance)  # whole
    with pytest.raises(ValueError, match="does not act"):
        run(Corrupted(model.policy, identity), instance)


def test_the_state_is_plain_data_that_can_be_pickled() -> None:
    _, model = built()
    model._last_obs = model.env.reset()
    state = checkpoints.training_state(model)
    assert len(pickle.dumps(state)) < 200_000
