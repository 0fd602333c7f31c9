"""Files of demand, told apart by their headers: requests in three layouts, windowed rates, series by region."""

from dataclasses import dataclass
from pathlib import Path

from gridai_env.traces.errors import TraceError
from gridai_env.traces.files import rates as windows
from gridai_env.traces.files.cells import check_suffix, file_sha256, read_once, shown
from gridai_env.traces.files.formats import REGIONAL, load
from gridai_env.traces.files.requests import FORMS, JSON_LINES, TokenMinutes, read_requests, request_rows
from gridai_env.traces.files.zones import TraceTable

REGIONS = "regions"
FORMATS = {name: form.columns for name, form in FORMS.items()} | {"windows": windows.COLUMNS}
FORMATS |= {REGIONS: ("utc", "region", *REGIONAL[:1])}
SUFFIXES = (".csv", ".csv.gz", *JSON_LINES)


@dataclass(frozen=True, eq=False)
class DemandTrace:
    """The work of one file (and model), by minute.  Equal only to itself: an unchanged file is read once."""

    source: str
    sha256: str
    format_name: str
    model: str | None
    minutes: TokenMinutes


def demand_format(path: str | Path, expected: str | None = None) -> str:
    """Return the name of the form in `FORMATS`, as the header says.

    Raises TraceError where the header is of none or not of the one ``expected``, naming what was found.
    """
    path = Path(path)
    check_suffix(path, SUFFIXES)
    with request_rows(path) as (header, _):
        regional = {"utc", "region"} <= {name.lower() for name in header}
        found = (
            REGIONS
            if regional
            else next((name for name, columns in FORMATS.items() if set(columns) <= set(header)), None)
        )
        if found is None or expected not in (None, found):
            wanted = FORMATS if expected is None else {expected: FORMATS[expected]}
            forms = " or ".join(f"{name} ({','.join(columns)},...)" for name, columns in wanted.items())
            what = "" if found is None else f", which is the form {found}"
            raise TraceError(f"{path}: expected {forms}, found the header {shown(header)}{what}")
    return found


@read_once(f"file of demand; give one of {', '.join(SUFFIXES)}, or 'synthetic'")
def read_demand(path: Path, format_name: str | None = None, model: str | None = None) -> DemandTrace:
    """Read a file of demand; the same unchanged file is read once per process.

    ``model`` chooses one of a file of windowed rates or BurstGPT.  Raises TraceError, FileNotFoundError.
    """
    name = demand_format(path, format_name)
    form = FORMS.get(name)
    if form is not None and not form.model and model is not None:
        raise TraceError(f"{path}: model = {model!r}: a file of the form {name} has no models; leave it out")
    minutes = windows.read_windows(path, model) if form is None else read_requests(path, form, model)
    return DemandTrace(str(path), file_sha256(path), name, model, minutes)


@read_once(f"file of demand; give one of {', '.join(SUFFIXES)}, or 'synthetic'")
def read_regions(path: Path, format_name: str | None, fill_gap_h: float) -> TraceTable | None:
    """Read a file of demand by region and date, None where it is of another form.

    Raises TraceError, FileNotFoundError.
    """
    if demand_format(path, format_name) != REGIONS:
        return None
    return TraceTable(str(path), file_sha256(path), load(path, regional=True), fill_gap_h)
