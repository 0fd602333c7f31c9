"""Former address of `agents.vec_env.adapter`."""

from agents.vec_env.adapter import *  # noqa: F403
from gridai_env.version import former_address

former_address(__name__, "agents.vec_env.adapter")
