"""Currencies of prices: named by the header or the portal, else by the user; never guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gridai_env.traces.errors import TraceError

HIGHEST_RATE = 1000.0


@dataclass(frozen=True)
class Column:
    """A column of values."""

    index: int
    place: str
    currency: str


class Rates:
    """Exchange rates to USD as the user gave them; it keeps which were used."""

    def __init__(self, path: Path, usd_per: Mapping[str, float]) -> None:
        """Check the rates: USD for one unit of a currency."""
        for currency, rate in usd_per.items():
            if not 0 < rate < HIGHEST_RATE or (currency == "USD" and rate != 1):
                allowed = "1" if currency == "USD" else f"a number above 0 and below {HIGHEST_RATE:g}"
                raise TraceError(
                    f"usd_per[{currency!r}] = {rate!r} (--rate): must be {allowed}, USD for one {currency}"
                )
        self.path, self.usd_per = path, usd_per
        self.used: dict[str, float] = {}

    def of(self, currency: str) -> float:
        """Return USD for one unit of a currency; raises TraceError where its rate is not given."""
        if currency not in self.usd_per and currency != "USD":
            raise self.missing(currency)
        return self.used.setdefault(currency, self.usd_per.get(currency, 1.0))

    def missing(self, *currencies: str) -> TraceError:
        """Return the error that asks for the rate of one of some currencies."""
        return TraceError(
            f"{self.path}: prices are in {' and '.join(currencies)}; give the rate to USD, e.g. "
            f"usd_per={{'{currencies[0]}': ...}} (--rate {currencies[0]}=...)"
        )

    def only(self) -> str:
        """Return the currency that the user named, for a file that names none; raises TraceError unless it is one."""
        if len(self.usd_per) != 1:
            raise TraceError(
                f"{self.path}: the file does not name the currency of its prices; give it with its rate to USD, "
                "usd_per={'CAD': ...} (--rate CAD=...; --rate USD=1 for dollars of the US)"
            )
        return next(iter(self.usd_per))

    def best(self, columns: Sequence[Column]) -> Column:
        """Return the column that is read of a price: with a known rate, EUR first, in which the markets clear."""
        ranked = sorted(columns, key=lambda column: column.currency != "EUR")
        chosen = next((one for one in ranked if one.currency in {"USD", *self.usd_per}), None)
        if chosen is None:
            raise self.missing(*(column.currency for column in ranked))
        return chosen

    def finish(self) -> str:
        """Return what was used in words; raises TraceError where a rate was given for nothing."""
        if unused := [currency for currency in self.usd_per if currency not in self.used]:
            read_in = " and ".join(self.used) or "no currency"
            raise TraceError(
                f"{self.path}: the rate of {', '.join(unused)} (usd_per, --rate) is not used, since this file is read "
                f"in {read_in}; leave it out"
            )
        rates = [f"1 {currency} = {rate:g} USD" for currency, rate in self.used.items() if currency != "USD"]
        return ", ".join([*rates, *(["USD"] if "USD" in self.used else [])])
