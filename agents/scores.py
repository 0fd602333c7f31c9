"""What one played episode came to, in the few figures that evaluations compare and benchmarks publish."""

from __future__ import annotations

from typing import Any

from gridai_env.rollout import Trajectory

FIGURES = (
    "benefit_usd",
    "bill_usd",
    "emissions_kg",
    "arrived_gpuh",
    "served_gpuh",
    "dropped_gpuh",
    "jobs_started",
)


def figures_of(trajectory: Trajectory) -> dict[str, Any]:
    """Return the FIGURES, the work on masked routes (``masked_gpuh``, 0 by construction) and the ledger's terms."""
    metrics = trajectory.metrics
    out: dict[str, Any] = {name: float(metrics[name]) for name in FIGURES}
    out["masked_gpuh"] = masked_gpuh(trajectory)
    out["terms_usd"] = {name: float(value) for name, value in trajectory.terms.items()}
    return out


def masked_gpuh(trajectory: Trajectory) -> float:
    """Return the work in GPU-h that was served over routes that law, latency or state keep closed."""
    closed = trajectory.instance.params.route_open <= 0.0
    return float(trajectory.flows.served_gpuh[:, closed].sum())
