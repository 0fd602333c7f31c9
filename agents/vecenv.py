"""Former address of `agents.vec_env.numpy`."""

from agents.vec_env.base import *  # noqa: F403
from agents.vec_env.numpy import *  # noqa: F403
from gridai_env.version import former_address

former_address(__name__, "agents.vec_env.numpy")
