"""The reader of all forms of `gridai_env.traces.exports.forms`: a table becomes a series of one zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces.bounds import POSSIBLE
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.choice import Choices, choose, fixed_place, listed, one_place, words
from gridai_env.traces.exports.clock import Stamp, numbered_hour, read_stamp, to_utc, told_by_order
from gridai_env.traces.exports.forms import AVERAGE, FORMS, KINDS, PRICE, US_ZONES
from gridai_env.traces.exports.rates import Column, Rates
from gridai_env.traces.exports.series import Export
from gridai_env.traces.exports.tables import Row, TextTable, stamp_columns
from gridai_env.traces.files.cells import number, plain_numbers
from gridai_env.traces.local_time import EPOCH

NO_VALUE = {"", "-", "--", "n/e", "n/a", "na", "nan", "null"}


def read_table(table: TextTable, name: str, given: Choices) -> Export:
    """Read the one series of a table that ``given`` chooses; rows ascend or descend as they do in the file.

    Raises TraceError naming file, line or column for all that cannot be used as asked.
    """
    units = FORMS[name].units
    if given.carbon not in KINDS:
        raise TraceError(f"carbon = {given.carbon!r}: must be one of {', '.join(KINDS)}")
    named = not units or table.index(units) is not None
    if named and given.in_pounds:
        raise table.error("names its unit itself; leave in_pounds (--marginal-in-pounds) out")
    if not named and not given.in_pounds:
        raise table.error(
            f"no column {units!r} says that the values are in lb/MWh; where they are, say "
            "in_pounds=True (--marginal-in-pounds); else export with the units"
        )
    return _Reader(table, name, given).read()


class _Reader:
    """A table that is being read; what is left out on the way is noted."""

    def __init__(self, table: TextTable, name: str, given: Choices) -> None:
        self.table, self.name, self.form, self.given = table, name, FORMS[name], given
        self.at, self.clock = stamp_columns(self.form, table) or ([], "")
        self.rates = Rates(table.path, given.usd_per)
        self.notes: list[str] = []

    def read(self) -> Export:
        form, table, given = self.form, self.table, self.given
        chosen, rows, columns = one_place(table, form, given, self.notes)
        column = columns[0] if len(columns) == 1 else self.rates.best(columns)

        # Hours that come twice on a clock are told apart by their order, so the newest-first is turned round.
        begin, end = self.stamps([rows[0], rows[-1]], [True, True])
        if begin.moment.replace(tzinfo=None) > end.moment.replace(tzinfo=None):
            rows = rows[::-1]
        values = self.numbers(rows, column)
        stamps = self.stamps(rows, np.isfinite(values).tolist())
        utc = self.utc(rows, stamps)
        if len(chosen) > 1 and len(set(utc)) < len(utc):
            raise choose(table, f"{given.point!r} is several series: ", chosen)
        taken = [i for i, minute in enumerate(utc) if minute is not None]
        if lost := len(rows) - len(taken):
            self.notes.append(
                f"{lost} rows left out: empty ones of an hour that clocks skip, or stamps with seconds"
            )

        scaled = values * self.factors(rows, column)
        self.note_unused(columns)
        kind = given.carbon.replace("_", " ") if form.column == AVERAGE else ""
        return Export(
            str(table.path),
            self.name,
            ", ".join(filter(None, [f"{form.title} {words(chosen)}".strip(), kind, self.rates.finish()])),
            np.array([utc[i] for i in taken], dtype=np.int64),
            {form.column: scaled[taken]},
            zone=chosen[0][0] if chosen[0] else None,
            ends_below_min=form.ends_below_min,
            by_order=told_by_order(stamps, self.clock),
            notes=tuple(self.notes),
        )

    def note_unused(self, columns: list[Column]) -> None:
        """Note which columns were not read."""
        form, table = self.form, self.table
        further = (form.kind, form.estimated, form.second, form.check[0], "currency")
        named = table.indices(*form.places, *form.needs, *form.keep, *further)
        used = {*self.at, *named, *(column.index for column in columns)}
        passed = {"", *fixed_place(table, form)}
        rest = [name for i, name in enumerate(table.header) if i not in used and name not in passed]
        if rest:
            self.notes.append(f"columns not used: {', '.join(rest)}")

    # Its values -----------------------------------------------------------------------------------------------------

    def numbers(self, rows: list[Row], column: Column) -> Float[Floats, " N"]:
        """Return the values as they stand in the file; NaN where there is none, or where estimates are not wanted."""
        table, drop = self.table, self.given.drop_estimated
        mark = table.index(self.form.estimated)
        if drop and mark is None:
            raise self.table.error("no column marks estimates; leave drop_estimated (--drop-estimated) out")
        values, estimated = np.full(len(rows), np.nan), 0
        name, (low, high) = table.header[column.index], POSSIBLE[self.form.column]
        plain = plain_numbers(table.path, [(line, cells[column.index]) for line, cells in rows])

        for i, (line, cells) in enumerate(rows):
            is_estimate = mark is not None and cells[mark].lower() == "true"
            estimated += is_estimate
            if cells[column.index].lower() not in NO_VALUE and not (is_estimate and drop):
                values[i] = number(table.path, line, name, plain[i], low, high)
        if estimated:
            self.notes.append(f"{estimated} of {len(rows)} values estimated" + ", left out" * drop)
        return values

    def stamps(self, rows: Sequence[Row], filled: Sequence[bool]) -> list[Stamp]:
        """Read the stamps of rows; ``filled``: whether a row has a value."""
        mark = self.table.indices(self.form.second)
        out = []

        for (line, cells), has_value in zip(rows, filled, strict=True):
            where = self.table.where(line, cells, [*self.at, *mark])
            texts, flag = [cells[i] for i in self.at], "".join(cells[i] for i in mark)
            one = (
                numbered_hour(where, texts, flag)
                if self.form.hour_ending
                else read_stamp(where, " ".join(texts), self.form.formats)
            )
            out.append(one._replace(filled=has_value))
        return out

    def utc(self, rows: list[Row], stamps: list[Stamp]) -> list[int | None]:
        """Return minutes since 1970 UTC of rows that ascend; a second clock in the file must agree."""
        utc = to_utc(stamps, self.clock, strict=self.form.hour_ending)
        name, clock = self.form.check
        other = self.table.index(name)
        if other is None:
            return utc

        for (line, cells), minute in zip(rows, utc, strict=True):
            where = self.table.where(line, cells, [other])
            given = read_stamp(where, cells[other], self.form.formats).moment
            local = (EPOCH + timedelta(minutes=minute or 0)).astimezone(ZoneInfo(clock))
            if minute is not None and given != local.replace(tzinfo=None):
                first = f"{self.table.header[self.at[0]]} {cells[self.at[0]]}"
                raise TraceError(f"{where}: is not the local time of {first}")
        return utc

    def factors(self, rows: list[Row], column: Column) -> float | Float[Floats, " N"]:
        """Return what turns values into our unit: a unit of carbon, or USD for the currency of each row."""
        if self.form.column != PRICE:
            return self.form.scale
        named = column.currency or self.form.currency
        if named == US_ZONES:
            named = "USD" if (self.given.zone or "").startswith("US-") else ""

        at = self.table.index("currency")
        cells = [""] if at is None else [row[at].upper() for _, row in rows]
        if named and not {*cells} <= {"", named}:
            raise self.table.error(f"the header names {named}, the column of the currency {listed(cells)}")
        of = {cell: self.rates.of(named or cell or self.rates.only()) for cell in dict.fromkeys(cells)}
        return np.array([of[cell] for cell in cells])
