"""What stands in the report: the parts of each scenario, what is missing, key figures and origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from scripts._page.origin import origin_html
from scripts._page.page import page, tiles_html
from scripts._page.runs import Run
from scripts._page.summary import facts_of, key_figures, missing_html, warnings_html
from scripts._plots.compare import compare_sections
from scripts._plots.front import front_sections
from scripts._plots.frontier import frontier_sections
from scripts._plots.reproduce import reproduce_sections
from scripts._plots.style import Section

SECTIONS: dict[str, Callable[[Run], list[Section]]] = {
    "compare": compare_sections,
    "frontier": frontier_sections,
    "front": front_sections,
    "reproduce": reproduce_sections,
}


def report_html(root: Path, runs: Sequence[Run]) -> str:
    """The whole page for the runs below ``root``; raises InputError where a run is damaged."""
    parts = all_parts(root, runs)
    names = list(dict.fromkeys(run.scenario_name for run in runs if run.scenario))
    what = ", ".join(name.replace("_", " ") for name in names) or "both source models reproduced"
    head = (
        f'<section id="summary" aria-label="Summary">{tiles_html(key_figures(runs))}'
        f"{warnings_html(runs)}</section>"
    )
    newest = max(str(run.record.get("time_utc", "")) for run in runs)
    return page(
        title=f"gridai-env: {what}",
        subtitle=subtitle(runs),
        facts=facts_of(runs),
        head=head,
        parts=parts,
        tail=missing_html(runs) + origin_html(root, runs),
        footer=f"Written by python -m scripts.report; newest run of {newest}. Plotly.js is embedded (MIT licence).",
    )


def subtitle(runs: Sequence[Run]) -> str:
    """One sentence on what the page is about."""
    texts = [str(run.scenario["description"]) for run in runs if run.scenario.get("description")]
    first = dict.fromkeys(texts)
    if len(first) == 1:
        return f"{texts[0]}."
    return "Where, when and how to serve AI work under electricity markets: what flexibility is worth."


def all_parts(root: Path, runs: Sequence[Run]) -> list[tuple[str, Section]]:
    """Sections of all runs with their anchors, scenario by scenario."""
    parts: list[tuple[str, Section]] = []
    several = len({run.scenario_name for run in runs if run.scenario}) > 1
    for scenario in dict.fromkeys(run.scenario_name for run in runs):
        for kind, sections in SECTIONS.items():
            same = [run for run in runs if run.kind == kind and run.scenario_name == scenario]
            for i, run in enumerate(same):
                named = several and bool(run.scenario)
                extra = [scenario.replace("_", " ")] if named else []
                extra += [str(run.folder.relative_to(root))] if len(same) > 1 else []
                for section in sections(run):
                    words = [section.key, *([scenario] if named else []), *([str(i + 1)] if i else [])]
                    parts.append((_anchor("-".join(words)), replace(section, of=", ".join(extra))))
    return parts


def _anchor(text: str) -> str:
    return escape("".join(c if c.isalnum() or c in "-_" else "_" for c in text))
