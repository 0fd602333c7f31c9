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
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import date_time, gzip_advice, numbers, opened, text_rows


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
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
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


class _Block(NamedTuple):
    """The sums of some rows by minute: memory grows with the minutes, not with the rows."""

    first_s: int  # stamps of its first and last row
    last_s: int
    sums: Float[Floats, "columns m"]  # from the minute of the first row on


def read_requests(path: Path, form: Form, model: str | None = None) -> TokenMinutes:
    """Read a request-level trace; minutes that are covered only in part, first and last, are left out.

    ``model`` chooses the requests to one model; None: all.  Raises TraceError naming the line of a value that is
    invalid, not UTC, unsorted, negative or out of range.
    """
    models: set[str] = set()
    blocks: list[_Block] = []
    with request_rows(path) as (header, rows):
        names = [name for name in (*form.columns, form.images) if name in header]
        while block := list(islice(rows, BLOCK)):
            lines = [line for line, _ in block]
            column = {name: [row[header.index(name)] for _, row in block] for name in names}
            moment_s = _moments_s(path, lines, column.pop(form.stamp), form)
            _check_order(path, lines, form, moment_s, blocks)
            counted = np.ones(len(block))
            if model is not None:
                of = [row[header.index(form.model)].strip() for _, row in block]
                models.update(of)
                counted = np.array([name == model for name in of], dtype=float)

            most = {form.images: MOST_IMAGES}
            amounts = [
                counted * numbers(path, lines, name, texts, 0, most.get(name, MOST_TOKENS))
                for name, texts in column.items()
            ]
            # Counted from the block's first minute: a block spans few of them.
            place = moment_s // 60 - moment_s[0] // 60
            sums = np.array([np.bincount(place, amount) for amount in (counted, *amounts)])
            blocks.append(_Block(int(moment_s[0]), int(moment_s[-1]), sums))

    if model is not None and model not in models:
        raise TraceError(f"{path}: model = {model!r} is not in the file; it has {', '.join(sorted(models))}")
    return _minutes(path, form, blocks)


def _check_order(
    path: Path, lines: list[int], form: Form, moment_s: Int[Ints, " rows"], before: list[_Block]
) -> None:
    last_s = before[-1].last_s if before else moment_s[0]
    backwards = np.flatnonzero(np.diff(moment_s, prepend=last_s) < 0)
    if backwards.size:
        line, found_s = lines[backwards[0]], int(moment_s[backwards[0]])
        when = f"{found_s} s" if form.per_s else str(np.datetime64(found_s, "s"))
        raise TraceError(
            f"{path}: line {line}, {form.stamp} {when} is earlier than the row before; sort the rows"
        )


def _minutes(path: Path, form: Form, blocks: list[_Block]) -> TokenMinutes:
    """Return the whole minutes; a first or last minute counts where at most a second of it is not covered."""
    if not blocks:
        raise TraceError(f"{path}: no rows below the header")
    first_s, last_s = blocks[0].first_s, blocks[-1].last_s
    origin = first_s // 60
    dense = np.zeros((len(blocks[0].sums), last_s // 60 + 1 - origin))
    for block in blocks:
        begin = block.first_s // 60 - origin
        dense[:, begin : begin + block.sums.shape[1]] += block.sums

    kept = slice(int(first_s % 60 > 0), dense.shape[1] - int(last_s % 60 < 59))
    requests, context, generated, *images = dense[:, kept]
    if not len(requests):
        raise TraceError(f"{path}: the requests cover no whole minute; a longer trace is needed")
    return TokenMinutes(
        origin + kept.start, form.per_s is None, requests, context, generated, images[0] if images else None
    )


def _moments_s(path: Path, lines: list[int], texts: list[str], form: Form) -> Int[Ints, " rows"]:
    """Return stamps in seconds since 1970 or the file's day 0; raises TraceError naming the first invalid one."""
    if form.per_s is not None:
        units = numbers(path, lines, form.stamp, texts, 0, LONGEST_S * form.per_s)
        return np.asarray(units // form.per_s, dtype=np.int64)

    moments = []
    for line, text in zip(lines, texts, strict=True):
        moment = date_time(path, line, form.stamp, text)
        if moment.utcoffset():
            raise TraceError(
                f"{path}: line {line}, TIMESTAMP = {text!r} is not UTC; convert the stamps to UTC"
            )
        moments.append(moment.replace(tzinfo=None))
    return np.array(moments, dtype="datetime64[us]").astype("datetime64[s]").astype(np.int64)
