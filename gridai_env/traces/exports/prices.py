"""Day-ahead prices as Energinet, ERCOT and gridstatus export them.

energinet
    ``HourUTC;HourDK;PriceArea;SpotPriceDKK;SpotPriceEUR``: semicolons, decimal commas, newest first; EUR or DKK.
ercot
    ``Delivery Date,Hour Ending,Repeated Hour Flag,Settlement Point,Settlement Point Price`` (report 13060): Central
    prevailing time, hours named by their END from 01:00 to 24:00.  In autumn 02:00 comes twice, the second time with
    the flag Y; in spring 03:00 is missing.
gridstatus
    ``...,Interval Start,...,Location,...,Market,LMP`` (or ``SPP``), or ``Datetime,Price (USD/MWh)``: local stamps
    whose offset changes with daylight saving, so each is converted by its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from gridai_env.traces.bounds import POSSIBLE
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.series import Export
from gridai_env.traces.files.cells import date_time, number, text_rows
from gridai_env.traces.local_time import utc_minute

ENERGINET, ERCOT, GRIDSTATUS = "energinet", "ercot", "gridstatus"
EXPECTED = {
    ENERGINET: "HourUTC;HourDK;PriceArea;SpotPriceDKK;SpotPriceEUR",
    ERCOT: "Delivery Date,Hour Ending,Repeated Hour Flag,Settlement Point,Settlement Point Price",
    GRIDSTATUS: "...,Interval Start,...,Location,...,LMP (or SPP), or Datetime,Price (USD/MWh)",
}
COPENHAGEN, CHICAGO = ZoneInfo("Europe/Copenhagen"), ZoneInfo("America/Chicago")
_ERCOT = ("deliverydate", "hourending", "settlementpoint", "settlementpointprice")
_REPEATED = ("repeatedhourflag", "dstflag")
Entry = tuple[str, int, float]  # place, minutes since 1970 UTC, price


def plain_names(header: list[str]) -> list[str]:
    """Return the names in lower case without blanks."""
    return [name.lower().replace(" ", "") for name in header]


def is_energinet(header: list[str]) -> bool:
    """Return whether a header (lower case, split at ";") is Energinet's."""
    return {"hourutc", "pricearea"} <= set(header)


def is_ercot(header: list[str]) -> bool:
    """Return whether a header is that of ERCOT's report."""
    return set(_ERCOT) <= set(plain_names(header))


def is_gridstatus(header: list[str]) -> bool:
    """Return whether a header (lower case) is one of gridstatus."""
    raw = "interval start" in header and {"lmp", "spp"} & set(header)
    return bool(raw) or header == ["datetime", "price (usd/mwh)"]


def read_energinet(path: Path, area: str | None, usd_per: Mapping[str, float]) -> Export:
    """Read one price area; ``usd_per`` has the rate of EUR (taken first) or DKK."""
    with text_rows(path) as (header, rows):
        at = {name.lower(): i for i, name in enumerate(header)}
        offered = [unit for unit in ("EUR", "DKK") if f"spotprice{unit.lower()}" in at]
        # The market clears in euros; kroner are converted by the exchange.
        currency, rate = _rate(path, offered, usd_per)

        def entries() -> Iterator[Entry]:
            for line, row in rows:
                utc = _naive(path, line, "HourUTC", row[at["hourutc"]]).replace(tzinfo=UTC)
                _check_danish_time(path, line, utc, row[at["hourdk"]] if "hourdk" in at else None)
                text = row[at[f"spotprice{currency.lower()}"]]
                price = _price(path, line, f"SpotPrice{currency}", text)
                yield row[at["pricearea"]], utc_minute(utc), price * rate

        chosen = _one_place(path, "price area", area, entries())
    return _export(path, ENERGINET, f"Energinet, {chosen[0]}, 1 {currency} = {rate:g} USD", chosen[1])


def _rate(path: Path, offered: list[str], usd_per: Mapping[str, float]) -> tuple[str, float]:
    """Return the first of the currencies ``offered`` that has a rate, and the rate in USD."""
    currency = next((unit for unit in offered if unit in usd_per), None)
    if currency is None:
        raise TraceError(
            f"{path}: prices are in {' and '.join(offered)}; give the rate to USD, e.g. "
            f"usd_per={{'{(offered or ['EUR'])[0]}': ...}} (--rate {(offered or ['EUR'])[0]}=...)"
        )
    rate = usd_per[currency]
    if not 0 < rate < 1000:
        raise TraceError(
            f"usd_per[{currency!r}] = {rate!r}: must be a number above 0, USD for one {currency}"
        )
    return currency, rate


def _price(path: Path, line: int, name: str, text: str) -> float:
    """Return a price; an empty cell is a gap (NaN)."""
    return (
        number(path, line, name, text.strip(), *POSSIBLE["price_usd_per_mwh"])
        if text.strip()
        else float("nan")
    )


def _check_danish_time(path: Path, line: int, utc: datetime, local: str | None) -> None:
    """Raise TraceError where the two clocks of a row disagree: the file was shifted."""
    if local is not None and _naive(path, line, "HourDK", local) != utc.astimezone(COPENHAGEN).replace(
        tzinfo=None
    ):
        raise TraceError(
            f"{path}: line {line}, HourDK = {local!r} is not the local time of HourUTC {utc:%Y-%m-%d %H:%M}"
        )


def read_ercot(path: Path, point: str | None) -> Export:
    """Read one settlement point (hub or load zone)."""
    with text_rows(path) as (header, rows):
        names = plain_names(header)
        day, ending, place, price = (names.index(name) for name in _ERCOT)
        flag = next((names.index(name) for name in _REPEATED if name in names), None)

        def entries() -> Iterator[Entry]:
            for line, row in rows:
                repeated = "N" if flag is None else row[flag].strip().upper()
                utc = _ercot_utc(path, line, row[day].strip(), row[ending].strip(), repeated)
                yield row[place], utc, _price(path, line, header[price], row[price])

        chosen = _one_place(path, "settlement point", point, entries())
    return _export(path, ERCOT, f"ERCOT day-ahead, {chosen[0]}", chosen[1])


def _ercot_utc(path: Path, line: int, day: str, ending: str, repeated: str) -> int:
    """Return the start of an hour named by its end in Central prevailing time, in minutes since 1970 UTC."""
    where = (
        f"{path}: line {line}, Delivery Date {day!r}, Hour Ending {ending!r}, Repeated Hour Flag {repeated!r}"
    )
    hour = ending.split(":")[0]
    if (
        not hour.isdigit()
        or not 1 <= int(hour) <= 24
        or ending not in (hour, f"{hour}:00")
        or repeated not in ("N", "Y")
    ):
        raise TraceError(f"{where}: need an hour from 01:00 to 24:00 and a flag N or Y")

    try:
        midnight = datetime.strptime(day, "%m/%d/%Y")  # noqa: DTZ007  the zone is set two lines below
    except ValueError:
        raise TraceError(f"{where}: the day must be MM/DD/YYYY") from None
    local = (midnight + timedelta(hours=int(hour) - 1)).replace(tzinfo=CHICAGO, fold=int(repeated == "Y"))
    utc = local.astimezone(UTC)

    # An hour that the clocks skipped does not survive the way to UTC and back.
    if utc.astimezone(CHICAGO).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise TraceError(f"{where}: this hour does not exist: clocks were put forward")
    if repeated == "Y" and local.utcoffset() == local.replace(fold=0).utcoffset():
        raise TraceError(f"{where}: this hour is not repeated")
    return utc_minute(utc)


def read_gridstatus(path: Path, location: str | None) -> Export:
    """Read one location; every stamp must have its offset."""
    with text_rows(path) as (header, rows):
        names = [name.lower() for name in header]
        price = next(names.index(name) for name in ("spp", "lmp", "price (usd/mwh)") if name in names)
        when = next(names.index(name) for name in ("interval start", "datetime") if name in names)
        place = names.index("location") if "location" in names else None
        market = names.index("market") if "market" in names else None

        def entries() -> Iterator[Entry]:
            for line, row in rows:
                parts = [row[i] for i in (place, market) if i is not None]
                utc = _aware(path, line, header[when], row[when])
                yield " ".join(parts), utc, _price(path, line, header[price], row[price])

        chosen = _one_place(path, "location and market", location, entries())
    return _export(path, GRIDSTATUS, f"gridstatus, {chosen[0] or 'the one price'}", chosen[1])


def _one_place(
    path: Path, what: str, wanted: str | None, entries: Iterator[Entry]
) -> tuple[str, list[Entry]]:
    """Return the place and its entries; raises TraceError where it is not named and there are several."""
    by_place: dict[str, list[Entry]] = {}
    for entry in entries:
        by_place.setdefault(entry[0], []).append(entry)
    if not by_place:
        raise TraceError(f"{path}: no rows below the header")

    name = next(iter(by_place)) if wanted is None and len(by_place) == 1 else wanted
    if wanted is not None and list(by_place) == [""]:
        raise TraceError(f"{path}: this form names no location; leave point={wanted!r} (--point) out")
    if name is None or name not in by_place:
        listed = ", ".join(sorted(by_place)[:12]) + (", ..." if len(by_place) > 12 else "")
        found = "" if wanted is None else f"{wanted!r} is not there: "
        raise TraceError(f"{path}: {found}{what}: {listed}; choose one with point= (--point)")
    return name, by_place[name]


def _export(path: Path, format_name: str, text: str, entries: list[Entry]) -> Export:
    utc = np.array([entry[1] for entry in entries], dtype=np.int64)
    price = np.array([entry[2] for entry in entries], dtype=float)
    return Export(str(path), format_name, text, utc, {"price_usd_per_mwh": price})


def _naive(path: Path, line: int, name: str, text: str) -> datetime:
    moment = date_time(path, line, name, text)
    if moment.tzinfo is not None:
        raise TraceError(f"{path}: line {line}, {name} = {text!r} has an offset, its column should have none")
    return moment


def _aware(path: Path, line: int, name: str, text: str) -> int:
    moment = date_time(path, line, name, text)
    if moment.tzinfo is None:
        raise TraceError(
            f"{path}: line {line}, {name} = {text!r} has no offset; export stamps with their offset"
        )
    return utc_minute(moment)
