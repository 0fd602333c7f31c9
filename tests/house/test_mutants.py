"""The suite notices faults: a few here, all of the list in `mutants.py` behind the marker ``mutation``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.mutants import MUTANTS
from tests.support.planted import (
    FAST,
    FLOORS,
    GOLDEN,
    STEP,
    Mutant,
    copy_of_the_code,
    fault_in_list,
    run_tests,
    survives,
)

QUICK = (
    "PUE twice",
    "charge efficiency inverted",
    "wear on charge only",
    "growth ignored",
    "queue limit off by one",
    "deadline off by one",
)
# Without the optimiser and torch, so that a run takes two seconds.
QUICK_TESTS = ("gridai_env/world/test_physics.py", "gridai_env/world/test_queue_fifo.py")


def named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def test_every_mutant_can_still_be_applied() -> None:
    assert [fault for fault in map(fault_in_list, MUTANTS) if fault] == []
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
    assert all(mutant.old != mutant.new for mutant in MUTANTS)


@pytest.mark.parametrize("name", QUICK)
def test_a_fault_turns_the_suite_red(name: str, tmp_path: Path) -> None:
    assert survives(replace(named(name), tests=QUICK_TESTS), tmp_path) == ""


@pytest.mark.mutation
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_each_fault_turns_the_suite_red(mutant: Mutant, tmp_path: Path) -> None:
    assert survives(mutant, tmp_path) == ""


@pytest.mark.mutation
def test_the_code_as_it_is_stays_green(tmp_path: Path) -> None:
    """Otherwise the tests would be red for another reason than the fault."""
    result = run_tests(copy_of_the_code(tmp_path), (*FAST, *FLOORS, *STEP, *GOLDEN))
    assert result.returncode == 0, result.stdout[-3000:]
