"""How every command runs: options from a model, errors in one line with exit code 2, ctrl-C with exit code 130.

Each field of a command's `CommandOptions` is an option: its description is the help, its type and range are checked.
The same names are the keys of the YAML file that ``--config`` reads; the command line takes precedence over the file.
"""

import argparse
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from inspect import get_annotations
from types import NoneType
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from baselines.optimum import InfeasibleError, SolverError
from gridai_env.benchmarks.play import BoundError
from gridai_env.benchmarks.sets import BenchmarkError
from gridai_env.files import InstanceError
from gridai_env.rollout.policy import PolicyError
from gridai_env.scenario.errors import ScenarioError, allowed_range
from gridai_env.traces import TraceError
from gridai_env.traces.errors import TraceWarning
from gridai_env.version import pip_install

# As shells have them; a defect: a policy passes the proven bound, or a published figure cannot be repeated.
DEFECT, BAD_INPUT, INTERRUPTED, NO_READER = 1, 2, 130, 141


class InputError(ValueError):
    """Invalid input; the message says which argument, why and what to do."""


# The extra that brings a package.
EXTRAS = {
    package: extra
    for extra, packages in {
        "cli": "jsonargparse",
        "milp": "pyomo highspy scipy joblib",
        "rl": "torch stable_baselines3 tensorboard tqdm rich",
        "render": "matplotlib",
        "data": "pyarrow",
        "report": "plotly moocore",
        "cards": "huggingface_hub jinja2",
        "offline": "minari h5py PIL",
    }.items()
    for package in packages.split()
}

# Errors whose message is all that a user needs.  Anything else is a fault of the program: its traceback
# shows.
USER_ERRORS = (
    InputError, ScenarioError, TraceError, InstanceError, PolicyError,
    BenchmarkError, InfeasibleError, SolverError, OSError,
)  # fmt: skip


SOLVER = ("highspy", "scipy", "joblib")  # packages of the optimum


def need_packages(*modules: str, advice: str = "") -> None:
    """Raise InputError naming packages and extras where some are not installed: before anything is computed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise InputError(f"this command needs {', '.join(missing)}: {_install(*missing)}{advice}")


def _install(*packages: str) -> str:
    """Return the command that installs packages: with their extras, or by name where no extra brings them."""
    extras = [EXTRAS[name] for name in packages if name in EXTRAS]
    return pip_install(*extras) if extras else f"pip install {' '.join(packages)}"


def refuse_doubles(option: str, values: Iterable[Any]) -> None:
    """Raise InputError naming the values of an option that are given twice."""
    doubles = sorted(value for value, count in Counter(values).items() if count > 1)
    if doubles:
        raise InputError(f"{option}: given twice: {', '.join(map(str, doubles))}")


# Options ------------------------------------------------------------------------------------------------------


class CommandOptions(BaseModel):
    """Base of a command's options; fields of bases with a ``group`` stand under that title in ``--help``."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, validate_default=True)
    group: ClassVar[str | None] = None


OptionsT = TypeVar("OptionsT", bound=CommandOptions)


@dataclass(frozen=True)
class Shown:
    """How an option looks where its name and type do not say; a name without hyphens is positional."""

    names: tuple[str, ...] = ()
    metavar: str | tuple[str, ...] | None = None
    nargs: str | int | None = None
    const: str | None = None  # value of an option that is named without one
    unit: str = ""


File = Annotated[str, Shown(metavar="FILE")]
Folder = Annotated[str, Shown(metavar="DIR")]


def parse_options(options: type[OptionsT], words: Sequence[str] | None, program: str, text: str) -> OptionsT:
    """Return the options that the words of a command line (None: this process's) give.

    Raises InputError with all faults in one line; ``--help`` ends the process.
    """
    parser, given = _parser(options, program, text), sys.argv[1:] if words is None else words
    # Of a list that is named twice the parser would keep the last alone.
    fields = [(_names(name, field), _kind(field.annotation)) for name, field in options.model_fields.items()]
    named = [
        names[0] for word in given for names, kind in fields if word in names and get_origin(kind) is list
    ]
    refuse_doubles("give all values after one name", named)
    try:
        found = parser.parse_args(_files_first(options, given))
    except argparse.ArgumentError as error:
        raise InputError(_complaint(options, str(error))) from error

    try:
        return options.model_validate({name: found[name] for name in options.model_fields if name in found})
    except ValidationError as error:
        raise InputError("; ".join(_faults(options, error))) from error


def _files_first(options: type[CommandOptions], words: Sequence[str]) -> list[str]:
    """Return the words with ``--config FILE`` in front of those that go before it."""
    if "config" in options.model_fields:
        return list(words)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", action="append", default=[])
    found, others = finder.parse_known_args(words)
    return [f"--config={file}" for file in found.config] + others


def _parser(options: type[CommandOptions], program: str, text: str) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=program,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    if "config" not in options.model_fields:
        parser.add_argument(
            "--config", action="config", help="YAML file of options; those given here go first"
        )

    groups: dict[str, Any] = {}
    for name, field in options.model_fields.items():
        owner = next(one for one in reversed(options.__mro__) if name in get_annotations(one))
        title = owner.__dict__.get("group")
        target = parser if title is None else groups.setdefault(title, parser.add_argument_group(title))
        target.add_argument(*_names(name, field), **_keywords(name, field))
    return parser


def _keywords(name: str, field: FieldInfo) -> dict[str, Any]:
    """Return what `ArgumentParser.add_argument` takes besides the names."""
    shown, kind = _shown(field), _kind(field.annotation)
    positional = shown.names and not shown.names[0].startswith("-")
    default = None if field.is_required() else field.default
    text = (field.description or "").replace("%", "%%")
    if default not in (None, False, "", []):
        words = default if isinstance(default, list | tuple) else [default]
        text += (
            f"; default: {' '.join(f'{word:g}' if isinstance(word, float) else str(word) for word in words)}"
        )

    # A positional argument without default must have no default at all.
    out: dict[str, Any] = {"help": text} | ({} if field.is_required() else {"default": default})
    if positional and "default" in out:
        out["default"] = argparse.SUPPRESS  # else a word left out would go before the file's
    if not positional:
        out["dest"] = name
        out["required"] = field.is_required()
    if kind is bool:
        return out | {"action": "store_true"}

    nargs = shown.nargs or ("+" if get_origin(kind) in (list, tuple) else None)
    extra = {"nargs": nargs, "const": shown.const, "metavar": shown.metavar or _choices(kind)}
    # Words pass as they are: the model converts and checks them, with better messages.
    return out | {key: value for key, value in extra.items() if value is not None} | {"type": _as_given}


def _as_given(value: Any) -> Any:
    return value


def _names(name: str, field: FieldInfo) -> tuple[str, ...]:
    return _shown(field).names or (f"--{name.replace('_', '-')}",)


def _shown(field: FieldInfo) -> Shown:
    parts = (part for part in get_args(field.annotation) if get_origin(part) is Annotated)
    inside = (one for part in parts for one in part.__metadata__)
    return next((one for one in (*field.metadata, *inside) if isinstance(one, Shown)), Shown())


def _kind(annotation: Any) -> Any:
    """Return the type without ``| None``."""
    parts = get_args(annotation)
    kind = next(part for part in parts if part is not NoneType) if NoneType in parts else annotation
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _choices(kind: Any) -> str | None:
    """Return ``{a,b}`` for a Literal, or a list of them."""
    inner = get_args(kind)[0] if get_origin(kind) is list else kind
    values = [value for value in get_args(inner) if isinstance(value, str)]
    return f"{{{','.join(values)}}}" if values else None


# Errors -------------------------------------------------------------------------------------------------------


def _complaint(options: type[CommandOptions], text: str) -> str:
    """Return a parser's message as one line that names options as they are written."""
    text = re.sub(r"^Parser key \"(\w+)\":", r"--\1:", " ".join(text.split()))
    head, sign, names = text.partition("the following arguments are required: ")
    if sign:
        written = [_written(name, options.model_fields[name]) for name in names.split(", ")]
        text = f"{head}missing: {', '.join(written)}"
    return f"{text}; see --help"


def _written(name: str, field: FieldInfo) -> str:
    first = _names(name, field)[0]
    return first if first.startswith("-") else str(_shown(field).metavar or first)


def _faults(options: type[CommandOptions], error: ValidationError) -> Iterator[str]:
    """Yield option, value, allowed range and unit for each fault."""
    schema = options.model_json_schema()["properties"]
    for fault in error.errors(include_url=False):
        name, *inside = fault["loc"] or ("",)
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "value_error" and (not name or message.startswith("-")):
            yield message
            continue

        field = options.model_fields[str(name)]
        option, unit = _written(str(name), field), _shown(field).unit
        if fault["type"] == "value_error":
            yield f"{option}: {message}"
            continue

        node = schema[name].get("anyOf", [schema[name]])[0]
        allowed = allowed_range(node.get("items", node) if inside else node)
        allowed = re.sub(r" in \[([^,]+), inf\)", r", at least \1", allowed).removesuffix(" in (-inf, inf)")
        yield f"{option} {_value(fault['input'])}: must be {allowed}{f' [{unit}]' if unit else ''}"


def _value(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[-+.\deE]+", text) else repr(value)


# Running ------------------------------------------------------------------------------------------------------


def run_command(
    options: type[OptionsT], work: Callable[[OptionsT], int], words: Sequence[str] | None = None
) -> int:
    """Parse a command line, run the command of a module and return the exit code."""
    module = sys.modules[work.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__
    program = f"python -m {name.removesuffix('.__main__')}"
    with _notes():
        return exit_code(lambda: work(parse_options(options, words, program, module.__doc__ or "")))


def command(options: type[OptionsT]) -> Callable[[Callable[[OptionsT], int]], Callable[..., int]]:
    """Make a function of its options the ``main`` of a module: it takes the words of a command line instead.

    Without words those of this process are taken; it returns the exit code.
    """
    return lambda work: partial(run_command, options, work)


@contextmanager
def _notes() -> Iterator[None]:
    """Print what is unusual in a trace file as a note, once, without the place in the code that found it."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", TraceWarning, append=True)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is TraceWarning:
                print(f"note: {message}", file=sys.stderr)
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def exit_code(call: Callable[[], int]) -> int:
    """Return what a call returns; bad input becomes one line on standard error and 2, ctrl-C 130.

    Where the reader of standard output has left (``| head -1``), the command ends without a word with 141.
    """
    try:
        code = call()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What is still held for standard output would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except ImportError as error:
        # Errors that Python raises carry a name: that of an extra's package is reported, any other one is a bug.
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if error.name and not (extra and isinstance(error, ModuleNotFoundError)):
            raise
        needed = f"this command needs {error.name}: {pip_install(str(extra))}"
        print(f"error: {needed if error.name else error}", file=sys.stderr)
        return BAD_INPUT
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except BoundError as error:
        print(f"defect: {error}", file=sys.stderr)
        return DEFECT
    except KeyboardInterrupt as error:
        print(f"interrupted{error}", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def interruptible(advice: Callable[[], str]) -> Iterator[None]:
    """Let ctrl-C inside end the command with what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f": {advice()}") from None
