"""Former address of `baselines.optimum.milp`."""

from baselines.optimum.highs import *  # noqa: F403
from baselines.optimum.milp import *  # noqa: F403
from baselines.program.service_floor import *  # noqa: F403
from gridai_env.version import former_address

former_address(__name__, "baselines.optimum.milp")
