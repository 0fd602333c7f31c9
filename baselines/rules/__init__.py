"""Rules: simple policies that every result is measured against; they see what an agent sees."""

from baselines.rules.greedy import Greedy
from baselines.rules.registry import REGISTRY
from baselines.rules.rule import Rule
from baselines.rules.single_signal import CarbonOnly, LocalOnly, NearestRegion, PriceOnly, Random, RoutingRule

__all__ = [
    "REGISTRY",
    "CarbonOnly",
    "Greedy",
    "LocalOnly",
    "NearestRegion",
    "PriceOnly",
    "Random",
    "RoutingRule",
    "Rule",
]
