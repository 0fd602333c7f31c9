"""Former address of `agents.vec_env.actions`."""

from agents.vec_env.actions import *  # noqa: F403
from gridai_env.envs.action_space import active_mask as active_mask
from gridai_env.version import former_address

former_address(__name__, "agents.vec_env.actions")
