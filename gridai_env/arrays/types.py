"""Types of arrays, declared once.

An annotation names what an array holds and, in jaxtyping's form, its shape in the letters of
`gridai_env.world.state`; axes before ``...`` or ``*batch`` may be missing:

    price_usd_per_mwh: Float[Floats, "T K"]     NumPy, steps by sites
    backlog_gpuh: Float[Array, "*batch C W"]    NumPy, torch or Pyomo alike

They are for readers and type checkers: nothing is checked while the world runs.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Bool as Bool
from jaxtyping import Float as Float
from jaxtyping import Int as Int

# NumPy array, torch tensor or object array of Pyomo expressions: the equations do not care.
Array: TypeAlias = Any

# NumPy's own NDArray is no class from NumPy 2.5 on, which jaxtyping wants.
Scalar = TypeVar("Scalar", bound=np.generic)
NDArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Scalar]]

AnyFloats: TypeAlias = NDArray[np.floating]  # float32 or float64
Bools: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Floats32: TypeAlias = NDArray[np.float32]
Index: TypeAlias = NDArray[np.intp]
Ints: TypeAlias = NDArray[np.int64]
Objects: TypeAlias = NDArray[np.object_]

# Part of the observation -> its values, [n] or [B,n].
Observation: TypeAlias = dict[str, NDArray[np.float32]]
