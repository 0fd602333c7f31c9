"""Steps per second, reset cost, solver times and memory, measured on this machine: ``python -m scripts.benchmark``.

Every figure is the median of several repetitions and includes resets.  Actions are random.  A step that changes
nothing would be fast and worthless: the totals of each timed environment must have changed at the end.
"""

import json
import os
import platform
import resource
from dataclasses import asdict

import numpy as np

import gridai_env
from scripts.runs.command import command
from scripts.runs.folder import commit
from scripts.runs.tables import write_rows
from scripts.studies.speed.against import HEADER, compare
from scripts.studies.speed.host import BenchmarkOptions, check, measure
from scripts.studies.speed.probe import PROBES


@command(BenchmarkOptions)
def main(options: BenchmarkOptions) -> int:
    """Check, measure, print and write."""
    check(options)
    print(
        f"gridai-env {gridai_env.__version__}, commit {commit()}, float64 NumPy {np.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}\n"
    )

    if options.against is not None:
        optima = {f"{name} optimum" for name in options.optimum}
        names = [name for name in PROBES if "optimum" not in name or name in optima]
        for i, found in enumerate(compare(options.against, options.repetitions, names)):
            line = found if isinstance(found, str) else found.line()
            print(line if i else f"{HEADER}\n{line}", flush=True)
        return 0

    figures = measure(options)
    if options.out and options.out.suffix == ".csv":
        write_rows([figure.row() for figure in figures], options.out)
    elif options.out:
        options.out.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process: {peak_mb:,.0f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
