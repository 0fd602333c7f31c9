"""Files of exports as tables of text: delimited text, and JSON with a list of records."""

import csv
import gzip
import json
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.forms import FORMS, Form, plain_name
from gridai_env.traces.files.cells import gzip_advice, is_gzip, text_rows

# Where the answers of interfaces keep their records.
RECORDS = ("history", "data", "records", "items")
Row = tuple[int, list[str]]  # line, cells


@dataclass(frozen=True)
class TextTable:
    """The rows of a file, in file order."""

    path: Path
    header: list[str]
    rows: list[Row]

    @cached_property
    def at(self) -> dict[str, int]:
        """Where a column stands, by its plain name; a column without name is one only at the front."""
        return {plain_name(name): i for i, name in reversed(list(enumerate(self.header))) if name or not i}

    def index(self, names: str) -> int | None:
        """Return where the first of the columns ``a|b`` stands."""
        return next((self.at[name] for name in names.split("|") if name in self.at), None)

    def error(self, text: str) -> TraceError:
        """Return an error that names the file."""
        return TraceError(f"{self.path}: {text}")

    def where(self, line: int, cells: list[str], at: list[int]) -> str:
        """Return file, line and cells of some columns, for errors."""
        shown = ", ".join(f"{self.header[i]} = {cells[i]!r}" for i in at)
        return f"{self.path}: line {line}, {shown}"

    def indices(self, *columns: str) -> list[int]:
        """Return where columns stand; those that are not there are passed over."""
        return [i for i in map(self.index, columns) if i is not None]


def load_table(path: Path) -> TextTable:
    """Read a file; raises TraceError where it is neither delimited text nor JSON with a list of records."""
    if is_json(path):
        return _records(path, load_json(path))
    with text_rows(path) as (names, rows):
        header = [" ".join(name.split()) for name in names]
        table = TextTable(
            path, header, [(line, [" ".join(cell.split()) for cell in row]) for line, row in rows]
        )
    return _unquoted(table) if len(header) == 1 and "," in header[0] else table


def _unquoted(table: TextTable) -> TextTable:
    """Return a table whose lines each stand in quotes, as some portals write them."""
    lines = (table.header[0], *(row[0] for _, row in table.rows))
    header, *cells = (next(csv.reader([line]), []) for line in lines)
    rows = [(line, row) for (line, _), row in zip(table.rows, cells, strict=True)]
    if bad := next((line for line, row in rows if len(row) != len(header)), None):
        raise table.error(
            f"line {bad} has not the {len(header)} cells of the header; mend or remove the line"
        )
    return TextTable(table.path, header, rows)


def is_json(path: Path) -> bool:
    """Return whether the name says that a file is JSON."""
    return path.name.lower().removesuffix(".gz").endswith(".json")


def load_json(path: Path) -> Any:
    """Return the JSON of a file, plain or gzipped; raises TraceError where it is not JSON."""
    try:
        content = gzip.decompress(path.read_bytes()) if is_gzip(path) else path.read_bytes()
        return json.loads(content)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: not valid JSON: {gzip_advice(path) or error}") from error


def _records(path: Path, data: Any) -> TextTable:
    """Return the records of an answer; what stands once beside them (zone, units) becomes a column of all."""
    whole: dict[str, Any] = data if isinstance(data, dict) else {"data": data}
    found: list[Any] = next((whole[name] for name in RECORDS if isinstance(whole.get(name), list)), [])
    named = whole.get("fields")
    fields = [str(f.get("name")) for f in (named if isinstance(named, list) else []) if isinstance(f, dict)]
    records = [dict(zip(fields, one, strict=False)) if isinstance(one, list) else one for one in found]
    if not records and isinstance(whole.get("reason"), str):
        raise TraceError(f"{path}: is no data but an error of the portal: {whole['reason']}")
    if not records or not all(isinstance(record, dict) and record for record in records):
        raise TraceError(
            f"{path}: found JSON with {sorted(whole)[:8]}, expected a list of records in one of {', '.join(RECORDS)}"
        )

    meta = whole.get("meta")
    once = whole | (meta if isinstance(meta, dict) else {})
    common = {name: value for name, value in once.items() if not isinstance(value, dict | list)}
    header = list({**records[0], **common})
    rows = [[_text((common | record).get(name)) for name in header] for record in records]
    return TextTable(path, header, list(enumerate(rows, start=1)))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def form_of(table: TextTable) -> str | None:
    """Return the name of the form that a table has; None: none of them.

    Raises TraceError where a name stands twice: one of the columns would silently be used.
    """
    if twice := sorted(name for name in table.header if name and table.header.count(name) > 1):
        raise table.error(
            f"columns {', '.join(dict.fromkeys(twice))} appear more than once; keep one of each"
        )
    return next((name for name, form in FORMS.items() if fits(form, table)), None)


def fits(form: Form, table: TextTable) -> bool:
    """Return whether a table has the columns of a form."""
    stamped = stamp_columns(form, table) is not None
    needed = all(table.index(column) is not None for column in form.needs)
    return stamped and needed and any(re.fullmatch(form.values, name, re.IGNORECASE) for name in table.header)


def stamp_columns(form: Form, table: TextTable) -> tuple[list[int], str] | None:
    """Return where the columns of the stamp stand, and their clock."""
    for columns, clock in form.stamps.items():
        found = table.indices(*columns)
        if len(found) == len(columns):
            return found, clock
    return None
