"""Files of demand, told apart by their headers: single requests or windowed rates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gridai_env.traces.errors import TraceError
from gridai_env.traces.files import rates as windows
from gridai_env.traces.files import requests
from gridai_env.traces.files.cells import check_suffix, file_sha256, read_once, shown, text_rows
from gridai_env.traces.files.requests import TokenMinutes, read_requests

FORMATS = {"requests": requests.COLUMNS, "windows": windows.COLUMNS}


@dataclass(frozen=True, eq=False)
class DemandTrace:
    """The work of one file (and model), by minute.  Equal only to itself: an unchanged file is read once."""

    source: str
    sha256: str
    format_name: str
    model: str | None
    minutes: TokenMinutes


def demand_format(path: str | Path, expected: str | None = None) -> str:
    """Return "requests" or "windows", as the header says.

    Raises TraceError where the header is of neither or not of the one ``expected``, naming what was found.
    """
    path = Path(path)
    check_suffix(path, (".csv", ".csv.gz"))
    with text_rows(path) as (header, _):
        found = next((name for name, columns in FORMATS.items() if set(columns) <= set(header)), None)
        if found is None or expected not in (None, found):
            wanted = FORMATS if expected is None else {expected: FORMATS[expected]}
            forms = " or ".join(f"{name} ({','.join(columns)},...)" for name, columns in wanted.items())
            what = "" if found is None else f", which is the form {found}"
            raise TraceError(f"{path}: expected {forms}, found the header {shown(header)}{what}")
    return found


@read_once("file of demand; give a .csv or .csv.gz, or 'synthetic'")
def read_demand(path: Path, format_name: str | None = None, model: str | None = None) -> DemandTrace:
    """Read a file of demand; the same unchanged file is read once per process.

    ``model`` chooses one of a file of windowed rates.  Raises TraceError, FileNotFoundError.
    """
    name = demand_format(path, format_name)
    if name == "requests" and model is not None:
        raise TraceError(f"{path}: model = {model!r}: a file of single requests has no models; leave it out")
    minutes = read_requests(path) if name == "requests" else windows.read_windows(path, model)
    return DemandTrace(str(path), file_sha256(path), name, model, minutes)
