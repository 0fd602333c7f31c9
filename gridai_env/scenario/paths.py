"""Paths that stand in scenarios and settings: from which folder they count, and what of them is hashed."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

SYNTHETIC = "synthetic"
# Context of `model_dump` in which a file is its name alone: its folder may lie anywhere.
BY_NAME = "files by name"


def absolute(path: str, folder: str | Path | None = None) -> str:
    """Return the absolute path of a file; "synthetic", which is none, as it is.

    ``folder`` is that of the file which names it; None: the working folder.
    """
    if path == SYNTHETIC:
        return path
    return os.path.abspath(os.path.join(folder or "", os.path.expanduser(path)))


def absolute_demand(text: str) -> str:
    """Return "FILE,key=value,..." with the absolute path of the file."""
    source, comma, options = text.partition(",")
    return absolute(source.strip()) + comma + options


def _validated(path: str, info: ValidationInfo) -> str:
    """Return the absolute path; the context of the validation is the folder from which it counts."""
    return absolute(path, info.context)


def _dumped(path: str, info: SerializationInfo) -> str:
    return os.path.basename(path) if info.context == BY_NAME else path


# A field with the path of a file: absolute once it is checked.
SourcePath = Annotated[str, Field(min_length=1), AfterValidator(_validated), PlainSerializer(_dumped)]
