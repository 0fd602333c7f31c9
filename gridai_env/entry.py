"""The vector entry point: NumPy, or torch where a device is given.  And what ids of an earlier version say."""

from dataclasses import fields
from importlib.util import find_spec
from typing import Any, NoReturn

import gymnasium as gym
from gymnasium.error import DependencyNotInstalled, DeprecatedEnv

from gridai_env.envs.options import DEVICE_ONLY, TorchVectorOptions
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.scenario.errors import refuse_unknown
from gridai_env.version import pip_install

KEYWORDS = tuple(f.name for f in fields(TorchVectorOptions))


def open_vector_env(
    num_envs: int = 1, device: Any = None, **arguments: Any
) -> gym.vector.VectorEnv[Any, Any, Any]:
    """Return ``num_envs`` environments: `GridAIVectorEnv`, or `GridAITorchVectorEnv` on a torch ``device``.

    Raises TypeError for unknown keywords, ValueError for arguments that do not fit, DependencyNotInstalled where
    torch is missing.
    """
    refuse_unknown("make_vec", arguments, KEYWORDS)
    if device is None:
        odd = [name for name in DEVICE_ONLY if name in arguments]
        if arguments.get("compile") == "torch":
            odd.append("compile = 'torch'")
        if odd:
            raise ValueError(
                f"{', '.join(odd)}: only with a device; add device='cpu' or device='cuda', or leave it out"
            )
        return GridAIVectorEnv(num_envs, **arguments)
    if find_spec("torch") is None:
        raise DependencyNotInstalled(
            f"device = {device!r}: needs torch; run {pip_install('rl')}, or leave device out (NumPy)"
        )
    from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv

    return GridAITorchVectorEnv(num_envs, device=device, **arguments)


def refuse_v1(new_id: str, **arguments: Any) -> NoReturn:
    """Raise DeprecatedEnv, which says why there is no version 1 any more."""
    raise DeprecatedEnv(
        f"{new_id.replace('-v2', '-v1')}: forecasts changed (no knowledge of the file's future, skill as declared also "
        f"in weeks of spikes), so that results of v1 do not compare; use {new_id}"
    )
