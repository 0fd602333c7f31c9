"""Former address of `baselines.optimum.variants`."""

import warnings

from baselines.optimum.variants import *  # noqa: F403

warnings.warn(
    "baselines.variants is baselines.optimum.variants now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
