"""Request-level traces of language models: one row per request (the columns of the Azure LLM traces).

``TIMESTAMP,ContextTokens,GeneratedTokens`` and, in multimodal traces, ``NumImages``.  Stamps are UTC: without an
offset, or with ``Z`` or ``+00:00``, to any fraction of a second, and rise.  The rows are summed by minute as they
are read, so that a file of many million rows needs little memory.  A minute without a request is a true zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import number, text_rows

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
IMAGES = "NumImages"
MOST_TOKENS = 1e7  # of one request; more is a fault of the file
MOST_IMAGES = 1e4
BLOCK = 50_000  # rows at a time


@dataclass(frozen=True)
class TokenMinutes:
    """Work by minute; NaN where the source has a hole."""

    first_min: int  # the first minute: since 1970 UTC where stamped, else since midnight of the trace's day 0
    stamped: bool
    requests: Float[Floats, " M"]
    context_tokens: Float[Floats, " M"]
    generated_tokens: Float[Floats, " M"]
    images: Float[Floats, " M"] | None  # None: the source has no such column


def read_requests(path: Path) -> TokenMinutes:
    """Read a request-level trace; minutes that are covered only in part, first and last, are left out.

    Raises TraceError naming the line of a value that is invalid, not UTC, unsorted, negative or out of range.
    """
    with text_rows(path) as (header, rows):
        names = [name for name in (*COLUMNS, IMAGES) if name in header]
        at = [header.index(name) for name in names]
        sums = _Sums(len(names))
        while block := list(islice(rows, BLOCK)):
            cells = [[row[i] for _, row in block] for i in at]
            lines = [line for line, _ in block]
            moment_s = _moments_s(path, lines, cells[0])
            amounts = [_amounts(path, lines, *pair) for pair in zip(names[1:], cells[1:], strict=True)]
            sums.add(path, lines, moment_s, amounts)
    return sums.minutes(path)


class _Sums:
    """Sums by minute of the rows so far: memory grows with the minutes, not with the rows."""

    def __init__(self, columns: int) -> None:
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
        """Add rows at ``moment_s`` seconds since 1970; raises TraceError where they are not in order."""
        if not self._parts:
            self._first_s = self._last_s = int(moment_s[0])
        backwards = np.diff(moment_s, prepend=self._last_s) < 0
        if backwards.any():
            at = int(backwards.argmax())
            when = np.datetime64(int(moment_s[at]), "s")
            raise TraceError(
                f"{path}: line {lines[at]}, TIMESTAMP {when} is earlier than the row before; sort the rows"
            )

        self._last_s = int(moment_s[-1])
        # Counted from the block's first minute: a block spans few of them.
        minute = moment_s // 60
        place = minute - minute[0]
        sums = [np.bincount(place), *(np.bincount(place, amount) for amount in amounts)]
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
        return TokenMinutes(
            origin + begin, True, kept[0], kept[1], kept[2], kept[3] if len(kept) > 3 else None
        )


def _amounts(path: Path, lines: list[int], name: str, texts: list[str]) -> Float[Floats, " rows"]:
    """Return tokens or images of rows; raises TraceError naming the first that is no number in range."""
    most = MOST_IMAGES if name == IMAGES else MOST_TOKENS
    try:
        values = np.array(texts, dtype=float)
        if ((values >= 0) & (values <= most)).all():
            return values
    except ValueError:
        pass  # said below, with its line
    return np.array([number(path, line, name, t, 0, most) for line, t in zip(lines, texts, strict=True)])


def _moments_s(path: Path, lines: list[int], texts: list[str]) -> Int[Ints, " rows"]:
    """Return stamps in seconds since 1970; raises TraceError naming the first that is invalid or not UTC."""
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
