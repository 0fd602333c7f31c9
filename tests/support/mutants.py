"""Faults put into a copy of the code on purpose: each must turn the suite red.

A mutant is one piece of text that stands exactly once in one file, and what replaces it.  Where a refactoring
moves the text, `test_mutants.py` fails by name, so that the list stays honest.
"""

from __future__ import annotations

from tests.support.line_mutants import OF_LINES
from tests.support.planted import BRUTE, FLOORS, GOLDEN, PRICES, PROMISES, STEP, Mutant
from tests.support.settlement_mutants import OF_SETTLEMENT

P, T, F = "gridai_env/world/physics.py", "gridai_env/world/terms.py", "gridai_env/world/feasible.py"
A, D, M = "gridai_env/world/actions.py", "gridai_env/episodes/demand.py", "baselines/program/rows.py"
EPISODE = "baselines/program/episode.py"
W = "gridai_env/episodes/exogenous.py"
E, METRICS = "baselines/mpc/terminal_value.py", "gridai_env/rollout/metrics.py"
ENDINGS = ("baselines/mpc/test_terminal_value.py",)
BY_HAND = ("gridai_env/rollout/test_metrics_by_hand.py",)
COLUMNS = ("gridai_env/traces/test_meaning_of_columns.py",)

MUTANTS = (
    # Power, accelerators, battery
    Mutant("PUE twice", P, "return exo.pue * it_mw + p.base", "return exo.pue * exo.pue * it_mw + p.base"),
    Mutant(
        "base load inside PUE",
        P,
        "return exo.pue * it_mw + p.base_load_mw",
        "return exo.pue * (it_mw + p.base_load_mw)",
    ),
    Mutant(
        "charge efficiency inverted",
        P,
        "p.charge_efficiency * flows.charge_mw",
        "flows.charge_mw / p.charge_efficiency",
    ),
    Mutant(
        "discharge efficiency inverted",
        P,
        "flows.discharge_mw / p.discharge_efficiency",
        "flows.discharge_mw * p.discharge_efficiency",
    ),
    Mutant("hours forgotten in the battery", P, "+ p.dt_h * stored_mw", "+ stored_mw"),
    Mutant("speed forgotten", P, "/ (p.speed * p.dt_h)", "/ p.dt_h"),
    Mutant(
        "faulty accelerators draw idle power",
        P,
        "exo.available_gpus * p.idle_kw_per_gpu",
        "p.gpus * p.idle_kw_per_gpu",
    ),
    Mutant(
        "charging supplies",
        P,
        "- flows.export_mw - facility_mw - flows",
        "- flows.export_mw - facility_mw + flows",
    ),
    Mutant(
        "jobs never end",
        P,
        "shift_left(sums.committed_gpus) if p.has_jobs",
        "sums.committed_gpus if p.has_jobs",
    ),
    # Work and friction
    Mutant("growth ignored", P, "exo.growth[..., None] * state.placed", "1.0 * state.placed"),
    Mutant("no reference at home", P, "exo.rehomed_gpuh[..., None] * (p.home", "0.0 * (p.home"),
    Mutant(
        "warm-up forgets what was there",
        P,
        "- total(state.placed_gpuh, -3)",
        "- 0.0 * total(state.placed_gpuh, -3)",
    ),
    Mutant("drops stay in the queue", P, "- served_cw_gpuh - flows.dropped_gpuh", "- served_cw_gpuh"),
    Mutant(
        "wear on waiting rows",
        P,
        "return p.is_session[..., None] * (flows.served_gpuh - in_place)",
        "return flows.served_gpuh - in_place",
    ),
    # Carbon, peak, water
    Mutant(
        "exports earn carbon credit",
        P,
        "p.dt_h * flows.import_mw + network",
        "p.dt_h * (flows.import_mw - flows.export_mw) + network",
    ),
    Mutant("hours forgotten in fuel carbon", P, "emitted + p.dt_h * flows.gen", "emitted + flows.gen"),
    Mutant(
        "loading emits nothing",
        P,
        "network_mwh = egress + relocation + warm_up",
        "network_mwh = egress + relocation",
    ),
    Mutant(
        "average billed instead of marginal",
        P,
        "return sums.emissions_marginal_kg if p.bill_marginal else sums.emissions_average_kg",
        "return sums.emissions_average_kg",
    ),
    Mutant(
        "excess counts against the budget",
        P,
        "+ billed_kg(p, sums) - flows.carbon_excess_kg",
        "+ billed_kg(p, sums)",
    ),
    Mutant("peak forgets", P, "state.peak_import_mw + flows.peak_rise_mw", "flows.peak_rise_mw"),
    Mutant("water of imports forgotten", P, "flows.import_mw * p.grid_water", "0.0 * p.grid_water"),
    # Limits
    Mutant(
        "utilisation limit ignored by the plan",
        P,
        "p.utilisation_limit * exo.available_gpus\n",
        "exo.available_gpus\n",
    ),
    Mutant(
        "hours forgotten in the ramp",
        P,
        "p.generator_ramp_mw_per_h * p.dt_h - flows",
        "p.generator_ramp_mw_per_h - flows",
    ),
    Mutant(
        "discharging while charging",
        P,
        "p.discharge_limit_mw * (1.0 - charging)",
        "p.discharge_limit_mw * (1.0 + 0.0 * charging)",
        BRUTE + PROMISES,
    ),
    # Ledger
    Mutant(
        "wear on charge only",
        T,
        "(flows.charge_mw + flows.discharge_mw)",
        "flows.charge_mw",
    ),
    Mutant("import pays", T, "-dt_h * exo.buy_usd_per_mwh", "dt_h * exo.buy_usd_per_mwh"),
    Mutant("export at the price of import", T, "dt_h * exo.sell_usd_per_mwh", "dt_h * exo.buy_usd_per_mwh"),
    Mutant(
        "a term missing from the benefit",
        T,
        "reduce(add, terms.values())",
        "reduce(add, list(terms.values())[:-1])",
    ),
    Mutant("energy of egress is free", T, "-price * sums.egress_mwh", "0.0 * sums.egress_mwh"),
    Mutant("hours forgotten in shed", T, "-dt_h * p.shed_usd_per_mwh", "-p.shed_usd_per_mwh"),
    Mutant("excess is free", T, "-p.carbon_excess_usd_per_kg * flows", "-0.0 * flows"),
    # Choice of feasible flows
    Mutant(
        "mask ignored by overflow",
        F,
        "weight = p.route_open * room",
        "weight = (0.0 * p.route_open + 1.0) * room",
    ),
    Mutant(
        "held beyond the deadline",
        F,
        "xp.minimum(request.hold * on_hand, exo.queue_limit_gpuh)",
        "request.hold * on_hand",
    ),
    Mutant(
        "rows cut too early",
        F,
        "xp.maximum(room[:, None, :] - (so_far - demand), 0.0)",
        "xp.maximum(room[:, None, :] - so_far, 0.0)",
    ),
    Mutant("a job is fitted as if nothing ran", F, "(profile + need <= limit)", "(need <= limit)"),
    Mutant(
        "minimum load ignored", F, "p.generator_min_mw * (1.0 - DECISION_SLACK)", "0.0 * p.generator_min_mw"
    ),
    Mutant("efficiency forgotten at empty", F, "p.discharge_efficiency / p.dt_h", "1.0 / p.dt_h"),
    Mutant("shed before work", F, "xp.maximum(deficit_mw - power_mw, 0.0)", "deficit_mw"),
    # Action
    Mutant(
        "mask ignored",
        A,
        "share = (routing[..., :sites] + 1.0) * p.route_open",
        "share = routing[..., :sites] + 1.0",
    ),
    Mutant(
        "refusal from zero on",
        A,
        "xp.maximum(2.0 * routing[..., sites + 1] - 1.0, 0.0)",
        "xp.maximum(routing[..., sites + 1], 0.0)",
    ),
    Mutant(
        "sessions may be held",
        A,
        "xp.maximum(routing[..., sites], 0.0) * p.may_wait",
        "xp.maximum(routing[..., sites], 0.0)",
    ),
    # The episode
    Mutant(
        "queue limit off by one",
        D,
        "window_sum(part[..., w], int(wait_steps[w]))",
        "window_sum(part[..., w], int(wait_steps[w]) + 1)",
    ),
    Mutant("work may be left at the end", D, "total[:, -1] = 0.0", "total[:, -1] *= 1.0"),
    Mutant(
        "growth is the arrivals",
        D,
        "growth = now_gpuh / namespace(now_gpuh).where(is_reference, before_gpuh, 1.0)",
        "growth = now_gpuh / 1.0",
    ),
    Mutant(
        "deadline off by one",
        "gridai_env/episodes/jobs.py",
        "is_open &= step <= last",
        "is_open &= step <= last + 1",
    ),
    Mutant(
        "profile one step short",
        "gridai_env/episodes/jobs.py",
        "numbers) < duration[..., None]",
        "numbers) < duration[..., None] - 1",
    ),
    Mutant(
        "demand charge not prorated",
        "gridai_env/scenario/compile.py",
        "monthly * scenario.horizon_h / HOURS_PER_MONTH",
        "monthly",
    ),
    Mutant(
        "export at negative prices",
        W,
        "where(sell_usd_per_mwh < 0.0, 0.0, limited)",
        "where(sell_usd_per_mwh < 0.0, limited, limited)",
        PRICES,
    ),
    Mutant(
        "friction is paid at negative prices",
        W,
        "namespace(buy_usd_per_mwh).maximum(buy_usd_per_mwh, 0.0)",
        "buy_usd_per_mwh",
        PRICES,
    ),
    Mutant(
        "last resort too cheap",
        "gridai_env/episodes/last_resorts.py",
        "shed = MARGIN * (",
        "shed = 0.01 * MARGIN * (",
        PROMISES,
    ),
    Mutant(
        "an hour of shift in the world",
        "gridai_env/envs/ring.py",
        "for names, row in ((STORED, self.row), (BEFORE, self.row - 1))",
        "for names, row in ((STORED, self.row - 1), (BEFORE, self.row - 1))",
    ),
    Mutant(
        "a sign turned in compiled steps",
        "gridai_env/kernel/emit.py",
        '"sub": "({0} - {1})"',
        '"sub": "({1} - {0})"',
        ("gridai_env/kernel/test_kernel.py",),
    ),
    Mutant(
        "an hour of shift in prices",
        W,
        "events.shocked_usd_per_mwh(sites.buy_usd_per_mwh[now])",
        "events.shocked_usd_per_mwh(np.roll(sites.buy_usd_per_mwh[now], 1, axis=1))",
        GOLDEN,
    ),
    Mutant(
        "an hour of shift in demand",
        D,
        "first_step + 0.5, steps",
        "first_step + 1.5, steps",
        GOLDEN,
    ),
    Mutant(
        "reward of another figure",
        "gridai_env/envs/env.py",
        "row[0] / self._reward_scale_usd",
        "row[1] / self._reward_scale_usd",
        STEP,
    ),
    # Optimiser
    Mutant(
        "a term missing from the objective",
        "baselines/program/objectives.py",
        "return -outcome.benefit_usd",
        'return -(outcome.benefit_usd - outcome.terms_usd["warm_up"])',
        PROMISES,
    ),
    Mutant(
        "burning energy ahead of paid hours",
        M,
        "np.logical_or.accumulate(pays[::-1])[::-1]",
        "pays",
        BRUTE,
    ),
    Mutant(
        "burning energy for a slow generator",
        M,
        "| has_minimum_load(p) | slow | emissions_count",
        "| has_minimum_load(p) | emissions_count",
        BRUTE,
    ),
    Mutant(
        "minimum load is no choice",
        M,
        "return p.generator_min_mw > 0.0",
        "return p.generator_min_mw < 0.0",
        BRUTE + PROMISES,
    ),
    Mutant(
        "a lower floor",
        EPISODE,
        "self.floor.served_gpuh * (1.0 - FLOOR_SLACK)",
        "self.floor.served_gpuh * 0.9",
        FLOORS,
    ),
    # Figures beside the ledger
    Mutant(
        "a full battery is a burden at the end of a window",
        E,
        "costs[at_end.battery_mwh] -= ending",
        "costs[at_end.battery_mwh] += ending",
        ENDINGS,
    ),
    Mutant("end value without efficiency", E, "p.discharge_efficiency * (energy", "(energy", ENDINGS),
    Mutant(
        "hash without the hours before an episode",
        "gridai_env/episodes/instance.py",
        "getattr(record, name) for name in record.names()}",
        "getattr(record, name) for name in record.names() if not name.startswith('history')}",
        ("gridai_env/episodes/test_instance_hash.py",),
    ),
    Mutant(
        "avoided carbon at average intensity",
        METRICS,
        "episode.flows.export_mw * physics.billed_carbon_kg_per_mwh(p, exo)",
        "episode.flows.export_mw * exo.carbon_average_kg_per_mwh",
        BY_HAND,
    ),
    Mutant("hours waited as steps", METRICS, ".sum((0, 1)) * instance.params.dt_h", ".sum((0, 1))", BY_HAND),
    Mutant(
        "the plan found as its bound",
        "scripts/studies/contest.py",
        "value = self.plan.bound if",
        "value = self.plan.objective_value if",
        ("scripts/studies/test_contest.py",),
    ),
    Mutant(
        "life-cycle carbon for direct",
        "gridai_env/traces/files/formats.py",
        '"ci_direct" if "ci_direct" in found else "ci_lca"',
        '"ci_lca" if "ci_lca" in found else "ci_direct"',
        COLUMNS,
    ),
    Mutant(
        "the sun of an hour at its begin",
        "gridai_env/traces/weather.py",
        "cos_zenith(latitude, longitude, utc_minutes + 30)",
        "cos_zenith(latitude, longitude, utc_minutes)",
        COLUMNS,
    ),
    Mutant(
        "tolerances are absolute",
        "gridai_env/world/size.py",
        "return float(16.0 ** np.round(np.log2(most_mw / ORDINARY_MW) / 4.0))",
        "return 1.0",
        ("baselines/optimum/test_scale.py",),
    ),
    Mutant(
        "dearer for cheaper",
        "scripts/studies/explanation/sentences.py",
        "float(saved[t, c, w, best] - saved[t, c, w, k])",
        "float(saved[t, c, w, k] - saved[t, c, w, best])",
        ("scripts/studies/explanation/test_sentences.py",),
    ),
    Mutant(
        "the second of a doubled hour",
        "scripts/studies/explanation/moment.py",
        "return found[0]",
        "return found[-1]",
        ("scripts/studies/explanation/test_sentences.py",),
    ),
    Mutant(
        "an upside-down dual",
        "baselines/optimum/proofs.py",
        "reduced = lp.costs - lp.matrix.T @ y",
        "reduced = lp.costs + lp.matrix.T @ y",
        ("baselines/optimum/test_bounds.py",),
    ),
    *OF_LINES,
    *OF_SETTLEMENT,
)
