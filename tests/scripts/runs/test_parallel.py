"""Tasks side by side: how they end early, and what is said of a cluster that is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import pareto as front
from scripts.runs import parallel
from scripts.runs.command import BAD_INPUT, INTERRUPTED, InputError
from scripts.runs.parallel import check_ray, spread

ROOT = Path(__file__).resolve().parents[3]
# Says "ready", then works for much longer than the test; ctrl-C is heard whoever started the tests.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from scripts.runs.command import exit_code
from scripts.runs.parallel import spread

def task(seconds):
    time.sleep(seconds)
    return os.getpid()

def work():
    print("ready", flush=True)
    for pid in spread(task, [(0.3,), (0.3,)] + [(60.0,)] * 8, 2):
        print(pid, flush=True)
    return 0

if __name__ == "__main__":
    sys.exit(exit_code(work))
"""


def gone(pid: int) -> bool:
    """Whether a process has ended: not there, or a zombie that nobody waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes end")
@pytest.mark.parametrize("delay_s", [0.0, 0.3, None])
def test_ctrl_c_of_the_parent_alone_ends_all_at_once(tmp_path: Path, delay_s: float | None) -> None:
    """Before, while and after the workers start (None: after the first results): one line, no traceback."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pids = []
        if delay_s is None:
            pids = [int(process.stdout.readline()) for _ in range(2)]
        else:
            time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        try:
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (INTERRUPTED, "interrupted\n")
    assert time.monotonic() - begin < 25  # nobody waited for a task
    assert all(gone(pid) for pid in pids)


def process_after(seconds: float) -> int:
    """Sleep and return this process's number."""
    time.sleep(seconds)
    return os.getpid()


def test_closing_early_stops_the_workers_without_advice_and_the_next_call_works() -> None:
    results = spread(process_after, [(0.0,), *[(60.0,)] * 5], 2)
    pid = next(results)
    results.close()  # type: ignore[attr-defined]  # a warning would be an error here
    assert gone(pid)
    assert len(list(spread(process_after, [(0.0,)] * 4, 2))) == 4


def fails(number: int) -> int:
    """Raise for one of the tasks."""
    if number == 1:
        raise InputError("not this one")
    return number


def test_an_error_of_a_task_comes_out_as_it_is() -> None:
    with pytest.raises(InputError, match="not this one"):
        list(spread(fails, [(n,) for n in range(6)], 2))


def test_an_error_while_ctrl_c_is_handled_is_ctrl_c() -> None:
    """As when loky tries to kill a process that has not started."""

    def broken() -> object:
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("'NoneType' object has no attribute 'kill'")

    with pytest.raises(KeyboardInterrupt) as caught:
        next(parallel.local_results(broken))  # type: ignore[arg-type]
    assert caught.value.__suppress_context__


def test_ray_is_asked_for_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_ray(None)
    monkeypatch.setattr(parallel, "find_spec", lambda _: None)
    words = ["--scenario", "two_sites", "--horizon-h", "6", "--jobs", "1", "--run-dir", str(tmp_path / "run")]
    assert front.main([*words, "--ray", "local"]) == BAD_INPUT
    said = capsys.readouterr()
    assert said.err == "error: --ray needs ray: pip install -e '.[ray]'\n" and not said.out
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(parallel, "find_spec", lambda _: object())
    check_ray("local")
    for address, why in (("127.0.0.1:1", "refused"), ("nowhere", "an address is 'auto'")):
        with pytest.raises(InputError, match=rf"--ray '{address}': no Ray cluster answers there \(.*{why}"):
            check_ray(address)
