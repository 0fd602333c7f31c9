"""The appendix of the report: where every figure comes from."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from scripts.report.data.numbers import number, seed_text
from scripts.report.data.parts import PlainTable
from scripts.report.data.run_folders import RunFolder
from scripts.report.page.html import folded, part_html, table_html


def origin_html(root: Path, runs: Sequence[RunFolder]) -> str:
    """Return the appendix: a block per run."""
    blocks = "".join(_run_html(root, run) for run in runs)
    where = "<p>Each run folder holds its full settings in run.json and its figures as CSV files.</p>"
    return part_html("origin", "Origin of the figures", where + blocks)


def _run_html(root: Path, run: RunFolder) -> str:
    folder = run.folder.relative_to(root) if run.folder != root else Path(run.folder.name)
    facts = {"folder": str(folder), **_case(run), **_making(run)}
    items = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items() if value
    )

    # Hashes tell whether two runs played the same episodes; 16 digits suffice to compare them.
    hashes = [
        (str(item.get("seed")), str(item.get("start_utc")), str(item.get("hash"))[:16])
        for item in run.record.get("instances", [])
    ]
    table = table_html(PlainTable(("seed", "start, UTC", "hash"), hashes, names=3))
    more = folded("Episodes", table) if hashes else ""
    return f'<section class="panel"><h3>{escape(run.kind)}</h3><dl class="facts">{items}</dl>{more}</section>'


def _case(run: RunFolder) -> dict[str, str]:
    """Return what was run; less where a run spans several scenarios."""
    scenario = run.scenario
    name = "several" if run.scenario_name == run.kind else run.scenario_name
    case = {"scenario": name, "episodes": f"seeds {seed_text(run.seeds)}"}
    if scenario:
        hours, step_h, price = (
            number(float(scenario[key])) for key in ("horizon_h", "dt_h", "carbon_price_usd_per_t")
        )
        case |= {
            "length": f"{hours} h in steps of {step_h} h",
            "traces": str(scenario.get("traces", "")),
            "carbon": f"{scenario['carbon_signal']} intensity is billed, at {price} USD/t",
        }
    return case


def _making(run: RunFolder) -> dict[str, str]:
    """Return how, when and with what a run was made."""
    record = run.record
    command = record.get("command") or []
    words = [f"python -m scripts.{Path(str(command[0])).stem}", *map(str, command[1:])] if command else []

    versions, machine = (record.get(key) or {} for key in ("versions", "machine"))
    return {
        "written": str(record.get("time_utc", "")),
        "command": " ".join(words),
        "commit": str(record.get("commit") or "outside of a checkout"),
        "environment": f"version {record.get('environment_version')}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "machine": ", ".join(f"{key} {value}" for key, value in machine.items() if value),
    }
