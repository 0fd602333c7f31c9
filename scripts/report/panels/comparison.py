"""The parts of the report that a comparison fills: ladder, map, schedules."""

from __future__ import annotations

from scripts.report.data.parts import Section
from scripts.report.data.run_folders import RunFolder
from scripts.report.panels.episodes import load_episodes
from scripts.report.panels.ladder import NEEDED, SUMMARY, ladder_section
from scripts.report.panels.map import map_panel
from scripts.report.panels.schedule import schedule_panel
from scripts.report.panels.shadow_prices import duals_panel
from scripts.report.panels.work import work_panel


def compare_sections(run: RunFolder) -> list[Section]:
    """Ladder, map and schedules of a comparison; raises InputError where its files are damaged."""
    found = [ladder_section(run)]
    episodes = load_episodes(run, run.table(SUMMARY, NEEDED))
    if episodes is None:
        return found
    found.append(Section("places", "Places: sites and flows", [map_panel(episodes)]))
    panels = [schedule_panel(episodes), work_panel(episodes)]
    duals = duals_panel(run)
    if duals is not None:
        panels.append(duals)
    found.append(Section("hours", "Schedules: learned and optimal", panels))
    return found
