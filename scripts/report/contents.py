"""What stands in the report: the parts of each scenario, what is missing, key figures and origin."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from scripts.report import head
from scripts.report.data.names import words
from scripts.report.data.parts import Section
from scripts.report.data.run_folders import SHOWN_KINDS, LeftOut, RunFolder, leave_out, nothing_left
from scripts.report.origin import origin_html
from scripts.report.page.html import KeyFigure, page, tiles_html
from scripts.report.panels.carbon import front_sections
from scripts.report.panels.comparison.sections import compare_sections
from scripts.report.panels.evaluation import evaluate_sections
from scripts.report.panels.flexibility import flexibility_sections, flexibility_tiles
from scripts.report.panels.latency.sections import frontier_sections
from scripts.report.panels.learning import train_sections
from scripts.report.panels.reproduction import reproduce_sections
from scripts.runs.command import InputError

# What is shown of a run of each kind: sections and key figures.
SHOWN: dict[str, tuple[Callable[[RunFolder], list[Section]], Callable[[RunFolder], list[KeyFigure]]]] = {
    "compare": (compare_sections, head.compare_tiles),
    "evaluate": (evaluate_sections, head.evaluate_tiles),
    "train": (train_sections, lambda _: []),
    "frontier": (frontier_sections, head.frontier_tiles),
    "front": (front_sections, head.front_tiles),
    "flexibility": (flexibility_sections, flexibility_tiles),
    "reproduce": (reproduce_sections, head.reproduce_tiles),
}


@dataclass(frozen=True)
class Drawn:
    """A run with what the report shows of it."""

    run: RunFolder
    sections: list[Section]
    tiles: list[KeyFigure]


def draw_runs(root: Path, runs: Sequence[RunFolder], left_out: list[LeftOut]) -> list[Drawn]:
    """Return what the page shows of each run; append runs with missing or damaged files to ``left_out``.

    Raises InputError where ``root`` itself is such a run, and where none is left.
    """
    drawn: list[Drawn] = []
    for run in runs:
        try:
            sections, tiles = SHOWN.get(run.kind, (lambda _: [], lambda _: []))
            drawn.append(Drawn(run, sections(run), tiles(run)))
        except InputError as error:
            leave_out(root, run.folder, error, left_out)
    if not any(one.run.kind in SHOWN_KINDS for one in drawn):
        raise nothing_left(root, left_out)
    return drawn


def report_html(root: Path, drawn: Sequence[Drawn], left_out: Sequence[LeftOut] = ()) -> str:
    """Return the whole page for the drawn runs below ``root``, and which ones were left out."""
    runs = [one.run for one in drawn]
    names = dict.fromkeys(run.scenario_name for run in runs if run.kind != "reproduce")
    what = ", ".join(map(words, names)) or "both source models reproduced"
    tiles = tiles_html(head.key_figures([(one.run, one.tiles) for one in drawn]))
    top = (
        f'<section id="summary" aria-label="Summary">{tiles}'
        f"{head.warnings_html(runs)}{head.left_out_html(root, left_out)}</section>"
    )

    newest = max(str(run.record.get("time_utc", "")) for run in runs)
    return page(
        title=f"gridai-env: {what}",
        subtitle=subtitle(runs),
        facts=head.facts_of(runs),
        head=top,
        parts=all_parts(root, drawn),
        tail=head.missing_html(runs) + origin_html(root, runs),
        footer=f"Written by python -m scripts.report; newest run of {newest}. Plotly.js is embedded (MIT licence).",
    )


def subtitle(runs: Sequence[RunFolder]) -> str:
    """Return one sentence on what the page is about: the scenario's own where there is one scenario."""
    texts = {str(run.scenario["description"]) for run in runs if run.scenario.get("description")}
    if len(texts) == 1:
        return f"{texts.pop()}."
    return "Where, when and how to serve AI work under electricity markets: what flexibility is worth."


def all_parts(root: Path, drawn: Sequence[Drawn]) -> list[tuple[str, Section]]:
    """Return the sections of all runs with their anchors, scenario by scenario."""
    parts: list[tuple[str, Section]] = []
    several = len({one.run.scenario_name for one in drawn if one.run.scenario}) > 1
    for scenario, kind in product(dict.fromkeys(one.run.scenario_name for one in drawn), SHOWN):
        same = [one for one in drawn if one.run.kind == kind and one.run.scenario_name == scenario]
        for i, one in enumerate(same):
            # Headings name the scenario or the folder, and anchors do, only where there are several.
            named = several and bool(one.run.scenario)
            extra = [words(scenario)] if named else []
            extra += [str(one.run.folder.relative_to(root))] if len(same) > 1 else []
            endings = [*([scenario] if named else []), *([str(i + 1)] if i else [])]
            for section in one.sections:
                anchor = re.sub(r"[^\w-]", "_", "-".join([section.key, *endings]))
                parts.append((anchor, replace(section, of=", ".join(extra))))
    return parts
