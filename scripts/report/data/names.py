"""Names and colours of policies and quantities, the same in every plot, and numbers as a plot needs them."""

import math
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path, PurePath

import yaml

from scripts.report.data import palette

FILE = Path(__file__).with_name("names.yaml")
TABLES: dict[str, dict[str, tuple[str, str]]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))


def named(table: str) -> dict[str, tuple[str, str]]:
    """Return what the items of a table of ``names.yaml`` are called, and their colour or unit."""
    return {key: (label, vars(palette).get(look, look)) for key, (label, look) in TABLES[table].items()}


POLICIES = named("policies")
VARIANT, OPTIMUM = "variant:", "milp"
NETWORKS = named("networks")
LEARNED = tuple(NETWORKS)  # what was trained, by how its name begins
# Policies that know what is to come: no rivals of those that do not.
SEEING = (OPTIMUM, "mpc:perfect")


def policy_colour(name: str) -> str:
    """Return the colour of a policy, the same in every plot; policies without one of their own share a few."""
    if name.startswith(LEARNED):
        return NETWORKS[_network(name)][1]
    if name in POLICIES:
        return POLICIES[name][1]
    return palette.OTHERS[sum(name.encode()) % len(palette.OTHERS)]


def policy_label(name: str) -> str:
    """Return what a policy is called in text: plain, not escaped."""
    if name.startswith(LEARNED):
        file = PurePath(name.partition(":")[2])  # ppo:runs/demo/model.zip
        own = file.parent.name if file.stem == "model" and file.parent.name else file.stem or "learned"
        return f"{NETWORKS[_network(name)][0]}, {own}"

    if name.startswith(VARIANT):
        return "Optimum, " + words(name.removeprefix(VARIANT))
    if name in POLICIES:
        return POLICIES[name][0]
    return words(name).capitalize() if re.fullmatch(r"[a-z_]+", name) else name


def _network(name: str) -> str:
    return next(kind for kind in NETWORKS if name.startswith(kind))


def knows_future(name: str) -> bool:
    """Return whether a policy plans with perfect foresight: the optimum, its variants, MPC with perfect forecasts."""
    return name in SEEING or name.startswith(VARIANT)


def words(name: str) -> str:
    """Return a name of a scenario for people: new_york -> new york."""
    return name.replace("_", " ")


def safe(text: object) -> str:
    """Return text from data, escaped for a plot: Plotly reads a few HTML tags."""
    return escape(str(text), quote=False)


def plain(name: str) -> str:
    """Return a name of a scenario for people, escaped."""
    return safe(words(name))


def labels(policies: Iterable[str]) -> list[str]:
    """Return what policies are called, escaped."""
    return [safe(policy_label(name)) for name in policies]


def rounded(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Return numbers with so many significant digits, NaN as None: small files, and as much as one can see."""
    return [tidy(value, digits) for value in values]


def tidy(value: float, digits: int = 5) -> float | None:
    """Return a number with so many significant digits; None for NaN and infinity."""
    number = float(value)
    if not math.isfinite(number):
        return None
    if abs(number) < 1e-9:
        return 0
    short = float(f"{number:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
