"""Records of arrays: frozen dataclasses whose fields are mapped and replaced together."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TypeVar

import numpy as np

from gridai_env.arrays.types import Array

R = TypeVar("R", bound="Record")


@dataclass(frozen=True)
class Record:
    """Base of the records: mapping over all array fields and replacing some.

    Records are made many times in a step; `make` avoids the slow constructor of a frozen dataclass.
    """

    @classmethod
    def make(cls: type[R], **values: Array) -> R:
        """Return the record with these values; every field must be given, which is not checked."""
        record = object.__new__(cls)
        record.__dict__.update(values)
        return record

    def map(self: R, function: Callable[[Array], Array]) -> R:
        """Apply ``function`` to every field and return a new record of the same kind."""
        mine = self.__dict__
        return self.make(**{name: function(mine[name]) for name in self.names()})

    def replace(self: R, **changes: Array) -> R:
        """Return a copy with some fields changed."""
        record = self.make(**self.__dict__ | changes)
        if len(record.__dict__) != len(self.__dict__):
            raise TypeError(
                f"{type(self).__name__} has no field {sorted(changes.keys() - set(self.names()))}"
            )
        return record

    def __setstate__(self, values: dict[str, Array]) -> None:
        """Take pickled fields and what is kept beside them; raise UnpicklingError where some are missing."""
        if missing := sorted(set(self.names()) - values.keys()):
            raise pickle.UnpicklingError(
                f"a {type(self).__name__} of another version, without {', '.join(missing)}"
            )
        self.__dict__.update(values)

    def __str__(self) -> str:
        """Return names and shapes; the arrays themselves would fill pages."""
        shapes = (f"{name} {list(np.shape(getattr(self, name)))}" for name in self.names())
        return f"{type(self).__name__}: {', '.join(shapes)}"

    @classmethod
    def stacked(cls: type[R], records: Sequence[R]) -> R:
        """Return records of arrays as one, each field with a leading axis for them."""
        return cls(**{name: np.stack([getattr(record, name) for record in records]) for name in cls.names()})

    @classmethod
    @cache
    def names(cls) -> tuple[str, ...]:
        """Return the names of the fields in their fixed order."""
        return tuple(f.name for f in fields(cls))
