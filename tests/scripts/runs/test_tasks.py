"""Resumable tasks: what is written when, what is computed again, and workers that share no disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.runs import tasks
from scripts.runs.command import InputError
from scripts.runs.tasks import Record, Store, Task, had_time, key_of, open_store, results_of, run_tasks

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Square(Task):
    """The square of a number, after some time."""

    number: int
    seconds: float = 0.0
    rests_on: str = ""

    @property
    def name(self) -> str:
        return f"square{self.number}"

    @property
    def key(self) -> str:
        return key_of("square", self.number)

    @property
    def stamp(self) -> Record:
        return {"under": self.rests_on}

    def is_current(self, record: Record) -> bool:
        return bool(record["under"] == self.rests_on)


def compute(batch: Sequence[Square]) -> Iterator[Record]:
    for task in batch:
        time.sleep(task.seconds)
        yield {"square": task.number**2, "pid": os.getpid()}


def squares(*numbers: int, seconds: float = 0.0) -> list[Square]:
    return [Square(number, seconds) for number in numbers]


def times(store: Store) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()}


def test_results_are_written_as_they_arrive_and_kept(tmp_path: Path) -> None:
    store, seen = Store(tmp_path, "square"), []

    def noted(batch: Sequence[Square]) -> Iterator[Record]:
        for record in compute(batch):
            seen.append(store.count(squares(*range(6))))  # files of all results before this one
            yield record

    assert run_tasks(store, [[squares(0, 1, 2), squares(3)]], noted) == 4
    assert seen == [0, 1, 2, 3]
    before = times(store)
    assert run_tasks(store, [[squares(0, 1, 2), squares(3, 4)]], compute) == 1
    assert {name: time_ns for name, time_ns in times(store).items() if name in before} == before
    assert [store.result(task)["square"] for task in squares(*range(5))] == [0, 1, 4, 9, 16]
    with pytest.raises(InputError, match=r"square5\.json: no result yet; run the same command again"):
        store.result(Square(5))


def test_a_later_stage_reads_the_results_of_those_before(tmp_path: Path) -> None:
    store = Store(tmp_path, "square")

    def stages() -> Iterator[list[list[Square]]]:
        yield [squares(3)]
        yield [squares(store.result(Square(3))["square"])]

    assert run_tasks(store, stages(), compute, total=2) == 2
    assert store.result(Square(9))["square"] == 81


def test_several_workers_find_the_same_and_only_this_process_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "points", "square")
    (tmp_path / "points").mkdir()
    assert run_tasks(store, [[squares(0, 1, 2), squares(3, 4), squares(5)]], compute, jobs=2) == 6
    records = [store.result(task) for task in squares(*range(6))]
    assert [record["square"] for record in records] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {record["pid"] for record in records}


def test_workers_hand_back_before_a_batch_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time at all they hand back result by result; batches go on where they were."""
    monkeypatch.setattr(tasks, "spread", in_slices := SlicedSpread())
    monkeypatch.setattr(tasks, "SLICE_S", 0.0)
    found = {
        task.number: record["square"]
        for task, record in results_of(compute, [squares(1, 2, 3), squares(4)], 2)
    }
    assert found == {1: 1, 2: 4, 3: 9, 4: 16}
    assert in_slices.calls == [2, 1, 1]


class SlicedSpread:
    """`spread` in this process that counts the calls of each round."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, function: Any, calls: list[Any], *_: Any) -> Iterator[Any]:
        self.calls.append(len(calls))
        yield from (function(*call) for call in calls)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_keeps_what_has_arrived(jobs: int, tmp_path: Path) -> None:
    store = Store(tmp_path, "square")
    with pytest.raises(InputError, match="not this one"):
        run_tasks(store, [[squares(0), squares(1), squares(2, seconds=0.5), squares(-1)]], fails, jobs=jobs)
    assert store.count(squares(0, 1)) == 2


def fails(batch: Sequence[Square]) -> Iterator[Record]:
    for task, record in zip(batch, compute(batch), strict=True):
        if task.number < 0:
            time.sleep(1.0)
            raise InputError("not this one")
        yield record


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, "square")
    store.write(Square(1), {"square": 1})
    path = store.path(Square(1))
    whole = json.loads(path.read_text())
    changes: dict[str, Any] = {"key": "0", "environment_version": -1, "format": "other", "format_version": 9}
    for name, value in changes.items():
        path.write_text(json.dumps(whole | {name: value}))
        with pytest.raises(InputError, match=rf"{name} is .*another scenario, version or setting"):
            run_tasks(store, [[squares(1)]], compute)
    for text in ("", "[]", '{"key":', "\x00"):
        path.write_text(text)
        with pytest.raises(InputError, match="square1"):
            store.read(Square(1))
    path.unlink()
    assert run_tasks(store, [[squares(1)]], compute) == 1


def test_what_no_longer_holds_is_computed_again(tmp_path: Path) -> None:
    store, task = Store(tmp_path, "square"), Square(2)
    run_tasks(store, [[[task]]], compute)
    assert run_tasks(store, [[[replace(task, rests_on="another stage")]]], compute) == 1
    assert store.read(task) is None


def test_more_time_is_for_solves_that_ran_out_of_it() -> None:
    stopped: Record = {"row": {"status": "time_limit"}, "time_limit_s": 60.0}
    assert had_time(stopped, 60.0) and had_time(stopped, 1.0) and not had_time(stopped, 61.0)
    assert had_time(stopped | {"row": {"status": "optimal"}}, 61.0)
    assert had_time(stopped | {"row": None}, 61.0)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    """Plans and trajectories: one .npz with a checksum, nothing pickled."""
    store = Store(tmp_path, "square", binary=True)
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "names": np.array(["a", "b"])}
    store.write(Square(1), {"status": "optimal", "arrays": arrays})
    record = store.result(Square(1))
    assert record["status"] == "optimal" and set(record["arrays"]) == {"x", "names"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(record["arrays"][name], array)
    path = store.path(Square(1))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        InputError, match=r"square1\.npz: not a whole point file .*delete it and make it again"
    ):
        store.read(Square(1))


# Run folders ------------------------------------------------------------------------------------------------


def test_a_store_belongs_to_settings(tmp_path: Path) -> None:
    def opened(config: Record, overwrite: bool = False) -> Path:
        holds = "squares of something else"
        return open_store(
            tmp_path, "squares", "points", config, ("worlds.a", "worlds.b", "gap"), holds, overwrite
        )

    config = {"worlds": {"a": {"x": 1}}, "gap": 0.1, "jobs": 1}
    store = opened(config)
    assert store == tmp_path / "points" and store.is_dir()
    tasks_run = {"kind": "squares", "run_format": 1, "environment_version": tasks.environment_version()}
    (tmp_path / "run.json").write_text(json.dumps(tasks_run | {"config": config}))
    (store / "one.json").write_text("{}")
    opened(config | {"jobs": 2, "worlds": {"a": {"x": 1}, "b": {"x": 5}}})  # jobs decide nothing, b is new
    with pytest.raises(
        InputError, match=r"squares of something else: worlds\.a\.x was 1 and is now 2; .*--overwrite"
    ):
        opened({"worlds": {"a": {"x": 2}}, "gap": 0.1})
    with pytest.raises(InputError, match=r"gap was 0\.1 and is now 0\.2"):
        opened(config | {"gap": 0.2})
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"holds results but no run\.json"):
        opened(config)
    assert not any(opened(config, overwrite=True).iterdir())


# Killed without warning -------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tasks import Store, compute, run_tasks, squares
store = Store(Path(sys.argv[1]), "square")
batches = [squares(*range(4), seconds=0.2), squares(*range(4, 8), seconds=0.2)]
run_tasks(store, [batches], compute, jobs=int(sys.argv[3]))
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_is_computed_twice_after_a_kill(jobs: int, tmp_path: Path) -> None:
    """SIGKILL in the middle: every file is whole, and a second run computes what is missing alone."""
    store = Store(tmp_path, "square")
    everything = squares(*range(8))
    words = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), str(jobs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        end_s = time.monotonic() + 60.0
        while store.count(everything) < 2 and time.monotonic() < end_s:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    before = {name: time_ns for name, time_ns in times(store).items() if not name.startswith(".")}
    assert len(before) >= 2
    assert run_tasks(store, [[everything]], compute) == 8 - len(before)
    assert {name: times(store)[name] for name in before} == before
    assert [store.result(task)["square"] for task in everything] == [n**2 for n in range(8)]


# A cluster --------------------------------------------------------------------------------------------------


def where(batch: Sequence[Square]) -> Iterator[Record]:
    """Say on which machine and in which folder a worker is, and prove that it can write there alone."""
    import ray

    for task in batch:
        time.sleep(task.seconds)
        Path("scratch").touch()
        yield {"node": ray.get_runtime_context().get_node_id(), "folder": str(Path.cwd())}


@pytest.mark.ray
def test_machines_of_a_cluster_need_no_disk_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes with working folders of their own: results come back to the driver, which alone has the run folder."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gridai-env[ray]'")
    from ray.cluster_utils import Cluster

    folders = [tmp_path / name for name in ("first", "second", "driver")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.chdir(folders[0])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        monkeypatch.chdir(folders[1])
        cluster.add_node(num_cpus=1)
        monkeypatch.chdir(folders[2])
        store = Store(Path("points"), "square")
        batches = [squares(n, seconds=0.5) for n in range(6)]
        assert run_tasks(store, [batches], where, jobs=2, ray=cluster.address) == 6
    finally:
        cluster.shutdown()

    records = [store.result(task) for batch in batches for task in batch]
    assert len({record["node"] for record in records}) == 2
    assert {record["folder"] for record in records} == {str(folder) for folder in folders[:2]}
    assert len(list(Path("points").iterdir())) == 6
    assert [path.name for folder in folders[:2] for path in folder.iterdir()] == ["scratch", "scratch"]
