"""Former address of `agents.networks.checkpoint`."""

from agents.networks.checkpoint import *  # noqa: F403
from gridai_env.version import former_address

former_address(__name__, "agents.networks.checkpoint")
