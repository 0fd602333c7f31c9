"""Independent tasks side by side through joblib: local processes, or a Ray cluster by one option.

Cores are shared, not fought for: each of ``jobs`` workers gets cores // jobs solver threads (`solver_threads`).
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from scripts._common import InputError

R = TypeVar("R")

RAY_WAIT_S = 5.0  # for a cluster that does not answer
RAY_ROUNDS = 4


def add_parallel_arguments(parser: argparse.ArgumentParser, jobs: int | None = None) -> None:
    """Add ``--jobs``, ``--threads`` and ``--ray``."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=jobs,
        help="worker processes side by side; default: the cores of this machine",
    )
    parser.add_argument("--threads", type=int, help="of each solver; default: cores // jobs, at least 1")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="workers on a Ray cluster: its address, or 'local' to start one here"
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_jobs(jobs: int | None, tasks: int | None = None) -> int:
    """Number of workers: as given, else one per core, and no more than tasks; raises InputError below 1."""
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: must be at least 1")
    wanted = cores() if jobs is None else jobs
    return wanted if tasks is None else max(1, min(wanted, tasks))


def solver_threads(jobs: int, threads: int | None = None) -> int:
    """Threads of each solver so that ``jobs`` of them share the cores; as given where it is."""
    if threads is not None and threads < 1:
        raise InputError(f"--threads {threads}: must be at least 1")
    return max(1, cores() // jobs) if threads is None else threads


def spread(
    function: Callable[..., R], tasks: Iterable[tuple[Any, ...]], jobs: int, ray: str | None = None
) -> Iterator[R]:
    """Yield ``function(*task)`` for each task, in the order in which they finish.

    ``function``, tasks and results are pickled where there is more than one worker; one worker is this process.
    What a task raises is raised here; the others are stopped.  Raises InputError where no Ray cluster answers.
    """
    work = list(tasks)
    if ray is None and (jobs == 1 or len(work) <= 1):
        for task in work:
            yield function(*task)
        return
    from joblib import Parallel, delayed

    calls = [delayed(_quietly)(function, *task) for task in work]
    with _backend(ray):
        if ray is None:
            yield from Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs")(calls)
            return
        step = RAY_ROUNDS * jobs  # Ray's backend returns lists alone: some rounds at a time, to show progress
        for first in range(0, len(calls), step):
            yield from Parallel(n_jobs=jobs)(calls[first : first + step])


def _quietly(function: Callable[..., R], *task: Any) -> R:
    """Run a task with as many linear-algebra threads as solver threads ask for, not one per core each."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return function(*task)


@contextmanager
def _backend(ray: str | None) -> Iterator[None]:
    """The joblib backend: its own processes, or Ray."""
    from joblib import parallel_config

    if ray is None:
        with parallel_config(backend="loky"):
            yield
        return
    with _ray_cluster(ray), parallel_config(backend="ray"):
        yield


@contextmanager
def _ray_cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster (or start one here) and make it known to joblib; disconnect at the end."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ModuleNotFoundError as error:
        raise InputError(f"--ray needs {error.name}: pip install 'gridai-env[ray]'") from error
    try:
        if address == "local":
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, log_to_driver=False)
        else:
            _knock(address)
            ray.init(address=address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--ray {address!r}: no Ray cluster answers there ({reason}); start one with `ray start --head`, "
            "or give 'local'"
        ) from error
    try:
        register_ray()
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray itself waits for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("an address is 'auto', 'local', HOST:PORT or ray://HOST:PORT")
    with socket.create_connection((host, int(port)), timeout=RAY_WAIT_S):
        pass
