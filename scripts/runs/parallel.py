"""Independent tasks side by side through joblib: local processes, or a Ray cluster by one option.

Cores are divided: each of ``jobs`` workers gets cores // jobs solver threads.
"""

import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from gridai_env.traces.errors import TraceWarning
from gridai_env.version import pip_install
from scripts.runs.command import InputError

R = TypeVar("R")

RAY_WAIT_S = 5.0  # for a cluster that does not answer
RAY_ROUNDS = 4


def cores() -> int:
    """Return cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(
    function: Callable[..., R], tasks: Iterable[tuple[Any, ...]], jobs: int, ray: str | None = None
) -> Iterator[R]:
    """Yield ``function(*task)`` for each task, in the order in which they finish.

    ``function``, tasks and results are pickled where there is more than one worker; one worker is this process.
    What a task raises is raised here; the others are stopped, as they are by ctrl-C (KeyboardInterrupt) and where
    the iterator is closed early.  Raises InputError where no Ray cluster answers.
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
            yield from local_results(
                lambda: Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs")(calls)
            )
            return
        step = RAY_ROUNDS * jobs  # Ray's backend returns lists alone: some rounds at a time, to show progress
        for first in range(0, len(calls), step):
            yield from Parallel(n_jobs=jobs)(calls[first : first + step])


def local_results(start: Callable[[], Iterator[R]]) -> Iterator[R]:
    """Yield what worker processes on this machine return; however it ends early, none of them works on."""
    results: Iterator[R] | None = None
    try:
        try:
            with _interrupts_later():
                results = start()
            yield from _each(results)
        except BaseException:
            _stop_workers(results)
            raise
    except GeneratorExit:
        raise
    except BaseException as error:
        if _interrupted(error):  # joblib and loky may fail while they handle it
            raise KeyboardInterrupt from None
        raise


def _each(results: Iterator[R]) -> Iterator[R]:
    """Yield the results; unlike ``yield from`` it leaves joblib's iterator open where this one is closed."""
    for result in results:  # noqa: UP028
        yield result


def _stop_workers(results: Any) -> None:
    """Kill the worker processes and close joblib's iterator, without its advice to compute less."""
    from joblib.externals.loky import get_reusable_executor

    with _interrupts_later(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if results is not None:
            results.close()
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold ctrl-C back until the end: workers that are half started cannot be stopped."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # signals reach the main thread alone; they may be ignored
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))

    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(came[0], None)


def _interrupted(error: BaseException | None) -> bool:
    """Return whether an error is a KeyboardInterrupt or came up while one was handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _quietly(function: Callable[..., R], *task: Any) -> R:
    """Run a task with as many linear-algebra threads as solver threads ask for, not one per core each."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore", TraceWarning)  # the driver has told
    return function(*task)


@contextmanager
def _backend(ray: str | None) -> Iterator[None]:
    """Yield the joblib backend: its own processes, or Ray."""
    from joblib import parallel_config

    if ray is None:
        with parallel_config(backend="loky"):
            yield
        return
    # Ray counts its workers as no load at all and would pack them onto one machine.
    spread_out = {"scheduling_strategy": "SPREAD"}
    with _ray_cluster(ray), parallel_config(backend="ray", ray_remote_args=spread_out):
        yield


def check_ray(address: str | None) -> None:
    """Raise InputError where ``--ray`` cannot be had, before anything is computed: no package, or no answer."""
    if address is None:
        return
    if find_spec("ray") is None:
        raise InputError(f"--ray needs ray: {pip_install('ray')}")
    if address != "local":
        try:
            _knock(address)
        except (OSError, ValueError) as error:
            raise InputError(_silent(address, error)) from error


def _silent(address: str, error: Exception) -> str:
    """Return what to say of a cluster that cannot be reached."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"--ray {address!r}: no Ray cluster answers there ({reason}); start one with `ray start --head`, "
        "or give 'local'"
    )


@contextmanager
def _ray_cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster (or start one here) and make it known to joblib; disconnect at the end."""
    import ray
    from ray.util.joblib import register_ray

    try:
        if address == "local":
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, log_to_driver=False)
        else:
            _knock(address)
            ray.init(address=address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(_silent(address, error)) from error
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
