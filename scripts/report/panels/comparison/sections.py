"""The parts of the report that a comparison fills: ladder, flexible load, map, schedules."""

from scripts.report.data.parts import Section
from scripts.report.data.run_folders import RunFolder
from scripts.report.panels.comparison.episodes import load_episodes
from scripts.report.panels.comparison.flexible_load import flexible_panels
from scripts.report.panels.comparison.ladder import NEEDED, SUMMARY, ladder_section
from scripts.report.panels.comparison.map import map_panel
from scripts.report.panels.comparison.schedule import schedule_panel
from scripts.report.panels.comparison.shadow_prices import duals_panel
from scripts.report.panels.comparison.work import work_panel


def compare_sections(run: RunFolder) -> list[Section]:
    """Return the parts that a comparison fills; raises InputError where its files are damaged."""
    found, summary = [ladder_section(run)], run.table(SUMMARY, NEEDED)
    episodes = load_episodes(run, summary)
    if flexible := flexible_panels(run, summary, episodes):
        found.append(Section("flexible", flexible))
    if episodes is None:
        return found

    panels = [schedule_panel(episodes), work_panel(episodes), duals_panel(run)]
    hours = [panel for panel in panels if panel is not None]
    found.append(Section("places", [map_panel(episodes)]))
    found.append(Section("hours", hours))
    return found
