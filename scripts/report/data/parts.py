"""Parts of a page: sections, panels, plots with selectors, tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import yaml

from scripts.report.data.names import words


@cache
def texts() -> dict[str, dict[str, dict[str, str]]]:
    """Return the prose of the report, as it stands in ``texts.yaml``."""
    return yaml.safe_load(Path(__file__).with_name("texts.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Choice:
    """A selector: values and what they are called, both plain text."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]
    first: str | None = None  # the value that is selected at first; the first one by default


def choice_of(name: str, label: str, values: Iterable[str], first: str | None = None) -> Choice:
    """Return a selector of names of a scenario, which are called by themselves."""
    return Choice(name, label, [(value, words(value)) for value in values], first)


def seed_choice(seeds: Iterable[object]) -> Choice:
    """Return the selector of the episode."""
    return choice_of("seed", "Episode (seed)", map(str, seeds))


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows in words, and which parts follow the selectors.

    ``binds`` maps a path, ``data.<trace>.<key>...`` or ``layout.<key>...``, to a key of the panel's store in
    which ``{name}`` stands for the value of the selector of that name.  A trace without data is not shown.
    """

    figure: go.Figure
    alt: str
    binds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlainTable:
    """A table: headers, rows of text, and how many columns at the left are names."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1


@dataclass(frozen=True)
class Panel:
    """One or more plots side by side under a heading, with their selectors, data and a table.

    ``key`` finds its prose in ``texts.yaml``; ``facts`` fill the places in braces there.  All text is plain.
    """

    key: str
    plots: Sequence[Plot] = ()
    choices: Sequence[Choice] = ()
    store: Mapping[str, Any] = field(default_factory=dict)
    columns: int = 2  # of plots, where the page is wide enough
    notes: Sequence[str] = ()  # before that of ``texts.yaml``; empty ones are left out
    table: PlainTable | None = None
    open_table: bool = False  # shown at once, not folded
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its heading."""
        return texts()["panels"][self.key]["title"]

    @property
    def lead(self) -> str:
        """How to read it."""
        return texts()["panels"][self.key]["lead"].format(**self.facts)


@dataclass(frozen=True)
class Section:
    """A part of the report with an entry in the table of contents; ``key`` finds its prose in ``texts.yaml``."""

    key: str
    panels: Sequence[Panel]
    of: str = ""  # which run or scenario, where the report has several

    @property
    def title(self) -> str:
        """Its heading."""
        return texts()["sections"][self.key]["title"]

    @property
    def intro(self) -> str:
        """What all its panels have in common; "" where nothing is said."""
        return texts()["sections"][self.key].get("intro", "")
