"""Former address of `baselines.optimum.milp`."""

import warnings

from baselines.optimum.highs import *  # noqa: F403
from baselines.optimum.milp import *  # noqa: F403
from baselines.optimum.service_floor import *  # noqa: F403

warnings.warn(
    "baselines.milp is baselines.optimum.milp now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
