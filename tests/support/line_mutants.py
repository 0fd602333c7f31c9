"""Faults in lines, calls, baselines, power modes and plans with them (`tests.support.mutants` has all)."""

from __future__ import annotations

from tests.support.planted import FAST, Mutant

P = "gridai_env/world/physics.py"
T = "gridai_env/world/terms.py"
F = "gridai_env/world/feasible.py"
A = "gridai_env/world/actions.py"
M = "baselines/program/rows.py"
L = "gridai_env/episodes/lines.py"
C = "gridai_env/episodes/calls.py"
FILE = "gridai_env/traces/files/calls.py"
RULES = "gridai_env/scenario/lines.py"
MODES = "gridai_env/scenario/power_modes.py"
FIGURES = "gridai_env/envs/step_figures.py"
GUARDS = "gridai_env/episodes/last_resorts.py"
BY_HAND = ("gridai_env/episodes/test_lines_by_hand.py",)
CALLS = ("gridai_env/episodes/test_calls.py",)
CALLS_OF_FILE = ("gridai_env/episodes/test_calls_of_file.py",)
OPTIMUM = ("baselines/optimum/test_lines.py",)
REFERENCE = ("gridai_env/world/test_scalar_reference.py::test_random_worlds_agree[0]",)
CURVES = ("gridai_env/scenario/test_power_modes.py",)
CREDIT = ("baselines/optimum/test_lines.py::test_a_baseline_is_credited_with_later_events",)
GUARDED = ("gridai_env/episodes/test_last_resorts.py",)

OF_LINES = (
    Mutant(
        "a line without its baseline",
        F,
        "flows.import_mw[..., None, :] - physics.line_mw(state, exo)",
        "flows.import_mw[..., None, :] - exo.line_mw",
    ),
    Mutant(
        "excess is paid",
        T,
        "exo.committed_mw - flows.line_excess_mw",
        "exo.committed_mw + flows.line_excess_mw",
    ),
    Mutant(
        "a baseline of import alone",
        P,
        "net_mw = flows.import_mw - flows.export_mw",
        "net_mw = flows.import_mw",
    ),
    Mutant(
        "every day counts",
        P,
        "exo.baseline_counts * state.day_before_mw[..., 0]",
        "state.day_before_mw[..., 0]",
    ),
    Mutant(
        "a generator runs uncalled",
        P,
        "p.generator_max_mw * exo.generator_open if exo.generator_open.shape[-1] else p.generator_max_mw",
        "p.generator_max_mw",
    ),
    Mutant(
        "a mode saves more than its curve",
        P,
        "per_gpu + busy_gpus[..., None, :] * p.saving_kw_per_busy_gpu",
        "per_gpu + 2.0 * busy_gpus[..., None, :] * p.saving_kw_per_busy_gpu",
    ),
    Mutant("work cut as at full power", F, "share * free_kw", "0.0 * free_kw"),
    Mutant(
        "burning for a baseline",
        M,
        "p.wear_usd_per_mwh - baseline_credit_usd_per_mwh(exo) <= 0.0",
        "p.wear_usd_per_mwh <= 0.0",
        ("baselines/optimum/test_lines.py",),
    ),
    Mutant(
        "surplus of clean hours carried over",
        "gridai_env/rollout/hourly_matching.py",
        "np.maximum(0.0, load_mwh - contracted_mwh)",
        "load_mwh - contracted_mwh",
        ("gridai_env/rollout/test_hourly_matching.py",),
    ),
    Mutant(
        "contracts of other sites",
        "gridai_env/rollout/hourly_matching.py",
        "contracted_mwh[:, rule.site] += dt_h",
        "contracted_mwh[:, 0] += dt_h",
        ("gridai_env/rollout/test_hourly_matching.py",),
    ),
    Mutant(
        "hard lines stay where nothing is called",
        "gridai_env/analysis/compliance.py",
        'limit(compiled, "import_limit", events, exo.sell_usd_per_mwh)',
        "exo.import_limit_mw",
        ("gridai_env/analysis/test_compliance.py",),
    ),
    # Lines of an episode
    Mutant(
        "weekends count",
        L,
        "may = weekdays[..., k] if baseline.weekdays_only else np.ones_like(weekdays[..., k])",
        "may = np.ones_like(weekdays[..., k])",
        BY_HAND,
    ),
    Mutant(
        "weekdays of another clock",
        L,
        "weekdays = (day + MONDAY)",
        "weekdays = (day + MONDAY + 1)",
        BY_HAND,
    ),
    Mutant(
        "history too low",
        L,
        "return np.minimum(load_mw, compiled.import_limit_mw)",
        "return 0.9 * np.minimum(load_mw, compiled.import_limit_mw)",
        BY_HAND,
    ),
    Mutant(
        "history above the connection",
        L,
        "return np.minimum(load_mw, compiled.import_limit_mw)",
        "return load_mw",
        BY_HAND,
    ),
    Mutant(
        "history beyond the accelerators",
        L,
        "physics.inference_gpus(p, at_home), p.utilisation_limit * p.gpus)",
        "physics.inference_gpus(p, at_home), 1e9)",
        BY_HAND,
    ),
    Mutant(
        "history of another hour",
        L,
        "load, counted = load_mw[:, ::-1], counts[:, ::-1]",
        "load, counted = np.roll(load_mw[:, ::-1], 1, -1), counts[:, ::-1]",
        BY_HAND,
    ),
    Mutant(
        "days of events count",
        L,
        "counts = past.counts[..., r] & ~xp.take_along_axis(has_event, day, axis=1)",
        "counts = past.counts[..., r]",
        BY_HAND,
    ),
    Mutant(
        "days before an episode count beside those in it",
        L,
        "index = xp.clip(days - inside, 0.0, float(days))",
        "index = xp.clip(days - 0.0 * inside, 0.0, float(days))",
        BY_HAND,
    ),
    Mutant(
        "a day of a baseline counted twice",
        P,
        "return state.baseline_sum_mw[..., 0] + exo",
        "return 2.0 * state.baseline_sum_mw[..., 0] + exo",
        BY_HAND + REFERENCE,
    ),
    Mutant(
        "today counts before it is over",
        P,
        "shift_in(state.baseline_sum_mw, counted_sum_mw(state, exo))",
        "shift_in(state.baseline_sum_mw, counted_sum_mw(state, exo) + net_mw)",
        REFERENCE,
    ),
    Mutant(
        "half of what was promised",
        L,
        'out["committed_mw"][at] = in_event * rule',
        'out["committed_mw"][at] = 0.5 * in_event * rule',
        BY_HAND,
    ),
    Mutant(
        "half a promise while a limit falls",
        L,
        "in_event, paid = real(called > 0.0, buy)",
        "in_event, paid = real(called, buy)",
        BY_HAND,
    ),
    Mutant(
        "half the price of the market",
        L,
        '(buy[..., rule.site] if paid == "market" else paid)',
        '(0.5 * buy[..., rule.site] if paid == "market" else paid)',
        BY_HAND,
    ),
    Mutant(
        "the price of the step before",
        L,
        '(buy[..., rule.site] if paid == "market" else paid)',
        '(xp.roll(buy[..., rule.site], 1, -1) if paid == "market" else paid)',
        BY_HAND,
    ),
    Mutant(
        "the price of a day paid by the hour",
        RULES,
        "per_day / HOURS_PER_DAY",
        "per_day",
        BY_HAND,
    ),
    Mutant(
        "sun fed with wind",
        L,
        "sun * columns(pv_cf, zones)",
        "sun * columns(wind_cf, zones)",
        BY_HAND,
    ),
    Mutant(
        "a contract of the first zone",
        L,
        "wind * columns(wind_cf, zones)",
        "wind * columns(wind_cf, 0 * zones)",
        BY_HAND,
    ),
    Mutant(
        "firm at once",
        L,
        "line = most_mw[rule.site] - called *",
        "line = most_mw[rule.site] - real(called > 0.0, called) *",
        CALLS,
    ),
    Mutant(
        "hard lines limit nothing",
        L,
        "limit[..., rule.site] = xp.minimum(limit[..., rule.site], line)",
        "limit[..., rule.site] = limit[..., rule.site]",
        BY_HAND,
    ),
    Mutant(
        "a generator opens with any site",
        L,
        "if site == k]",
        "]",
        BY_HAND,
    ),
    Mutant(
        "quantities of a constraint swapped",
        FIGURES,
        "parts = (excess_mwh, carbon_excess_kg, dropped_gpuh)",
        "parts = (carbon_excess_kg, excess_mwh, dropped_gpuh)",
        BY_HAND,
    ),
    Mutant(
        "megawatts for megawatt-hours above lines",
        FIGURES,
        "excess_mwh = p.dt_h * _sum",
        "excess_mwh = _sum",
        BY_HAND,
    ),
    Mutant(
        "what contracts do not match counts as above lines",
        RULES,
        'return not line.hard and line.kind != "matching"',
        "return not line.hard",
        BY_HAND,
    ),
    # Calls
    Mutant(
        "notice a step late",
        C,
        "starts - rule.notice, 0",
        "starts - rule.notice + 1, 0",
        CALLS,
    ),
    Mutant(
        "notice a step early",
        C,
        "starts - rule.notice, 0",
        "starts - rule.notice - 1, 0",
        CALLS,
    ),
    Mutant(
        "known a step after it is announced",
        C,
        "ahead & (self.known_from > t)",
        "ahead & (self.known_from >= t)",
        CALLS,
    ),
    Mutant(
        "shown before it is announced",
        C,
        "known[:, :steps] <= now",
        "known[:, :steps] <= now + 1",
        CALLS,
    ),
    Mutant(
        "a ramp a step late",
        C,
        "(since + 1.0) / (rule.ramp + 1.0)",
        "since / (rule.ramp + 1.0)",
        CALLS,
    ),
    Mutant(
        "no gap between calls",
        C,
        "end + rule.gap",
        "end",
        CALLS,
    ),
    Mutant(
        "more hours than a year has",
        C,
        "most - called)",
        "most)",
        CALLS,
    ),
    Mutant(
        "cheap days called as often",
        C,
        "2.0 * real(cheaper, price).sum(-1) + 1.0",
        "0.0 * real(cheaper, price).sum(-1) + 1.0",
        CALLS,
    ),
    Mutant(
        "every possible call strikes",
        C,
        "strike < rule.probability * share",
        "strike < share",
        CALLS,
    ),
    Mutant(
        "never the longest call",
        C,
        "rule.longest - rule.shortest + 1",
        "rule.longest - rule.shortest",
        CALLS,
    ),
    Mutant(
        "never the last hour",
        RULES,
        "(minute <= self.last_minute)",
        "(minute < self.last_minute)",
        CALLS,
    ),
    Mutant(
        "hours of another clock",
        RULES,
        "local_minutes + -local_minutes % round",
        "local_minutes - local_minutes % round",
        ("gridai_env/scenario/test_lines.py",),
    ),
    Mutant(
        "two calls on a day",
        C,
        "left = xp.where(is_taken, 0.0, left)",
        "left = left + 0.0 * is_taken",
        CALLS,
    ),
    Mutant(
        "notice of a file in the wrong direction",
        FILE,
        "+ began) * axis.cell_min - notice_min",
        "+ began) * axis.cell_min + notice_min",
        CALLS_OF_FILE,
    ),
    Mutant(
        "parts of a step announced first",
        FILE,
        "by_step(np.where(called, announced_min, -np.inf), -np.inf).max(1)",
        "by_step(np.where(called, announced_min, np.inf), np.inf).min(1)",
        CALLS_OF_FILE,
    ),
    Mutant(
        "the highest share of a step",
        FILE,
        "by_step(self.share, np.nan).mean(1)",
        "by_step(self.share, np.nan).max(1)",
        CALLS_OF_FILE,
    ),
    # Ledger and last resorts
    Mutant(
        "hours forgotten above a line",
        T,
        "-dt_h * total(exo.line_usd",
        "-total(exo.line_usd",
        REFERENCE + BY_HAND,
    ),
    Mutant(
        "hours forgotten in an event",
        T,
        "dt_h * total(exo.response_usd",
        "total(exo.response_usd",
        FAST,
    ),
    Mutant(
        "hours forgotten in a promise",
        T,
        "dt_h * (total(p.capacity_usd",
        "(total(p.capacity_usd",
        FAST,
    ),
    Mutant(
        "lines make shedding no dearer",
        GUARDS,
        "+ highest_line_usd_per_mwh(exo)",
        "+ 0.0 * highest_line_usd_per_mwh(exo)",
        GUARDED,
    ),
    Mutant(
        "payments lost make shedding no dearer",
        GUARDS,
        "usd = usd + exo.response_usd_per_mwh",
        "usd = usd + 0.0 * exo.response_usd_per_mwh",
        GUARDED,
    ),
    Mutant(
        "only the dearest line makes shedding dearer",
        GUARDS,
        "xp.amax(usd, 1).sum(-2)",
        "xp.amax(xp.amax(usd, 1), -2)",
        GUARDED,
    ),
    # Power modes
    Mutant(
        "modes of accelerators that run jobs",
        P,
        "free_gpus, busy_gpus = exo.available_gpus - job_gpus,",
        "free_gpus, busy_gpus = exo.available_gpus,",
        REFERENCE + OPTIMUM,
    ),
    Mutant(
        "a saving in kilowatts",
        P,
        "p.saving_kw_per_busy_gpu) / 1000.0",
        "p.saving_kw_per_busy_gpu) / 100.0",
        REFERENCE + OPTIMUM,
    ),
    Mutant(
        "a saving for nothing",
        P,
        "it_mw = it_mw - saving_mw",
        "it_mw = it_mw - 0.0 * saving_mw",
        REFERENCE + OPTIMUM,
    ),
    Mutant(
        "the best of all segments",
        A,
        "xp.maximum(xp.amin(limits, -2), 0.0)",
        "xp.maximum(xp.amax(limits, -2), 0.0)",
        REFERENCE + OPTIMUM,
    ),
    Mutant(
        "a curve above its hull",
        MODES,
        "while len(kept) > 1 and _turns_down(kept[-2], kept[-1], point):",
        "while False:",
        CURVES,
    ),
    Mutant(
        "the dearest segment first",
        MODES,
        "np.argsort(steps[:, 1] / steps[:, 0]",
        "np.argsort(-steps[:, 1] / steps[:, 0]",
        OPTIMUM,
    ),
    Mutant(
        "shares of curves forgotten",
        MODES,
        "np.diff(hull, axis=0) * share",
        "np.diff(hull, axis=0)",
        OPTIMUM,
    ),
    Mutant(
        "a segment through zero",
        MODES,
        "return idle_kw - intercept, busy_kw",
        "return idle_kw - 0.0 * intercept, busy_kw",
        OPTIMUM,
    ),
    # Plans
    Mutant(
        "a credit of the next event alone",
        M,
        "np.cumsum(worth[::-1], axis=0)[::-1] + credit",
        "worth + credit",
        CREDIT,
    ),
    Mutant(
        "no credit for payments of energy",
        M,
        "worth = ((exo.line_usd_per_mwh + exo.response_usd_per_mwh)",
        "worth = ((exo.line_usd_per_mwh + 0.0 * exo.response_usd_per_mwh)",
        CREDIT,
    ),
    Mutant(
        "modes stay",
        "baselines/optimum/variants.py",
        '"modes": no_modes,',
        '"modes": no_battery,',
        ("baselines/optimum/test_variants.py",),
    ),
)
