"""What readers of files share: rows of text, cells, Parquet, and that an unchanged file is read once."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache, wraps
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces.errors import TraceError
from gridai_env.version import pip_install

# A header or cell is shown in errors up to this length.
SHOWN = 160
GZIP, ZIP = b"\x1f\x8b", b"PK"  # how archives begin
SEPARATORS = (",", ";", "\t", "|")
DECIMAL_COMMA = re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+(e[-+]?\d+)?", re.IGNORECASE)
DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.IGNORECASE)
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
EITHER = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")  # 1,045: decimals or thousands


@contextmanager
def text_rows(path: Path, skip: int = 0) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Open a delimited file, plain or gzipped, as header (names without blanks around them) and rows.

    ``skip`` lines stand before the header.  UTF-8 and UTF-16 are told apart by their first bytes.  The separator is
    the one of `SEPARATORS` that the header has most of; where it is no comma, decimal commas become points.  Each row
    is a line number and its cells; empty lines are passed over, empty cells beyond the header are cut.  Raises
    FileNotFoundError, and TraceError for a file that is empty, not text, not the gzip archive its name says, mixes
    decimal commas and points, has only commas that may be either, or a row of another width than the header.
    """
    try:
        with opened(path, "rb") as file:
            encoding = _encoding(file.read(2))
        with opened(path, "rt", newline="", encoding=encoding) as file:
            first = [file.readline() for _ in range(skip + 1)][-1]
            separator = max(SEPARATORS, key=first.count)
            rows = csv.reader(chain([first], file), delimiter=separator)
            header = [name.strip() for name in next(rows, [])]
            if not any(header):
                raise TraceError(f"{path}: the file is empty; expected a header and rows")
            wide = _checked_width(path, rows, header, skip + 2)
            yield header, wide if separator == "," else _with_points(path, wide)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except UnicodeError as error:
        advice = gzip_advice(path) or "neither UTF-8 nor UTF-16; save the table as CSV in UTF-8"
        raise TraceError(f"{path}: cannot be read as text: {advice}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read as text: {gzip_advice(path) or error}") from error


def opened(path: Path, mode: str, **options: Any) -> Any:
    """Open a file, through gzip where its name says so; ``options`` are those of `open`."""
    return gzip.open(path, mode, **options) if is_gzip(path) else path.open(mode, **options)


def is_gzip(path: Path) -> bool:
    """Return whether the name says that a file is compressed; upper and lower case count alike."""
    return path.name.lower().endswith(".gz")


def _encoding(head: bytes) -> str:
    """Return the encoding that the first two bytes of a text show."""
    if head in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    # The first character of a header is a letter: half of its two bytes is 0.
    return {b"\0": "utf-16-be"}.get(head[:1]) or {b"\0": "utf-16-le"}.get(head[1:], "utf-8-sig")


def _with_points(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with decimal points; a file that has numbers with points as well is refused."""
    seen: dict[str, tuple[int, str]] = {}

    for line, row in rows:
        for i, cell in enumerate(row):
            text = cell.strip()
            if mark := _mark(text):
                seen.setdefault(mark, (line, text))
                row[i] = text if mark == "point" else text.replace(".", "").replace(",", ".")
        if "point" in seen and len(seen) > 1:
            _check_marks(path, {"comma": seen.get("either", (0, ""))} | seen)
        yield line, row
    _check_marks(path, seen)


def plain_numbers(path: Path, cells: Sequence[tuple[int, str]]) -> list[str]:
    """Return the numbers of a column with decimal points and without marks of thousands, other text as it is.

    ``cells``: line and text.  A comma before three digits (1,045) is read as the column's other numbers have it.
    Raises TraceError where they have decimal commas and points, or none tells.
    """
    seen: dict[str, tuple[int, str]] = {}
    for line, text in cells:
        if mark := _mark(text):
            seen.setdefault(mark, (line, text))
    _check_marks(path, seen)
    if "comma" in seen:
        return [t.replace(".", "").replace(",", ".") if DECIMAL_COMMA.fullmatch(t) else t for _, t in cells]
    return [t.replace(",", "") if THOUSANDS.fullmatch(t) else t for _, t in cells]


def _mark(text: str) -> str | None:
    """Return whether a number has a decimal comma, a point (or several groups of thousands), or a comma of either."""
    if "," not in text and "." not in text:
        return None
    kinds = (("either", EITHER), ("comma", DECIMAL_COMMA), ("point", DECIMAL_POINT), ("point", THOUSANDS))
    return next((kind for kind, pattern in kinds if pattern.fullmatch(text)), None)


def _check_marks(path: Path, seen: Mapping[str, tuple[int, str]]) -> None:
    """Refuse decimal commas beside points, and commas of which no number tells what they stand for."""
    if {"comma", "point"} <= seen.keys():
        commas, pointed = seen["comma"][0], seen["point"][0]
        raise TraceError(
            f"{path}: line {commas} has a decimal comma, line {pointed} a decimal point; use one of them"
        )
    if seen.keys() == {"either"}:
        line, text = seen["either"]
        raise TraceError(
            f"{path}: line {line}: the comma of {text!r} may stand before decimals or after thousands, and no other "
            f"number tells which; write {text.replace(',', '.')} or {text.replace(',', '')}"
        )


def gzip_advice(path: Path) -> str | None:
    """Return what to do where an archive has no .gz in its name, or is of another kind; None where it is none."""
    with path.open("rb") as file:
        head = file.read(len(GZIP))
    if head == ZIP:
        return "it looks like a zip archive or a workbook; unpack it, or save it as CSV"
    return f"it looks like gzip; name it {path.name}.gz" if head == GZIP and not is_gzip(path) else None


def _checked_width(
    path: Path, rows: Iterator[list[str]], header: list[str], first: int
) -> Iterator[tuple[int, list[str]]]:
    width, named = len(header), max(i + 1 for i, name in enumerate(header) if name)
    for line, row in enumerate(rows, start=first):
        if len(row) == width:
            yield line, row
        elif len(row) >= named and not any(cell.strip() for cell in row[named:]):
            yield line, row[:named] + [""] * (width - named)
        elif any(cell.strip() for cell in row):
            raise TraceError(
                f"{path}: line {line} has {len(row)} cells, the header has {width}; mend or remove the line"
            )


def shown(header: list[str]) -> str:
    """Return a header as it stands in errors, cut to a readable length."""
    text = ",".join(header)
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def number(path: Path, line: int, name: str, text: str, low: float, high: float) -> float:
    """Return the number in a cell; raises TraceError where it is not a number in [low, high]."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise TraceError(
            f"{path}: line {line}, {name} = {text!r}: must be a number from {low:g} to {high:g}; "
            "correct or remove the row"
        )
    return value


def numbers(
    path: Path, lines: Sequence[int], name: str, texts: Sequence[str], low: float, high: float
) -> Float[Floats, " rows"]:
    """Return the numbers of a column; raises TraceError naming the first cell that is none in [low, high]."""
    try:
        values = np.array(texts, dtype=float)
        if ((values >= low) & (values <= high)).all():
            return values
    except ValueError:
        pass  # said below, with its line
    return np.array([number(path, *cell, low, high) for cell in zip(lines, repeat(name), texts)])


def date_time(path: Path, line: int, name: str, text: str) -> datetime:
    """Return the date and time in a cell; raises TraceError where it is not ISO 8601."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise TraceError(
            f"{path}: line {line}, {name} = {text!r} is no ISO 8601 date and time (2023-07-03T00:00Z)"
        ) from None


# Whole files --------------------------------------------------------------------------------------------------------

P = ParamSpec("P")
T = TypeVar("T")


def read_once(
    what: str, files: int = 16
) -> Callable[[Callable[Concatenate[Path, P], T]], Callable[Concatenate[str | Path, P], T]]:
    """Decorate a reader so that it reads an unchanged file once per process; the last ``files`` are kept.

    The reader gets the resolved path; its other arguments must be hashable.  FileNotFoundError says that there is
    no such ``what``.
    """

    def decorate(read: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[str | Path, P], T]:
        # Time of change and size are part of the key: a file that was written again is read again.
        @lru_cache(maxsize=files)
        def kept(path: Path, mtime_ns: int, size: int, *args: P.args, **kwargs: P.kwargs) -> T:
            return read(path, *args, **kwargs)

        @wraps(read)
        def reader(path: str | Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
            resolved = Path(path).resolve()
            try:
                status = resolved.stat()
            except FileNotFoundError:
                raise FileNotFoundError(f"{resolved}: no such {what}") from None
            if resolved.is_dir():
                raise TraceError(f"{resolved}: is a folder, no {what}")
            return kept(resolved, status.st_mtime_ns, status.st_size, *args, **kwargs)  # type: ignore[arg-type]

        return reader

    return decorate


def check_suffix(path: Path, known: tuple[str, ...] = (".parquet", ".csv", ".csv.gz")) -> bool:
    """Return whether a table is Parquet, and not text; raises TraceError for a suffix of neither.

    Upper and lower case count alike.
    """
    name = path.name.lower()
    if not name.endswith(known):
        raise TraceError(
            f"{path}: unknown suffix {path.suffix!r}; use {', '.join(known[:-1])} or {known[-1]}"
        )
    return name.endswith(".parquet")


def parquet_modules(path: Path) -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet; raises ImportError naming the extra where they are missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"{path}: reading Parquet needs pyarrow: {pip_install('data')}") from error
    return pa, pq


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
