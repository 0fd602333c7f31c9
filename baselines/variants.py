"""Former address of `baselines.optimum.variants`."""

from baselines.optimum.variants import *  # noqa: F403
from gridai_env.version import former_address

former_address(__name__, "baselines.optimum.variants")
