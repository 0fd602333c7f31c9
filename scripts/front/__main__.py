"""Former name of the command `scripts.pareto`."""

import sys

from scripts.pareto import main

if __name__ == "__main__":
    print("scripts.front is scripts.pareto now; this name goes in the next release", file=sys.stderr)
    raise SystemExit(main())
