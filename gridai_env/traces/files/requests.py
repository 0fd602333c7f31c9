"""Request-level traces of language models: one row per request, in one of the layouts of `FORMS`.

The Azure LLM traces have stamps in UTC (without an offset, or with ``Z`` or ``+00:00``, to any fraction of a second)
and, in multimodal traces, ``NumImages``.  BurstGPT (arXiv:2401.17644) counts seconds from midnight of its first day,
Mooncake (arXiv:2407.00079; one JSON object per line) milliseconds from its first request: no dates.  Stamps rise.  The
rows are summed by minute as they are read, so that a file of many million rows needs little memory.  A minute without
a request is a true zero.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import gzip_advice, is_gzip, number, text_rows


@dataclass(frozen=True)
class Form:
    """Names of the columns of a layout."""

    stamp: str
    context: str
    generated: str
    per_s: float | None = None  # units of the stamps in a second; None: dates and times
    images: str = ""
    model: str = ""

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that a file must have."""
        return self.stamp, self.context, self.generated


FORMS = {
    "requests": Form("TIMESTAMP", "ContextTokens", "GeneratedTokens", images="NumImages"),
    "burstgpt": Form("Timestamp", "Request tokens", "Response tokens", per_s=1.0, model="Model"),
    "mooncake": Form("timestamp", "input_length", "output_length", per_s=1000.0),
}
LONGEST_S = 1e9
MOST_TOKENS = 1e7  # of one request; more is a fault of the file
MOST_IMAGES = 1e4
BLOCK = 50_000  # rows at a time
JSON_LINES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class TokenMinutes:
    """Work by minute; NaN where the source has a hole."""

    first_min: int  # the first minute: since 1970 UTC where stamped, else since midnight of the trace's day 0
    stamped: bool
    requests: Float[Floats, " M"]
    context_tokens: Float[Floats, " M"]
    generated_tokens: Float[Floats, " M"]
    images: Float[Floats, " M"] | None  # None: the source has no such column


def request_rows(path: Path) -> AbstractContextManager[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Open a file of requests as header and rows of text; JSON lines have their first object's names as header."""
    return _json_rows(path) if path.name.lower().endswith(JSON_LINES) else text_rows(path)


@contextmanager
def _json_rows(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    opener: Callable[..., Any] = gzip.open if is_gzip(path) else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            rows = _objects(path, file)
            first = next(rows, None)
            if first is None:
                raise TraceError(f"{path}: the file is empty; expected one JSON object per line")
            header = [name for name, value in first[1].items() if not isinstance(value, list)]
            every = chain([first], rows)
            yield header, ((line, [str(row.get(name, "")) for name in header]) for line, row in every)
    except (UnicodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: cannot be read as text: {gzip_advice(path) or error}") from error


def _objects(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(lines, start=1):
        if text.strip():
            try:
                row = json.loads(text)
            except ValueError as error:
                raise TraceError(f"{path}: line {line} is no JSON ({error}); mend or remove it") from None
            if not isinstance(row, dict):
                raise TraceError(f"{path}: line {line} is no JSON object; mend or remove it")
            yield line, row


def read_requests(path: Path, form: Form, model: str | None = None) -> TokenMinutes:
    """Read a request-level trace; minutes that are covered only in part, first and last, are left out.

    ``model`` chooses the requests to one model; None: all.  Raises TraceError naming the line of a value that is
    invalid, not UTC, unsorted, negative or out of range.
    """
    models: set[str] = set()
    with request_rows(path) as (header, rows):
        names = [name for name in (*form.columns, form.images) if name in header]
        at = [header.index(name) for name in names]
        sums = _Sums(len(names), form)
        while block := list(islice(rows, BLOCK)):
            cells = [[row[i] for _, row in block] for i in at]
            lines = [line for line, _ in block]
            moment_s = _moments_s(path, lines, cells[0], form)
            amounts = [
                _amounts(path, lines, name, column, MOST_IMAGES if name == form.images else MOST_TOKENS)
                for name, column in zip(names[1:], cells[1:], strict=True)
            ]
            counted = np.ones(len(block))
            if model is not None:
                of = [row[header.index(form.model)].strip() for _, row in block]
                models.update(of)
                counted = np.array([name == model for name in of], dtype=float)
            sums.add(path, lines, moment_s, [counted, *(counted * amount for amount in amounts)])

    if model is not None and model not in models:
        raise TraceError(f"{path}: model = {model!r} is not in the file; it has {', '.join(sorted(models))}")
    return sums.minutes(path)


class _Sums:
    """Sums by minute of the rows so far: memory grows with the minutes, not with the rows."""

    def __init__(self, columns: int, form: Form) -> None:
        self._form = form
        self._first_s = self._last_s = 0
        # First minute and sums of each block.
        self._parts: list[tuple[int, Float[Floats, "m columns"]]] = []
        self._columns = columns

    def add(
        self,
        path: Path,
        lines: list[int],
        moment_s: Int[Ints, " rows"],
        amounts: list[Float[Floats, " rows"]],
    ) -> None:
        """Add requests and their amounts at ``moment_s`` seconds; raises TraceError where they are not in order."""
        if not self._parts:
            self._first_s = self._last_s = int(moment_s[0])
        backwards = np.diff(moment_s, prepend=self._last_s) < 0
        if backwards.any():
            at = int(backwards.argmax())
            when = f"{moment_s[at]} s" if self._form.per_s else str(np.datetime64(int(moment_s[at]), "s"))
            raise TraceError(
                f"{path}: line {lines[at]}, {self._form.stamp} {when} is earlier than the row before; sort the rows"
            )

        self._last_s = int(moment_s[-1])
        # Counted from the block's first minute: a block spans few of them.
        minute = moment_s // 60
        place = minute - minute[0]
        sums = [np.bincount(place, amount) for amount in amounts]
        self._parts.append((int(minute[0]), np.stack(sums, axis=-1).astype(float)))

    def minutes(self, path: Path) -> TokenMinutes:
        """Return the whole minutes; a first or last minute counts where at most a second of it is not covered."""
        if not self._parts:
            raise TraceError(f"{path}: no rows below the header")
        origin = self._first_s // 60
        dense = np.zeros((self._last_s // 60 + 1 - origin, self._columns))
        for first, sums in self._parts:
            dense[first - origin : first - origin + len(sums)] += sums

        begin = int(self._first_s % 60 > 0)
        end = len(dense) - int(self._last_s % 60 < 59)
        if end <= begin:
            raise TraceError(f"{path}: the requests cover no whole minute; a longer trace is needed")
        kept = dense[begin:end].T
        images = kept[3] if len(kept) > 3 else None
        return TokenMinutes(origin + begin, self._form.per_s is None, kept[0], kept[1], kept[2], images)


def _amounts(
    path: Path, lines: list[int], name: str, texts: list[str], most: float
) -> Float[Floats, " rows"]:
    """Return the numbers of rows; raises TraceError naming the first that is none from 0 to ``most``."""
    try:
        values = np.array(texts, dtype=float)
        if ((values >= 0) & (values <= most)).all():
            return values
    except ValueError:
        pass  # said below, with its line
    return np.array([number(path, line, name, t, 0, most) for line, t in zip(lines, texts, strict=True)])


def _moments_s(path: Path, lines: list[int], texts: list[str], form: Form) -> Int[Ints, " rows"]:
    """Return stamps in seconds since 1970 or the file's day 0; raises TraceError naming the first invalid one."""
    if form.per_s is not None:
        units = _amounts(path, lines, form.stamp, texts, LONGEST_S * form.per_s)
        return np.asarray(units // form.per_s, dtype=np.int64)

    moments = []
    for line, text in zip(lines, texts, strict=True):
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise TraceError(
                f"{path}: line {line}, TIMESTAMP = {text!r}, which is no date and time such as "
                "2023-11-16 18:17:03.97"
            ) from None
        if moment.utcoffset():
            raise TraceError(
                f"{path}: line {line}, TIMESTAMP = {text!r} is not UTC; convert the stamps to UTC"
            )
        moments.append(moment if moment.tzinfo is None else moment.replace(tzinfo=None))
    return np.array(moments, dtype="datetime64[us]").astype("datetime64[s]").astype(np.int64)
