"""The rules by their names on the command line."""

from collections.abc import Callable
from typing import Any

from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import CarbonOnly, LocalOnly, NearestRegion, PriceOnly, Random

REGISTRY: dict[str, Callable[..., Any]] = {
    rule.name: rule for rule in (LocalOnly, NearestRegion, PriceOnly, CarbonOnly, Greedy, Random)
}
