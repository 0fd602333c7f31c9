"""Faults in settlement, metrics, forecasts and rules of the flexible load (`tests.support.mutants` has all)."""

from __future__ import annotations

from tests.support.line_mutants import CALLS, CALLS_OF_FILE, GUARDED, GUARDS, A, C, L
from tests.support.planted import FAST, Mutant

MATCHING = "gridai_env/rollout/hourly_matching.py"
SETTLED = "gridai_env/analysis/settlement.py"
METHODS = "gridai_env/analysis/customer_baselines.py"
ANSWERS = "gridai_env/analysis/responses.py"
COMPLIANCE = "gridai_env/analysis/compliance.py"
STATED = ("gridai_env/analysis/test_statements_by_hand.py",)
METERED = ("gridai_env/rollout/test_metrics_by_hand.py",)
SETTLEMENT = ("gridai_env/analysis/test_settlement.py", "gridai_env/analysis/test_responses.py")
CLEAN_HOURS = ("gridai_env/rollout/test_hourly_matching.py",)
COMPLIED = ("gridai_env/analysis/test_compliance.py",)

OF_SETTLEMENT = (
    # Settlement and metrics
    Mutant(
        "residual and location factor swapped",
        MATCHING,
        "market_based_kg(load, contracted, residual_kg_per_mwh[:, own])",
        "market_based_kg(load, contracted, exo.carbon_average_kg_per_mwh[:, own])",
        CLEAN_HOURS,
    ),
    Mutant(
        "a residual factor ignored",
        MATCHING,
        "np.where(np.isnan(given), exo.carbon_marginal_kg_per_mwh, given)",
        "exo.carbon_marginal_kg_per_mwh",
        CLEAN_HOURS,
    ),
    Mutant(
        "the average for an unknown residual factor",
        MATCHING,
        "np.where(np.isnan(given), exo.carbon_marginal_kg_per_mwh, given)",
        "np.where(np.isnan(given), exo.carbon_average_kg_per_mwh, given)",
        CLEAN_HOURS,
    ),
    Mutant(
        "the share of the grid counted for all load",
        MATCHING,
        "unmatched_mwh(load_mwh, contracted_mwh) * (1.0 - grid_clean_share)",
        "unmatched_mwh(load_mwh, contracted_mwh) - load_mwh * grid_clean_share",
        CLEAN_HOURS,
    ),
    Mutant(
        "a statement without floor",
        SETTLED,
        "    if floor:\n",
        "    if not floor:\n",
        SETTLEMENT,
    ),
    Mutant(
        "more than promised is paid",
        SETTLED,
        "excess_mw = np.maximum(0.0, import_mw - (baseline_mw - commitment_mw))",
        "excess_mw = import_mw - (baseline_mw - commitment_mw)",
        SETTLEMENT,
    ),
    Mutant(
        "a shortfall is paid",
        SETTLED,
        "shortfall_usd=-float",
        "shortfall_usd=float",
        SETTLEMENT,
    ),
    Mutant(
        "rebound counts what is saved",
        SETTLED,
        "above_mw = np.maximum(0.0, import_mw - reference_mw)",
        "above_mw = import_mw - reference_mw",
        SETTLEMENT,
    ),
    Mutant(
        "rebound runs into the next call",
        SETTLED,
        "above_mw[stop : min(end, stop + round(hours / dt_h))]",
        "above_mw[stop : stop + round(hours / dt_h)]",
        SETTLEMENT,
    ),
    Mutant(
        "the lowest days",
        METHODS,
        "days[order[last - highest :]]",
        "days[order[:highest]]",
        SETTLEMENT,
    ),
    Mutant(
        "days ranked by all hours",
        METHODS,
        "days[:, in_event].mean(axis=1)",
        "days.mean(axis=1)",
        SETTLEMENT,
    ),
    Mutant(
        "an adjustment without cap",
        METHODS,
        "np.clip(today_mw[window].mean() / before, 1.0 - cap, 1.0 + cap)",
        "today_mw[window].mean() / before",
        SETTLEMENT,
    ),
    Mutant(
        "an adjustment up to the event",
        METHODS,
        "end, length = first_step - round(gap_h / dt_h), round",
        "end, length = first_step, round",
        SETTLEMENT,
    ),
    Mutant(
        "days of events are eligible",
        METHODS,
        "past & ~excluded &",
        "past &",
        SETTLEMENT,
    ),
    Mutant(
        "weekends and weekdays mixed",
        METHODS,
        "& (is_weekend == is_weekend[day])",
        "",
        SETTLEMENT,
    ),
    Mutant(
        "inflation turned",
        METHODS,
        "(baseline_mw - without_calls_mw).mean()",
        "(without_calls_mw - baseline_mw).mean()",
        SETTLEMENT,
    ),
    Mutant(
        "a baseline less what was promised",
        ANSWERS,
        "line_mw + committed_mw, np.nan",
        "line_mw, np.nan",
        SETTLEMENT,
    ),
    Mutant(
        "compliance turned",
        COMPLIANCE,
        "sum(without.terms_usd.values()) - sum(episode",
        "sum(episode.terms_usd.values()) - sum(without.terms_usd.values()) + 0.0 * sum(episode",
        COMPLIED,
    ),
    Mutant(
        "payments for energy left where nothing is called",
        COMPLIANCE,
        '"response_usd_per_mwh": np.zeros_like(exo.response_usd_per_mwh)',
        '"response_usd_per_mwh": exo.response_usd_per_mwh',
        COMPLIED,
    ),
    Mutant(
        "a cost for each called hour of an episode",
        "gridai_env/analysis/connection_cost.py",
        "factor = self.hours_a_year / self.mw",
        "factor = 8760.0 / self.mw",
        ("scripts/test_flexibility_contract.py::test_losses_are_scaled_by_called_hours",),
    ),
    Mutant(
        "called hours weighed alike",
        "gridai_env/analysis/connection_cost.py",
        "total_h = hours.sum(-1)",
        "total_h = hours.max(-1)",
        ("scripts/test_flexibility_contract.py::test_losses_are_scaled_by_called_hours",),
    ),
    Mutant(
        "room in a peak",
        "gridai_env/analysis/headroom.py",
        "room = np.sort(load_mw.max() - load_mw)",
        "room = np.sort(load_mw.mean() - load_mw)",
        ("gridai_env/analysis/test_headroom.py",),
    ),
    Mutant(
        "weekends settled like weekdays",
        ANSWERS,
        "(2, 3) if is_weekend[today] else (4, 5)",
        "(4, 5)",
        STATED,
    ),
    Mutant(
        "the day before an event settled",
        ANSWERS,
        "today = midnight // steps_of_day",
        "today = midnight // steps_of_day - 1",
        STATED,
    ),
    Mutant(
        "past events settled",
        ANSWERS,
        "excluded: Bools = np.pad(counts, (0, missing))",
        "excluded: Bools = np.pad(counts & False, (0, missing))",
        STATED,
    ),
    Mutant(
        "midnight of another clock",
        ANSWERS,
        "PAST_DAYS * steps_of_day + self.steps.start - into",
        "PAST_DAYS * steps_of_day + self.steps.start - into - 3",
        STATED,
    ),
    Mutant(
        "a statement of full price in part of an event",
        ANSWERS,
        "exo.response_usd_per_mwh[at], exo.line_usd_per_mwh[at])",
        "exo.response_usd_per_mwh[at].max(), exo.line_usd_per_mwh[at])",
        STATED,
    ),
    # Rules
    Mutant(
        "batteries ignore lines",
        "agents/structured/decision.py",
        "batteries = batteries.sparing(now, net[:, 0])",
        "batteries = batteries.sparing(now, 0.0 * net[:, 0]) if now.lines is None else batteries",
        ("agents/structured/test_lines.py::test_batteries_charge_below_a_line",),
    ),
    Mutant(
        "batteries pay no surcharge",
        "agents/structured/dispatch/batteries.py",
        "stored_usd - now.supply.buy[:, 0]",
        "stored_usd - 1e9",
        ("agents/structured/test_lines.py::test_batteries_spare_what_no_line_is_worth",),
    ),
    # What is shown and foreseen
    Mutant(
        "work in modes at the mean slope",
        GUARDS,
        "least_kw = extra_kw - saved_kw.max(0, initial=0.0)",
        "least_kw = extra_kw",
        GUARDED,
    ),
    Mutant(
        "an idle accelerator saves nothing for others",
        GUARDS,
        "freed_kw = extra_kw + p.saving_kw_per_gpu.max(0, initial=0.0)",
        "freed_kw = extra_kw",
        GUARDED,
    ),
    Mutant(
        "planners know calls",
        "gridai_env/episodes/planner_forecast.py",
        "call_depth = calls.as_foreseen(t, kind)",
        "call_depth = calls.as_foreseen(t, 'perfect')",
        CALLS,
    ),
    Mutant(
        "the day before shown as the sum of days",
        "gridai_env/observation/parts.py",
        'yield "day_before", s.day_before_mw',
        'yield "day_before", s.baseline_sum_mw',
        ("gridai_env/observation/test_observation.py",),
    ),
    Mutant(
        "calls to come on days with one",
        "gridai_env/episodes/call_futures.py",
        "np.isin(day, day[on])",
        "np.isin(day, [])",
        ("gridai_env/episodes/test_call_futures.py",),
    ),
    Mutant(
        "called hours as steps",
        "gridai_env/rollout/metrics.py",
        "p.dt_h * is_called.sum()",
        "is_called.sum()",
        METERED,
    ),
    Mutant(
        "all import is called",
        "gridai_env/rollout/metrics.py",
        "import_mw[is_called].sum()",
        "import_mw.sum()",
        METERED,
    ),
    Mutant(
        "a response below nothing",
        "gridai_env/rollout/metrics.py",
        "np.maximum(committed_mw - excess_mw, 0.0)",
        "committed_mw - excess_mw",
        METERED,
    ),
    Mutant(
        "saved energy as power",
        "gridai_env/rollout/metrics.py",
        "p.dt_h * flows.saving_mw.sum()",
        "flows.saving_mw.sum()",
        METERED,
    ),
    Mutant(
        "unmatched energy as power",
        "gridai_env/rollout/metrics.py",
        "p.dt_h * excess_mw.sum()",
        "excess_mw.sum()",
        METERED,
    ),
    Mutant(
        "sun foreseen as wind",
        L,
        "clean_mw(compiled, series.wind_cf_climatology, series.pv_cf_climatology)",
        "clean_mw(compiled, series.pv_cf_climatology, series.wind_cf_climatology)",
        CALLS,
    ),
    Mutant(
        "a file's calls known as late as drawn ones",
        C,
        "xp.minimum(self.known_from, other.known_from)",
        "xp.maximum(self.known_from, other.known_from)",
        CALLS_OF_FILE,
    ),
    Mutant(
        "a short site's modes from all accelerators",
        A,
        "return ratio(flows.saving_mw, most_saving_mw(p, exo, total(flows.served_gpuh, -3), job_gpus))",
        "return ratio(flows.saving_mw, most_saving_mw(p, exo, total(flows.served_gpuh, -3), 0.0 * job_gpus))",
        FAST,
    ),
)
