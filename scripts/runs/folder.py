"""What all commands share: run folders, run.json, lists on the command line, and errors in one line."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gridai_env
from gridai_env.episodes.instance import Instance
from gridai_env.files import write_json
from gridai_env.version import environment_version
from scripts.runs.command import InputError

RUN_FILE = "run.json"
RUN_FORMAT = 1
PACKAGES = (
    "gridai-env", "numpy", "gymnasium", "pydantic", "pyomo",
    "highspy", "scipy", "torch", "stable-baselines3", "tensorboard",
)  # fmt: skip


# Run folders ------------------------------------------------------------------------------------------------


def default_folder(kind: str, scenario: str) -> Path:
    """Return the path ``runs/<kind>-<scenario>-<UTC time>``."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{kind}-{Path(scenario).stem}-{stamp}"


def open_folder(path: str | Path, kind: str) -> Path:
    """Create a run folder and prove that it can be written to.

    Raises InputError where it cannot, and where it holds a run of another kind, which would be damaged.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"output folder {str(folder)!r} cannot be written: {error.strerror or error}"
        ) from error

    # A run of another kind would be damaged.
    found = _kind_of(folder / RUN_FILE)
    if found not in (None, kind):
        raise InputError(
            f"output folder {str(folder)!r} holds a run of {found!r}, which {kind!r} would overwrite; "
            f"give another folder, e.g. {str(folder / kind)!r}"
        )
    return folder


def _kind_of(run_file: Path) -> str | None:
    if not run_file.exists():
        return None
    data = _read_record(run_file, "; give another folder")
    return str(data.get("kind", "something else")) if isinstance(data, dict) else "something else"


def _read_record(file: Path, advice: str = "") -> Any:
    """Return what a run.json holds; raises InputError where it is missing or damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a run.json: {error}{advice}") from error


def check_out(out: Path, example: str) -> None:
    """Raise InputError where the file of ``--out`` cannot be written: before anything is computed."""
    if out.is_dir():
        raise InputError(f"--out {str(out)!r}: is a folder; give a file, e.g. {str(out / example)!r}")
    if not out.parent.is_dir():
        raise InputError(f"--out {str(out)!r}: there is no folder {str(out.parent)!r}; make it first")
    if not os.access(out.parent, os.W_OK):
        raise InputError(
            f"--out {str(out)!r}: folder {str(out.parent)!r} cannot be written to; give another --out"
        )


def emptied(folder: Path) -> Path:
    """Make a folder anew, without what it holds; return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def replace_run(folder: Path, what: str, go_on: str, own: Sequence[str], overwrite: bool) -> None:
    """Remove an older run, whose files would mix with the new ones: run.json and ``own``, patterns of its files.

    Raises InputError where ``overwrite`` does not say so; ``what`` it is, and the option to ``go_on`` with it.
    """
    if not (folder / RUN_FILE).exists():
        return
    if not overwrite:
        raise InputError(
            f"{folder} holds a {what}: go on with it ({go_on}), replace it (--overwrite) or give another --run-dir"
        )

    # Other files of the folder are not the run's.
    for path in [path for pattern in (*own, RUN_FILE) for path in folder.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def file_name(name: str) -> str:
    """Return the name of a policy or an axis as part of a file name."""
    return name.replace(":", "_").replace("/", "_")


def write_run(
    folder: Path,
    kind: str,
    config: dict[str, Any],
    seeds: Sequence[int],
    instances: Sequence[Instance | dict[str, Any]] = (),
    device: str = "cpu",
    **more: Any,
) -> Path:
    """Write ``run.json`` atomically: command, settings, seeds, instances, versions and machine.

    ``instances`` are instances or their `instance_record`.
    """
    record = {
        "kind": kind,
        "run_format": RUN_FORMAT,
        "environment_version": environment_version(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "config": config,
        "commit": commit(),
        "versions": versions(),
        "seeds": list(seeds),
        "device": device,
        "machine": machine(),
        "instances": [i if isinstance(i, dict) else instance_record(i) for i in instances],
        **more,
    }

    path = folder / RUN_FILE
    write_json(path, record, default=str)
    return path


def read_run(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """Return the record in a run folder (or of a ``run.json``).

    Raises InputError where it is missing, of another kind, format or version of the environment.
    """
    file = Path(path) / RUN_FILE if Path(path).is_dir() else Path(path)
    record = _read_record(file)
    wanted = {"run_format": RUN_FORMAT, "environment_version": environment_version()}
    if kind is not None:
        wanted["kind"] = kind  # type: ignore[assignment]
    for key, value in wanted.items():
        found = record.get(key) if isinstance(record, dict) else None
        if found != value:
            raise InputError(f"{file}: {key} is {found!r}, this program reads {value!r}; run it again")
    return dict(record)


def instance_record(instance: Instance) -> dict[str, Any]:
    """Return what identifies an instance."""
    return {"seed": instance.seed, "start_utc": str(instance.start_utc), "hash": instance.hash}


# Facts ------------------------------------------------------------------------------------------------------


def commit() -> str | None:
    """Return commit of the checkout, with "+changes" where files differ from it; None outside of one."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        return head + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Return versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version(), "gridai_env": gridai_env.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return processor and system."""
    return {"system": platform.platform(), "processor": platform.processor(), "cpus": os.cpu_count()}


def as_stored(value: Any) -> Any:
    """Return a setting as ``run.json`` gives it back."""
    return json.loads(json.dumps(value, default=str))


def differences(there: Any, here: Any, name: str) -> Iterator[str]:
    """Yield where two stored settings differ, in words; a file counts by its name, its folder may have moved."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            yield from differences(there.get(key), here.get(key), f"{name}.{key}")
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (old, new) in enumerate(zip(there, here, strict=True)):
            yield from differences(old, new, f"{name}[{i}]")
    elif _by_name(there) != _by_name(here):
        yield f"{name} was {there!r} and is now {here!r}"


def _by_name(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value
