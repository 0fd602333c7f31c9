"""Networks without a rule in scenarios with lines and power modes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch

from agents.networks.checkpoint import load_policy
from agents.networks.items import Items
from agents.networks.learned import SAVES, LearnedPolicy
from agents.structured.action_numbers import KINDS
from agents.structured.observed import Reader
from gridai_env.envs.env import GridAIEnv
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from tests.agents.networks.test_learned import policy_of, seen
from tests.agents.structured.test_lines import moments
from tests.support.small_scenario import SMALL, flexible, small

MODE = KINDS.index("mode")


def without_lines() -> Compiled:
    """The same world without lines and modes."""
    return small(horizon_h=96.0)


def known_part(observation: torch.Tensor, here: Compiled, there: Compiled) -> torch.Tensor:
    """The observation with memory as the world ``there``, with fewer parts, would show it."""
    own, known = ObservationLayout(here), ObservationLayout(there)
    shown = [observation[:, own.parts[name]] for name in known.parts]
    return torch.cat([*shown, observation[:, own.size :]], 1)


@pytest.mark.parametrize("network", ["mlp", "set"])
def test_modes_begin_by_saving_and_follow_the_weights(network: str) -> None:
    policy = policy_of(flexible(), network)
    numbers, _ = policy.mean_numbers(seen(flexible()))
    modes = numbers[:, torch.as_tensor(policy.actions.kind == MODE)]
    assert modes.shape[1] == 2 and bool((modes > SAVES - 0.5).all())
    # Less is possible also from the edge.
    slopes = torch.autograd.grad(modes.sum(), policy.judgement.parameters(), allow_unused=True)
    assert any(slope is not None and bool((slope != 0.0).any()) for slope in slopes)


def test_the_first_decision_is_that_of_the_network_before() -> None:
    """Weights of a world without lines, in one with them: what was decided there is decided as before."""
    plain, more = without_lines(), flexible()
    old, fresh = policy_of(plain, "set", seed=1), policy_of(more, "set", seed=2)
    new = policy_of(more, "set", seed=2)
    new.load_state_dict(old.weights_for(new))
    own = new.actions.kind != MODE
    compared = 0
    for observation, _, exo in moments(more, 30):
        # Fewer accelerators are fed in a call: work is spread another way then, as it should be.
        free = torch.as_tensor((exo.import_limit_mw >= more.import_limit_mw).all(-1))
        found, _ = new.mean_numbers(observation)
        before, _ = old.mean_numbers(known_part(observation, more, plain))
        torch.testing.assert_close(found[free][:, own], before[free], rtol=1e-4, atol=1e-4)
        assert bool((found[:, ~own] == SAVES).all())
        compared += int(free.sum())
    assert compared > 20

    # What is new is seen at its own scale, weighs nothing yet, and can be learned.
    size = len(old.judgement.scales["sites"].scale)
    scales = [policy.judgement.scales["sites"].scale[size:] for policy in (new, fresh)]
    assert torch.equal(*scales) and int((scales[0] > 0.0).sum()) > 10
    first = new.judgement.site[0][0].weight
    assert bool((first[:, size : len(new.judgement.scales["sites"].scale)] == 0.0).all())
    new.mean_numbers(seen(more))[0].sum().backward()
    assert bool((first.grad[:, size:] != 0.0).any())

    # And back again.
    again = policy_of(plain, "set", seed=3)
    again.load_state_dict(new.weights_for(again))
    observation = seen(plain)
    torch.testing.assert_close(again.mean_numbers(observation)[0], old.mean_numbers(observation)[0])


def test_sites_see_their_lines_calls_and_contracts() -> None:
    compiled = flexible()
    reader, plain = Reader(compiled), Reader(without_lines())
    before = Items.of(plain, torch.zeros(1, plain.size + plain.memory.size)).sites.shape[-1]
    calls, lines = 0, compiled.lines
    for observation, _, exo in moments(compiled, 40):
        sites = Items.of(reader, observation).sites[..., before:]
        units = ObservationLayout(compiled).physical(observation[:, : reader.size].numpy())
        peak = compiled.params.utilisation_limit * compiled.params.gpus
        peak_mw = units["pue"] * physics_mw(compiled, peak)
        np.testing.assert_allclose(sites[..., 0], exo.import_limit_mw / peak_mw, rtol=1e-4)
        np.testing.assert_allclose(sites[..., 1], exo.generator_open, atol=1e-6)
        np.testing.assert_allclose(sites[..., 3], exo.committed_mw.sum(-2) / peak_mw, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(sites[..., 10:12].amax(-1), exo.line_usd_per_mwh.max(-2) / 10.0, rtol=1e-4)

        # The lead of one hour is the first that is shown.
        shown = sites[..., 12 : 12 + 16].numpy()
        at = compiled.forecast.leads_h.index(1.0)
        for k in range(2):
            mine = [q for q, site in enumerate(lines.call_site) if site == k]
            wanted = np.minimum(units["forecast_call"][:, at, mine].sum(-1), 1.0)
            np.testing.assert_allclose(shown[:, k, 0], wanted, atol=1e-5)
        calls += int((shown > 0.0).sum())
        clean = sites[..., 28:].numpy() * peak_mw[..., None]
        np.testing.assert_allclose(clean[:, 0, 0], units["forecast_clean_mw"][:, at, 0], rtol=1e-3, atol=1e-4)
        assert not clean[:, 1].any()
    assert calls > 10


def physics_mw(compiled: Compiled, busy_gpus: np.ndarray) -> np.ndarray:
    """IT power of so many busy accelerators, all in service."""
    p = compiled.params
    return (p.gpus * p.idle_kw_per_gpu + busy_gpus * (p.busy_kw_per_gpu - p.idle_kw_per_gpu)) / 1000.0


@pytest.mark.parametrize("count", [1, 3])
def test_weights_fit_any_number_of_lines(count: int) -> None:
    tiers = [
        {"name": f"t{n}", "kind": "tier", "mw": 0.2 * n, "price_usd_per_mwh": 5.0}
        for n in range(1, count + 1)
    ]
    sites = [{**site, "lines": tiers} for site in SMALL["sites"]]
    policy = policy_of(flexible(), "set")
    other = small(sites=sites)
    moved = policy.for_scenario(other)
    assert isinstance(moved, LearnedPolicy)
    assert bool(torch.isfinite(moved.mean_numbers(seen(other))[0]).all())


def test_shipped_weights_act_as_before_there_were_lines() -> None:
    """Entries of the twelfth action, as they were then."""
    env = GridAIEnv("four_markets")
    policy = load_policy("configs/agents/pretrained/four_markets/learned/seed0/model.zip")
    policy.prepare(env.compiled)
    (observation, _), state = env.reset(seed=3), None
    for t in range(12):
        action, state = policy.predict(observation, state, np.array([t == 0]))
        observation, *_ = env.step(action)
    wanted = [-0.68573868, 0.63798225, 0.08112143, -0.89695436, -0.95453078, 0.56570649]
    np.testing.assert_allclose(action[[25, 43, 70, 92, 104, 145]], wanted, atol=1e-4)
