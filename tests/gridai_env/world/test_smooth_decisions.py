"""Yes/no decisions: what is played stays exact, and only where it is asked for they have a slope."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch")

import torch

from gridai_env.arrays.ops import namespace, smooth_decisions, straight_through
from gridai_env.world.feasible import minimum_load


def test_the_value_is_hard_and_the_slope_is_that_of_the_smooth_decision() -> None:
    asked = torch.tensor([0.3, 0.7], requires_grad=True)
    hard = (asked.detach() > 0.5).float()
    assert straight_through(hard, lambda: 2.0 * asked, asked) is hard
    with smooth_decisions():
        found = straight_through(hard, lambda: 2.0 * asked, asked)
        assert straight_through(np.ones(2), lambda: pytest.fail("not asked"), np.ones(2)).tolist() == [
            1.0,
            1.0,
        ]
    assert torch.equal(found, hard)
    assert torch.autograd.grad(found.sum(), asked)[0].tolist() == [2.0, 2.0]


def test_a_generator_below_its_minimum_load_is_off_but_follows_what_is_asked() -> None:
    asked = torch.tensor([0.5, 2.0], requires_grad=True)
    p: Any = SimpleNamespace(generator_min_mw=torch.tensor([1.0, 1.0]), xp=namespace(asked))
    plain = minimum_load(p, asked)
    with smooth_decisions():
        smooth = minimum_load(p, asked)
    assert plain.tolist() == smooth.tolist() == [0.0, 2.0]
    slopes = [torch.autograd.grad(found.sum(), asked)[0].tolist() for found in (plain, smooth)]
    assert slopes == [[0.0, 1.0], [1.0, 1.0]]
