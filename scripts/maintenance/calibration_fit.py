"""Fits of the calibration tables of `gridai_env.traces` to one year of hourly data.

Method, per zone and variable, one year of hours, months and hours local:

1. Price only: a spike is an hour above max(99th percentile, q75 + 4*(q75 - q25)) of its month. Its frequency
   by month and hour (smoothed 1-2-1 over hours), mean excess by month, quantiles of excess / mean and
   persistence are tabulated; the rest is the body.
2. Values are turned into normal scores inside their month; the quantile table is the inverse of that.
3. Scores have a spread per month and 3-h block and a shift per month and hour; the shift is solved so that
   the mean of the model equals the mean of the data in that month and hour.
4. The weights of a slow and a fast AR(1) are those for which the residuals have the autocorrelation of the
   data at 1 h and 24 h; the correlation of the standardised scores over all zones and variables is the joint
   matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from gridai_env.traces.calibration import (
    BLOCK_H,
    EXCESS_KNOTS,
    KNOTS,
    SLOW_PHI,
    SPIKE_FROM_PRICE,
    at_nodes,
    gauss_nodes,
    interpolate_knots,
    pv_at_nodes,
)

MIN_COMMON_HOURS = 200  # fewer common hours give no usable correlation (daylight of opposite time zones)
PHI_MAX = 0.995
WIDE = 7.0  # standard deviations that the polynomials need
FEWEST_SPIKES = 10  # in a year, for their sizes to be fitted
DIGITS = {"price": 4}  # significant digits of quantiles; 3 elsewhere


@dataclass
class ZoneYear:
    """A zone's year in UTC order: `values[variable]` [n], local `month` 0..11 and `hour` 0..23 [n]."""

    zone: str
    values: dict[str, np.ndarray]
    month: np.ndarray
    hour: np.ndarray


def normal_scores(x: np.ndarray) -> np.ndarray:
    """Return the normal scores of x, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - counts / 2
    inverse_cdf = np.array([NormalDist().inv_cdf(p) for p in mean_rank / len(x)])
    return inverse_cdf[inverse]


def probabilities(knots: np.ndarray) -> np.ndarray:
    """Return the standard normal distribution function at the knots."""
    return np.array([NormalDist().cdf(k) for k in knots])


def by_month_hour(x: np.ndarray, data: ZoneYear, used: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of x by month and hour [12, 24], of the hours ``used`` [n] alone; 0 where there are none."""
    cell = data.month * 24 + data.hour
    if used is not None:
        cell, x = cell[used], x[used]
    return (np.bincount(cell, x, 288) / np.maximum(1, np.bincount(cell, minlength=288))).reshape(12, 24)


def bisect(
    is_low: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, rounds: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Return the last brackets of bisection, element by element; ``is_low`` says where the root lies above."""
    for _ in range(rounds):
        middle = (low + high) / 2
        below = is_low(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low, high


def fit_spikes(data: ZoneYear) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the spike tables of one zone and the mask [n] of its spike hours."""
    price = data.values["price"]
    q25, q75, q99 = np.array(
        [np.quantile(price[data.month == month], [0.25, 0.75, 0.99]) for month in range(12)]
    ).T
    cap = np.maximum(q99, q75 + 4 * (q75 - q25))
    spike = price > cap[data.month]

    rate = by_month_hour(spike.astype(float), data)
    rate = 0.25 * np.roll(rate, 1, 1) + 0.5 * rate + 0.25 * np.roll(rate, -1, 1)

    excess = price - cap[data.month]
    of_month = [spike & (data.month == month) for month in range(12)]
    mean_excess = np.array([excess[rows].sum() / max(1, rows.sum()) for rows in of_month])
    tables = {"cap": cap, "rate": rate, "mean_excess": mean_excess}
    return tables | fit_spike_sizes(excess, mean_excess[data.month], rate, spike), spike


def fit_spike_sizes(
    excess: np.ndarray, mean_excess: np.ndarray, rate: np.ndarray, spike: np.ndarray
) -> dict[str, np.ndarray]:
    """Return quantiles of excess / mean and the persistence of spikes and of their sizes."""
    shape, phi, size_phi = np.ones(len(EXCESS_KNOTS)), 0.0, 0.0
    if spike.sum() < FEWEST_SPIKES:
        return {"shape": shape, "phi": np.array([phi, size_phi])}

    ratio = np.full(len(spike), np.nan)
    ratio[spike] = excess[spike] / mean_excess[spike]
    shape = np.quantile(ratio[spike], probabilities(EXCESS_KNOTS))
    nodes, weights = gauss_nodes()
    shape /= float(weights @ interpolate_knots(shape[None], EXCESS_KNOTS, nodes[None])[0])
    phi = fit_spike_phi(rate, spike)

    # Sizes of spikes that follow each other hang together.
    pair = spike[1:] & spike[:-1]
    if pair.sum() >= FEWEST_SPIKES:
        score = np.full(len(spike), np.nan)
        score[spike] = normal_scores(ratio[spike])
        size_phi = float(np.clip(np.corrcoef(score[1:][pair], score[:-1][pair])[0, 1], 0, 0.95))
    return {"shape": shape, "phi": np.array([phi, size_phi])}


def fit_spike_phi(rate: np.ndarray, spike: np.ndarray) -> float:
    """Return the AR(1) coefficient of the Gaussian trigger whose spikes follow each other as often as observed."""
    observed = (spike[1:] & spike[:-1]).sum() / spike.sum()
    threshold = np.array([NormalDist().inv_cdf(1 - p) if p > 0 else 9.0 for p in rate.ravel()])
    following = np.roll(threshold.reshape(12, 24), -1, 1).ravel()

    # The distribution function from a table: a million values are needed.
    x = np.arange(-5, 5, 0.02)
    density = np.exp(-x * x / 2) * 0.02 / np.sqrt(2 * np.pi)
    table = np.array([NormalDist().cdf(v) for v in np.arange(-12, 12, 0.01)])

    def follows_too_seldom(phi: np.ndarray) -> np.ndarray:
        z = (phi * x[None] - following[:, None]) / np.sqrt(1 - phi * phi)
        after = table[np.clip((z + 12) * 100, 0, len(table) - 1).astype(int)]
        joint = (x[None] > threshold[:, None]) * density * after
        return np.asarray(joint.sum() / rate.sum() < observed)

    return float(bisect(follows_too_seldom, np.array(0.0), np.array(PHI_MAX), 30)[0])


def own_trigger_phi(phi: float, slow: float, fast_phi: float) -> float:
    """Return the coefficient of the trigger's own part, for which trigger = own part + price body has the lag-1
    correlation phi.
    """
    body = SPIKE_FROM_PRICE**2 * (slow * SLOW_PHI + (1 - slow) * fast_phi)
    return float(np.clip((phi - body) / (1 - SPIKE_FROM_PRICE**2), 0, PHI_MAX))


def fit_marginal(
    name: str, data: ZoneYear, used: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return quantiles [12, K], spread [12, 24/BLOCK_H], shift [12, 24] of one variable, and its standardised
    scores [n].
    """
    x, digits = data.values[name], DIGITS.get(name, 3)
    score = np.zeros(len(x))
    quantiles = np.empty((12, len(KNOTS)))
    for month in range(12):
        rows = (data.month == month) & used
        quantiles[month] = np.quantile(x[rows], probabilities(KNOTS))
        score[rows] = normal_scores(x[rows])

    spread = np.empty((12, 24 // BLOCK_H))
    residual = score - np.where(used, by_month_hour(score, data, used)[data.month, data.hour], 0)
    for month in range(12):
        for block in range(24 // BLOCK_H):
            spread[month, block] = residual[
                (data.month == month) & (data.hour // BLOCK_H == block) & used
            ].std()

    quantiles = np.array([[float(f"{v:.{digits}g}") for v in row] for row in quantiles])
    if name != "price":  # variance of a capped heavy tail is no guide to the spread of the body
        spread = match_variance(quantiles, spread, x, data)
    spread = np.round(spread, 2)
    shift = solve_shift(quantiles, spread, by_month_hour(x, data, used), weights)
    return {"quantiles": quantiles, "spread": spread, "shift": shift}, standardise(residual, data, used)


def match_variance(quantiles: np.ndarray, spread: np.ndarray, x: np.ndarray, data: ZoneYear) -> np.ndarray:
    """Rescale the spread until the model's variance about its hourly mean is the data's, by month and
    block.
    """
    nodes, weights = gauss_nodes()
    mean = by_month_hour(x, data)
    square = by_month_hour((x - mean[data.month, data.hour]) ** 2, data).reshape(12, -1, BLOCK_H).mean(2)
    for _ in range(5):
        shift = solve_shift(quantiles, spread, mean, weights)
        value = at_nodes(quantiles, shift, np.repeat(spread, BLOCK_H, axis=1), nodes)
        variance = value**2 @ weights - (value @ weights) ** 2
        ratio = square / np.maximum(variance.reshape(12, -1, BLOCK_H).mean(2), 1e-12)
        spread = np.clip(spread * np.sqrt(np.clip(ratio, 0.25, 4.0)), 0.01, 2.5)
    return spread


def standardise(residual: np.ndarray, data: ZoneYear, used: np.ndarray) -> np.ndarray:
    """Return residual scores divided by their spread in month and 3-h block; NaN where unused."""
    cell = data.month * 24 + data.hour // BLOCK_H
    mean_square = np.bincount(cell[used], residual[used] ** 2, 288) / np.maximum(
        1, np.bincount(cell[used], minlength=288)
    )
    return np.where(used, residual / np.maximum(np.sqrt(mean_square)[cell], 0.02), np.nan)


def solve_shift(
    quantiles: np.ndarray, spread: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the shift [12, 24] with E[Q(shift + spread * z)] = target, by bisection: the mean rises with it."""
    nodes, _ = gauss_nodes()
    wide = np.repeat(spread, BLOCK_H, axis=1)

    def is_below(shift: np.ndarray) -> np.ndarray:
        return np.asarray((at_nodes(quantiles, shift, wide, nodes) * weights).sum(-1) < target)

    low, high = bisect(is_below, np.full((12, 24), -5.0), np.full((12, 24), 5.0))
    return np.round((low + high) / 2, 2)


def fit_pv(data: ZoneYear) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the month x hour mean and quantiles of the ratio to it by month; scores of the ratio, NaN at night."""
    profile = np.array([[float(f"{v:.3g}") for v in row] for row in by_month_hour(data.values["pv"], data)])
    mean = profile[data.month, data.hour]
    # Ratios near noon only: at dawn they are wide and would lift noon above anything observed.
    day = mean > 0.4 * profile.max(axis=1)[data.month]
    ratio = np.where(day, data.values["pv"] / np.maximum(mean, 1e-9), 0)

    nodes, weights = gauss_nodes()
    quantiles, score = np.empty((12, len(KNOTS))), np.full(len(mean), np.nan)
    for month in range(12):
        rows = day & (data.month == month)
        quantiles[month] = np.quantile(ratio[rows], probabilities(KNOTS))
        score[rows] = normal_scores(ratio[rows])
    quantiles /= (interpolate_knots(quantiles, KNOTS, np.repeat(nodes[None], 12, 0)) @ weights)[:, None]
    highest = np.array([float(f"{data.values['pv'][data.month == m].max():.3g}") for m in range(12)])
    return {"profile": profile, "ratio": quantiles, "highest": highest}, score


def fit_memory(values: np.ndarray, x: np.ndarray, data: ZoneYear, used: np.ndarray) -> tuple[float, float]:
    """Return the share of variance in the slow AR(1) and the coefficient of the fast one.

    `values` [12, 24, N] is the model at the nodes of ``gauss_nodes(WIDE)``. The two are chosen so that the
    residuals of the model, in the variable's own unit, have the data's autocorrelation at 1 h and 24 h.
    """
    coefficients = hermite_coefficients(values)
    residual = x - by_month_hour(x, data, used)[data.month, data.hour]
    one, day = (latent_correlation(coefficients, residual, used, lag) for lag in (1, 24))
    slow = float(np.clip(day / SLOW_PHI**24, 0, max(0.0, one / SLOW_PHI)))
    slow = min(round(slow, 3), 0.95)
    return slow, round(float(np.clip((one - SLOW_PHI * slow) / (1 - slow), 0, PHI_MAX)), 4)


def model_values(fit: dict[str, np.ndarray]) -> np.ndarray:
    """Return the fitted variable at the nodes of ``gauss_nodes(WIDE)``, [12, 24, N]."""
    nodes, _ = gauss_nodes(WIDE)
    if "profile" in fit:
        return pv_at_nodes(fit["ratio"], fit["profile"], fit["highest"], nodes)
    return at_nodes(fit["quantiles"], fit["shift"], np.repeat(fit["spread"], BLOCK_H, axis=1), nodes)


def hermite_coefficients(values: np.ndarray, order: int = 14) -> np.ndarray:
    """Return coefficients [12, 24, order] (without the mean) in orthonormal Hermite polynomials."""
    nodes, weights = gauss_nodes(WIDE)
    previous, current = np.ones_like(nodes), nodes
    columns = []
    for k in range(1, order + 1):
        columns.append((values * current) @ weights)
        previous, current = current, (nodes * current - np.sqrt(k) * previous) / np.sqrt(k + 1)
    return np.stack(columns, axis=-1)


def latent_correlation(coefficients: np.ndarray, residual: np.ndarray, used: np.ndarray, lag: int) -> float:
    """Return the correlation of the latent normals for which residuals `lag` hours apart correlate as in the data.

    Mehler: cov(f(z), g(z')) = sum_k f_k g_k r**k for normals with correlation r; solved by bisection.
    """
    pair = used[lag:] & used[:-lag]
    a, b = residual[lag:][pair], residual[:-lag][pair]
    target = float(np.mean(a * b) / np.sqrt(np.mean(a * a) * np.mean(b * b)))
    product = (coefficients * np.roll(coefficients, -lag % 24, axis=1)).sum(axis=(0, 1))
    total = (coefficients**2).sum()

    powers = np.arange(1, len(product) + 1)

    def is_below(correlation: np.ndarray) -> np.ndarray:
        return np.asarray(float(product @ correlation**powers) / total < target)

    return float(bisect(is_below, np.array(0.0), np.array(0.999))[0])


def correlate(scores: np.ndarray) -> np.ndarray:
    """Return the pairwise correlation of score rows [n, hours] over common hours; 0 where these are too few."""
    present = ~np.isnan(scores)
    filled = np.where(present, scores, 0.0)
    p = present.astype(float)
    n = p @ p.T
    cross = filled @ filled.T
    square = (filled**2) @ p.T
    r = cross / np.sqrt(np.maximum(square * square.T, 1e-12))
    return np.round(np.where(n >= MIN_COMMON_HOURS, r, 0.0), 2)
