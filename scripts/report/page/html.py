"""The page: sections, panels and tables as HTML, with Plotly embedded once; nothing is loaded from outside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section, texts

FOLDER = Path(__file__).parent
FILES = {"page": "page.html", "css": "report.css", "watch": "watch.js", "draw": "draw.js"}
WIDE_COLUMNS = 9  # more make a table's type smaller
# Nothing may be loaded from anywhere; what the page needs stands in it.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


@dataclass(frozen=True)
class KeyFigure:
    """A key figure; all plain text."""

    title: str
    value: str
    unit: str
    note: str
    case: str = ""  # scenario and length, where the report has several


def page(
    parts: Sequence[tuple[str, Section]], facts: Sequence[str], head: str, tail: str, **plain: str
) -> str:
    """Return the whole file.

    ``parts`` pairs an anchor with each section; ``head`` and ``tail`` are HTML, all other text is ``plain``.
    """
    body = "\n".join(section_html(anchor, section) for anchor, section in parts)
    files = {name: (FOLDER / file).read_text(encoding="utf-8") for name, file in FILES.items()}
    return Template(files.pop("page")).substitute(
        files | {name: escape(text) for name, text in plain.items()},
        policy=POLICY,
        facts="".join(f"<li>{escape(fact)}</li>" for fact in facts if fact),
        figures=sum(len(panel.plots) for _, section in parts for panel in section.panels),
        contents=contents_html(parts),
        body=f"{head}\n{body}\n{tail}",
        plotly=get_plotlyjs(),
    )


def contents_html(parts: Sequence[tuple[str, Section]]) -> str:
    """Return the table of contents."""
    items = [_entry("summary", "Summary")]
    for anchor, section in parts:
        below = "".join(_entry(f"{anchor}-{panel.key}", panel.title) for panel in section.panels)
        name = escape(_named(section.title.split(":")[0], section))
        items.append(f'<li><a href="#{escape(anchor)}">{name}</a><ol>{below}</ol></li>')
    return f"<ol>{''.join(items)}{_entry('origin', 'Origin of the figures')}</ol>"


def _named(title: str, section: Section) -> str:
    return f"{title} ({section.of})" if section.of else title


def _entry(anchor: str, title: str) -> str:
    return f'<li><a href="#{escape(anchor)}">{escape(title)}</a></li>'


def section_html(anchor: str, section: Section) -> str:
    """Return one section with its panels."""
    intro = f"<p>{escape(section.intro)}</p>" if section.intro else ""
    panels = "\n".join(panel_html(f"{anchor}-{panel.key}", panel) for panel in section.panels)
    return part_html(anchor, _named(section.title, section), f"{intro}\n{panels}\n")


def part_html(anchor: str, title: str, html: str, kind: str = "part") -> str:
    """Return a part of the page under its heading."""
    name = escape(anchor)
    return (
        f'<section class="{kind}" id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{escape(title)}</h2>'
        f"{html}</section>"
    )


def panel_html(anchor: str, panel: Panel) -> str:
    """Return a heading, how to read it, selectors, plots, notes and the figures as a table."""
    pieces = [f"<h3>{escape(panel.title)}</h3>", f'<p class="lead">{escape(panel.lead)}</p>']
    if panel.choices:
        pieces.append(f'<div class="controls">{"".join(map(select_html, panel.choices))}</div>')

    # Data stand beside the plots, in an element of their own that the script reads.
    if panel.plots:
        columns = min(len(panel.plots), panel.columns)
        plots = "".join(map(plot_html, panel.plots))
        pieces.append(f'<div class="plots" style="--columns: {columns}">{plots}</div>')
        pieces.append(f'<script type="application/json">{panel_json(panel)}</script>')

    notes = [*panel.notes, texts()["panels"][panel.key].get("note", "")]
    pieces += [f'<p class="note">{escape(note)}</p>' for note in notes if note]
    if panel.table is not None:
        table = table_html(panel.table)
        pieces.append(table if panel.open_table else folded("Figures as a table", table))
    return f'<section class="panel" id="{escape(anchor)}">{"".join(pieces)}</section>'


def folded(summary: str, html: str) -> str:
    """Return HTML that is shown when its summary is clicked."""
    return f'<details class="data"><summary>{escape(summary)}</summary>{html}</details>'


def warning_html(text: str) -> str:
    """Return a warning for the head of the page."""
    return f'<p class="warning" role="note">{escape(text)}</p>'


def select_html(choice: Choice) -> str:
    """Return a labelled selector."""
    first = choice.first if choice.first is not None else choice.options[0][0]
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value == first else ""}>{escape(label)}</option>'
        for value, label in choice.options
    )
    # autocomplete off: a reloaded page starts with its first state, as its plots do.
    return (
        f'<label>{escape(choice.label)} <select name="{escape(choice.name)}" autocomplete="off">'
        f"{options}</select></label>"
    )


def plot_html(plot: Plot) -> str:
    """Return the place of a plot; its height is there before it is drawn, so that nothing jumps."""
    height = int(plot.figure.layout.height)
    return f'<figure aria-label="{escape(plot.alt)}"><div class="plot" style="min-height: {height}px"></div></figure>'


def panel_json(panel: Panel) -> str:
    """Return plots and data of a panel as JSON that may stand inside a script element."""
    plots = []
    for plot in panel.plots:
        record: dict[str, Any] = json.loads(plot.figure.to_json())
        plots.append({"data": record["data"], "layout": record["layout"], "binds": dict(plot.binds)})
    record = {"plots": plots, "store": dict(panel.store)}
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    # "</script>" in a name must not end the element; the separators end a line in JavaScript, not in JSON.
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def table_html(table: PlainTable) -> str:
    """Return a table that scrolls on its own where it is too wide."""

    def cell(tag: str, i: int, text: str, scope: str = "") -> str:
        name = ' class="name"' if i < table.names else ""
        return f"<{tag}{name}{scope}>{escape(text)}</{tag}>"

    head = "".join(cell("th", i, text, ' scope="col"') for i, text in enumerate(table.headers))
    rows = "".join(
        "<tr>" + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>" for row in table.rows
    )
    wide = ' class="wide"' if len(table.headers) > WIDE_COLUMNS else ""
    return (
        f'<div class="scroll"><table{wide}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def tiles_html(tiles: Sequence[KeyFigure]) -> str:
    """Return the key figures in a row."""
    return f'<dl class="tiles">{"".join(map(_tile_html, tiles))}</dl>' if tiles else ""


def _tile_html(tile: KeyFigure) -> str:
    value = f"{escape(tile.value)} <small>{escape(tile.unit)}</small>"
    case = f'<div class="note">Case: {escape(tile.case)}</div>' if tile.case else ""
    return (
        f'<div class="tile"><dt>{escape(tile.title)}</dt><dd><div class="value">{value}</div>'
        f'<div class="note">{escape(tile.note)}</div>{case}</dd></div>'
    )
