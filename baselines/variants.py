"""Former address of `baselines.optimum.variants`."""

from __future__ import annotations

import warnings

from baselines.optimum.variants import (
    RELAXATIONS,
    RESTRICTIONS,
    VARIANTS,
    VariantPlan,
    VariantPolicy,
    compute_only,
    energy_only,
    no_battery,
    no_carbon,
    no_deferral,
    no_routing,
    plan_variant,
    variant,
)

__all__ = [
    "RELAXATIONS",
    "RESTRICTIONS",
    "VARIANTS",
    "VariantPlan",
    "VariantPolicy",
    "compute_only",
    "energy_only",
    "no_battery",
    "no_carbon",
    "no_deferral",
    "no_routing",
    "plan_variant",
    "variant",
]

warnings.warn(
    "baselines.variants is baselines.optimum.variants now; this address goes in the next release",
    DeprecationWarning,
    stacklevel=2,
)
