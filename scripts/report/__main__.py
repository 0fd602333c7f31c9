"""Write everything that lies in run folders into one HTML file that needs no network.

    python -m scripts.report runs/demo
    python -m scripts.report runs/demo --out report.html

RUN_DIR is a run folder or holds some, at any depth: of scripts.compare, scripts.frontier, scripts.pareto,
scripts.flexibility and scripts.reproduce. What is there is shown, for what is not the command that makes it. Runs of
several scenarios are shown one scenario after the other. A run among them that is unfinished, damaged or of another
version of the environment is left out; the report and a line on standard error say so.
"""

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gridai_env.files import write_text
from scripts.runs.command import CommandOptions, File, Shown, command, need_packages
from scripts.runs.folder import check_out


class ReportOptions(CommandOptions):
    """What is read, and the file that is written."""

    run_dir: Annotated[str, Shown(names=("run_dir",), metavar="RUN_DIR")] = Field(
        description="a run folder, or a folder that holds some"
    )
    out: File | None = Field(None, description="the file to write; default: RUN_DIR/report.html")


@command(ReportOptions)
def main(options: ReportOptions) -> int:
    """Read, draw, write; bad input raises before anything is written."""
    need_packages("plotly")
    from scripts.report.contents import draw_runs, report_html
    from scripts.report.data.run_folders import find_runs

    root = Path(options.run_dir)
    runs, left_out = find_runs(root)
    out = Path(options.out) if options.out else root / "report.html"
    check_out(out, "report.html")
    # All is drawn before anything is written: an old report survives a failure.
    drawn = draw_runs(root, runs, left_out)
    write_text(out, report_html(root, drawn, left_out))
    for run in left_out:
        print(f"warning: left out: {run.reason}", file=sys.stderr)
    shown = ", ".join(
        f"{run.kind} ({run.scenario_name})" if run.scenario else run.kind
        for run in (one.run for one in drawn)
    )
    print(f"read: {shown}")
    print(f"report: {out} ({out.stat().st_size / 1e6:.1f} MB; opens in any browser, without a network)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
