"""The unit in which amounts of a scenario are counted where a program has tolerances or thresholds of its own."""

import numpy as np

from gridai_env.world.state import Params

# Power of a site for which amounts are counted in 1 MW, 1 GPU-h, 1 kg; a factor of 4 from here nothing changes.
ORDINARY_MW = 16.0


def unit_of(p: Params) -> float:
    """Return the unit of amounts inside solvers and policies, a power of 16 by the size of the largest site."""
    power_mw = (p.gpus * p.busy_kw_per_gpu / 1000.0, p.base_load_mw, p.charge_limit_mw, p.generator_max_mw)
    most_mw = max(float(np.max(mw)) for mw in power_mw)
    return float(16.0 ** np.round(np.log2(most_mw / ORDINARY_MW) / 4.0))
