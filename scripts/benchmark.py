"""Steps per second, reset cost, solver times and memory, measured on this machine: ``python -m scripts.benchmark``.

Every figure is the median of several repetitions and includes resets.  Actions are random.  A step that changes
nothing would be fast and worthless: each timed environment must end with other books than it began with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import gridai_env
from scripts.runs.command import run_command
from scripts.runs.folder import commit
from scripts.studies.speed.host import GAPS, check, measure

if TYPE_CHECKING:
    pass


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="of each timing (default 5)")
    parser.add_argument(
        "--optimum", nargs="*", default=list(GAPS), choices=list(GAPS), help="scenarios to solve"
    )
    names = ("TwoSites", "FourMarkets")
    parser.add_argument("--mpc", nargs="*", default=list(names), choices=names, help="planners to time")
    parser.add_argument(
        "--long",
        action="store_true",
        help="also a frontier with one worker and with two, MicrogridProsumer to 0.1 %%, and Global under a carbon "
        "budget of 80 %% of its free emissions",
    )
    parser.add_argument(
        "--device", default="cpu", help="of the batch on torch: cpu, cuda, or none (leave it out)"
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of that batch")
    parser.add_argument("--batches", type=int, nargs="*", help="environments side by side on the device")
    parser.add_argument("--eager", action="store_true", help="leave compiled steps out")
    parser.add_argument("--no-learning", action="store_true", help="leave PPO and its decisions out")
    parser.add_argument("--torch-threads", type=int, help="of torch on the CPU (default: one for each core)")
    parser.add_argument("--seed", type=int, default=0, help="of the instances that are solved")
    parser.add_argument("--threads", type=int, default=2, help="of the solver")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args(argv)
    check(args)
    print(
        f"gridai-env {gridai_env.__version__}, commit {commit()}, float64 NumPy {np.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}\n"
    )
    figures = measure(args)
    if args.out:
        args.out.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process: {peak_mb:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
