"""Objects from the user's own code, named ``py:module:Factory`` on the command line."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any

from scripts.runs.command import InputError

OWN_CODE = "py:"


def made_by(name: str, option: str, offered: Any) -> Any:
    """Return what the factory of ``py:module:Factory`` returns; the working folder is on the path.

    It is called as ``Factory()`` where it needs no argument, else as ``Factory(offered)``.  Raise InputError, which
    names the ``option``, where the module, the factory or the object cannot be had.
    """
    module, _, factory = name.removeprefix(OWN_CODE).partition(":")
    if not (name.startswith(OWN_CODE) and module and factory):
        raise InputError(
            f"{option} {name!r}: must be py:module:Factory, a module and a class or function in it"
        )

    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        make = attrgetter(factory)(import_module(module))
        return make(offered) if _needs_argument(make) else make()
    except Exception as error:  # whatever the user's code raises
        *_, last = traceback.extract_tb(error.__traceback__)
        where = (
            f"working folder {folder}" if last.filename.startswith("<") else f"{last.filename}:{last.lineno}"
        )
        text = " ".join(str(error).split())
        raise InputError(f"{option} {name}: {type(error).__name__}: {text} ({where})") from error


def _needs_argument(make: Callable[..., Any]) -> bool:
    try:
        inspect.signature(make).bind()
    except TypeError:
        return True
    return False
