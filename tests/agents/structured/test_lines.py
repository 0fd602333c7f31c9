"""Lines, calls and power modes as the rule sees and obeys them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch

from agents.networks.merit_order import MeritOrder
from agents.structured.action_numbers import KINDS, OpenActions, kinds_of
from agents.structured.dispatch.batteries import Batteries
from agents.structured.lines import Lines, fed_gpuh, line_mw
from agents.structured.observed import UNIT_USD, Reader
from agents.structured.policy import StructuredPolicy
from agents.structured.situation import Situation, discharge_mw
from baselines.rules.registry import REGISTRY
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_batch
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory
from gridai_env.rollout.run import run_many
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world import physics
from gridai_env.world.actions import Layout, most_saving_mw
from gridai_env.world.state import Exogenous, State
from tests.support.small_scenario import flexible, small


def moments(compiled: Compiled, steps: int, count: int = 4) -> list[tuple[torch.Tensor, State, Exogenous]]:
    """Observations with memory of some episodes under random actions, and what they show."""
    env = GridAIVectorEnv(count, scenario=compiled.scenario, flat_observations=True)
    memory = ObservationMemory(ForecastMemory(compiled))
    observation, rng, found = env.reset(seed=2)[0], np.random.default_rng(0), []
    for t in range(steps):
        seen = memory.begin(observation) if t == 0 else memory.go_on(observation, None)
        state = env.simulator.state.map(np.copy)
        found.append((torch.as_tensor(np.array(seen)), state, env.simulator.exogenous.map(np.copy)))
        observation = env.step(rng.uniform(-1.0, 1.0, (count, Layout(compiled.shape).size)))[0]
    return found


def test_modes_are_numbers_only_where_there_are_any() -> None:
    plain, more = small(), flexible()
    assert kinds_of(plain) == KINDS[:7] and kinds_of(more) == KINDS
    with_modes, without = (StructuredPolicy.of(compiled) for compiled in (more, plain))
    assert len(without.log_std) == 7 and len(with_modes.log_std) == 8
    own = with_modes.actions.kind == KINDS.index("mode")
    assert own.sum() == 2 and not (without.actions.kind == KINDS.index("mode")).any()

    numbers = OpenActions.of(more).start.copy()
    numbers[own] = [0.3, 1.7]
    played = Layout(more.shape).split(OpenActions.of(more).expand(numbers).astype(float))["mode"]
    np.testing.assert_allclose(played, [0.3, 1.0], rtol=1e-6)


def test_lines_are_those_of_the_step() -> None:
    """Baselines from past imports included; and work that power feeds draws just that power, saving all it can."""
    compiled, some, short = flexible(), 0, 0
    reader = Reader(compiled)
    for seen, state, exo in moments(compiled, 60):
        now = Situation.of(reader, reader(seen))
        assert now.lines is not None
        found = line_mw(now.seen.part).numpy() * reader.unit
        np.testing.assert_allclose(found, physics.line_mw(state, exo), rtol=1e-4, atol=1e-4)
        some += int((exo.baseline_share > 0.0).sum())
        np.testing.assert_allclose(
            now.lines.generator_mw.numpy() * reader.unit,
            physics.generator_limit_mw(compiled.params, exo),
            rtol=1e-5,
        )

        added = exo.line_usd_per_mwh + exo.response_usd_per_mwh
        np.testing.assert_allclose(10.0 * now.lines.usd.sum(1).numpy(), added.sum(-2), rtol=1e-4, atol=1e-3)
        short += int(_assert_fed(compiled, now, state, exo))

        held, spare = now.running_gpus[:, 0], torch.tensor([0.1, 0.2]) / reader.unit
        fed = fed_gpuh(now.p, now.exo, spare.expand_as(held), held)
        served = fed[:, None, None] * torch.eye(compiled.shape.rows)[0][:, None]
        load = now.load_mw(served) - now.load_mw(0.0 * served)
        pays = now.price[:, 0] > 0.0
        torch.testing.assert_close(load[pays], spare.expand_as(held)[pays], rtol=1e-3, atol=1e-5)
    assert some > 10 and short > 0


def _assert_fed(compiled: Compiled, now: Situation, state: State, exo: Exogenous) -> int:
    """Work that fills the room of a site is fed by all that it can be supplied with; return how many are short."""
    p = compiled.params
    stored = (state.battery_mwh - p.battery_min_mwh) * p.discharge_efficiency / p.dt_h
    supply = exo.import_limit_mw + exo.renewable_available_mw + physics.generator_limit_mw(p, exo)
    supply = supply + np.minimum(p.discharge_limit_mw, np.maximum(stored, 0.0))
    held = state.committed_gpus[..., 0]
    served = now.room_gpuh.numpy()[:, None] * now.reader.unit
    most = most_saving_mw(p, exo, served, held)
    load = physics.load_of(p, exo, served, held, most).facility_mw
    by_gpus = np.maximum(p.utilisation_limit * exo.available_gpus - held, 0.0) * p.speed * p.dt_h
    is_short = (served[:, 0] < 0.999 * by_gpus) & (served[:, 0] > 0.0)
    np.testing.assert_allclose(load[is_short], supply[is_short], rtol=1e-3)
    assert (load <= np.maximum(supply, load * (served[:, 0] == 0.0)) * (1.0 + 1e-4)).all()
    return int(is_short.sum())


def test_batteries_spare_what_no_line_is_worth() -> None:
    """Stored energy is worth 60 USD/MWh, import 40: surcharges of up to 20 are paid, then fuel of 50 runs."""
    compiled = flexible(horizon_h=48.0)
    reader = Reader(compiled)
    seen = next(seen for seen, *_ in moments(compiled, 1, count=1))
    now, zero, mw = Situation.of(reader, reader(seen)), torch.zeros(1, 2), 1.0 / reader.unit
    lines = Lines(zero[:, None] + 1.0 * mw, zero[:, None] + 3.0, zero + 2.0 * mw, zero + 0.5 * mw)
    now = replace(now, lines=lines, supply=replace(now.supply, buy=zero[:, None] + 4.0))
    reader.fuel_price = torch.full((2,), 5.0)
    worth = 6.0 - now.p.wear_usd_per_mwh / UNIT_USD
    wish = Batteries(torch.tensor([[0.6, 0.0]]), torch.tensor([[0.3 * mw, 0.0]]), zero + worth, zero)

    def taken_mw(load_mw: float, surcharge: float = 3.0) -> float:
        dearer = replace(lines, usd=zero[:, None] + surcharge)
        found = wish.sparing(replace(now, lines=dearer), zero + load_mw * mw)
        taken = float(found.taken_mw[0, 0]) / mw
        assert float(found.power[0, 0]) == pytest.approx(taken / 0.5, abs=1e-5)
        assert float(found.power[0, 1]) == 0.0
        return taken

    assert [taken_mw(load) for load in (0.5, 1.4, 1.6)] == pytest.approx([0.3, 0.1, -0.1], abs=1e-5)
    # A surcharge of 10: up to the limit of import of 2 MW.
    assert [taken_mw(load, 1.0) for load in (1.4, 2.3)] == pytest.approx([0.3, 0.2], abs=1e-5)
    most = float(discharge_mw(now.p, now.seen)[0, 0]) / mw
    assert taken_mw(9.0) == pytest.approx(-most) and most > 0.1


def test_batteries_charge_below_a_line() -> None:
    """A tier of 0.5 MW that costs 300 USD/MWh: no dear hour to come is worth charging above it."""
    north, south = (dict(site) for site in small().scenario.model_dump(mode="json")["sites"])
    tier = {"name": "tier", "kind": "tier", "mw": 0.5, "price_usd_per_mwh": 300.0}
    charged = []
    for lines in ([], [tier]):
        compiled = small(sites=[north | {"lines": lines}, south], jobs=[], events=[], horizon_h=24.0)
        played = run_many(MeritOrder(compiled), make_batch(compiled, range(4)).instances)
        charging = np.stack([one.flows.charge_mw[:, 0] > 1e-3 for one in played])
        above = np.stack([one.flows.import_mw[:, 0] > 0.5 + 1e-3 for one in played])
        charged.append((charging & above).sum())
    assert charged[0] > 0 and charged[1] == 0


def test_import_costs_more_above_each_line() -> None:
    zero = torch.zeros(1, 1)
    lines = Lines(torch.tensor([[[2.0], [6.0]]]), torch.tensor([[[0.5], [100.0]]]), zero + 8.0, zero)
    assert [(float(end), float(usd)) for end, usd in lines.steps()] == [(2.0, 0.0), (6.0, 0.5), (8.0, 100.5)]
    for spare, mw in ((-3.0, 2.0), (0.4, 2.0), (0.5, 6.0), (99.0, 6.0), (101.0, 8.0)):
        assert float(lines.affordable_mw(zero + spare)) == mw
    called = replace(lines, import_limit_mw=zero + 1.0)
    assert [float(end) for end, _ in called.steps()] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["flexible_campus", "demand_response"])
def test_the_rule_earns_more_than_greedy_and_answers_calls(name: str) -> None:
    """In called hours hardly anything is dropped or paid for; modes save, in all others too."""
    compiled = compile_scenario(load_scenario(name, horizon_h=72.0))
    drawn = make_batch(compiled, range(12)).instances
    called = [one for one in drawn if one.knowledge.call_depth.any()][:3]
    assert len(called) == 3
    rule, greedy, home = (
        run_many(policy, called)
        for policy in (MeritOrder(compiled), REGISTRY["greedy"](compiled), REGISTRY["local_only"](compiled))
    )
    for one, ours, theirs, idle in zip(called, rule, greedy, home, strict=True):
        assert ours.benefit_usd > theirs.benefit_usd > idle.benefit_usd
        assert float(ours.flows.shed_mw.sum()) == 0.0

        hours = one.knowledge.call_depth.any(-1)
        paid, lost = (
            sum(float(run.outcome.terms_usd[term][hours].sum()) for term in ("drop_penalty", "line_excess"))
            for run in (ours, idle)
        )
        # USD of three days: contracted wind and sun that are not matched stay.
        assert paid >= 0.1 * lost - 10.0
        saved = ours.flows.saving_mw.sum(-1) > 0.0
        assert saved[hours].all() and saved[~hours].mean() > 0.9


def test_one_rule_plays_scenarios_with_and_without_modes() -> None:
    rule, first = MeritOrder(small()), make_batch(small(), [1]).instances
    before = run_many(rule, first)[0].benefit_usd
    run_many(rule, make_batch(flexible(), [1]).instances)
    assert run_many(rule, first)[0].benefit_usd == before
