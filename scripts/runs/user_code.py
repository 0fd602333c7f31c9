"""Objects from the user's own code, named ``py:module:Factory`` on the command line."""

import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

from gridai_env.rollout.policy import PolicyError
from scripts.runs.command import InputError

OWN_CODE = "py:"
DEBUG = "GRIDAI_DEBUG"  # set to anything, tracebacks of users' code are shown
STANDARD = sysconfig.get_path("stdlib")  # where Python's own modules are


@contextmanager
def users_code(name: str) -> Iterator[None]:
    """Turn what a user's code raises into an InputError of one line that says where."""
    try:
        yield
    except (PolicyError, InputError):
        raise
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else f"working folder {Path.cwd()}"
        text = " ".join(str(error).split())
        raise InputError(
            f"{name}: {type(error).__name__}: {text} ({where}; {DEBUG}=1 shows the traceback)"
        ) from error


def _is_own(file: str) -> bool:
    """Return whether a file is neither this one nor one of a library."""
    return file != __file__ and "site-packages" not in file and not file.startswith(("<frozen", STANDARD))


def made_by(name: str, option: str, offered: Any) -> Any:
    """Return what the factory of ``py:module:Factory`` returns; the working folder is on the path.

    It is called as ``Factory()`` where it needs no argument, else as ``Factory(offered)``; what cannot be called is
    the object itself.  Raise InputError, which names the ``option``, where module, factory or object cannot be had.
    """
    module, factory = _parts(name, option)
    with users_code(f"{option} {name}"):
        make = attrgetter(factory)(import_module(module))
        if not callable(make):
            return make
        return make(offered) if _needs_argument(make) else make()


def module_files(name: str, option: str) -> list[Path]:
    """Return the file of the module, none where it has no source or is not found."""
    module, _ = _parts(name, option)
    with users_code(f"{option} {name}"):
        found = find_spec(module)
    return [Path(found.origin)] if found is not None and found.has_location and found.origin else []


def _parts(name: str, option: str) -> tuple[str, str]:
    """Return module and factory, with the working folder on the path; raise InputError for another form."""
    module, _, factory = name.removeprefix(OWN_CODE).partition(":")
    names = (*module.split("."), *factory.split("."))
    if not (name.startswith(OWN_CODE) and all(part.isidentifier() for part in names)):
        raise InputError(
            f"{option} {name!r}: must be py:module:Factory, a module and a class or function in it, e.g. "
            "py:my_code:MyOwn for the class MyOwn in my_code.py of the working folder"
        )
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return module, factory


def _needs_argument(make: Callable[..., Any]) -> bool:
    """Return whether a factory has an argument without a default, or one called env (which policies want)."""
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [one for one in inspect.signature(make).parameters.values() if one.kind in wanted]
    return any(one.default is one.empty or one.name == "env" for one in places)
