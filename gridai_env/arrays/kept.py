"""Cache results of functions by a key of their arguments, since records of arrays are not hashable."""

from collections.abc import Callable, Hashable
from functools import update_wrapper
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class KeptBy(Generic[P, R]):
    """A function whose last results are cached and returned again: callers must not change them."""

    def __init__(self, function: Callable[P, R], key: Callable[P, Hashable], most: int) -> None:
        """Keep up to ``most`` results of ``function``, each by what ``key`` returns for its arguments."""
        self._function, self._key, self._most = function, key, most
        self._kept: dict[Hashable, R] = {}
        update_wrapper(self, function)
        self.__qualname__ = function.__qualname__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key = self._key(*args, **kwargs)
        if key not in self._kept:
            if len(self._kept) >= self._most:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._function(*args, **kwargs)
        return self._kept[key]

    def __reduce__(self) -> str:
        """Pickle by name, like any function."""
        return str(self.__qualname__)

    def clear(self) -> None:
        """Forget all results."""
        self._kept.clear()


def kept_by(key: Callable[P, Hashable], most: int) -> Callable[[Callable[P, R]], KeptBy[P, R]]:
    """Return a decorator that keeps the last ``most`` results of a function by a key of its arguments."""
    return lambda function: KeptBy(function, key, most)
