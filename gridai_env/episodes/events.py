"""Events: reductions of accelerators and grid limits, and price shocks, at random times.

An event strikes an episode at most once, with its probability, at a whole step drawn evenly from its range.
*Announced* events are known from the first step on.  Of others nothing is known before they strike; once one
has struck, its length (a constant of the scenario) is known too.  `EventTable.as_foreseen` is the one place
where this is written.

Shapes: B episodes, T steps, H leads, E events, K sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridai_env.arrays.draws import Draws, as_draws, everyone
from gridai_env.arrays.ops import all_zero, constant, namespace, to_int64
from gridai_env.arrays.types import Array, Bool
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.tables import EventRules


@dataclass(frozen=True)
class EventTable:
    """The events of a batch of episodes and what they do."""

    active: Bool[Array, "*batch E"]  # of a whole batch: [B,T,E]
    rules: EventRules  # of the scenario

    def limit_factor(self, kind: str, beside: Array = None) -> Array:
        """Return the factor [...,K] on a limit: the product over all events of this kind that are active.

        ``beside`` [...,K]: where the events are tensors, one of the type wanted.
        """
        xp, is_array = namespace(self.active), isinstance(self.active, np.ndarray)
        shape = (*self.active.shape[:-1], self.rules.at_site.shape[1])
        factor = np.ones(shape) if is_array else xp.ones_like(beside)
        for e in self.of_kind(kind):
            active = self.active[..., e]
            scale = constant(np.where(self.rules.at_site[e], self.rules.factor[e], 1.0), factor)
            if is_array:
                factor[active] *= scale  # few steps: events are rare
            else:
                factor = xp.where(active[..., None], factor * scale, factor)
        return factor

    def shocked_usd_per_mwh(self, price: Array) -> Array:
        """Return the price [...,K] after the shocks, each ``price * factor + add`` in the scenario's
        order."""
        for e in self.of_kind("price"):
            if not all_zero(self.active[..., e]):
                shocked = price * self.rules.factor[e] + self.rules.add_usd_per_mwh[e]
                price = namespace(price).where(self.hit(e), shocked, price)
        return price

    def unshocked_usd_per_mwh(self, price: Array) -> Array:
        """Return the price [...,K] before the shocks, infinite or NaN where a factor of 0 has hidden it."""
        for e in reversed(self.of_kind("price")):
            with np.errstate(divide="ignore", invalid="ignore"):
                before = (price - self.rules.add_usd_per_mwh[e]) / self.rules.factor[e]
            price = np.where(self.hit(e), before, price)
        return price

    def hit(self, e: int) -> Array:
        """Return where and when event ``e`` is active, [...,K] bool."""
        return self.active[..., e, None] & constant(self.rules.at_site[e], self.active)

    def of_kind(self, kind: str) -> list[int]:
        """Return the indices of the events of a kind."""
        return [e for e, name in enumerate(self.rules.kind) if name == kind]

    def as_foreseen(self, now: Array, forecast: str) -> EventTable:
        """Return the events of these steps as foreseen from steps in which ``now`` [...,E] are active.

        ``forecast`` is the kind of the scenario's forecasts.  perfect: the truth.  persistence: what is
        active now.  day_ahead, published: announced events; another one only where it is active now as well,
        since it strikes but once.
        """
        if forecast == "perfect":
            return self
        if forecast == "persistence":
            return replace(self, active=namespace(now).broadcast_to(now, self.active.shape))
        return replace(self, active=self.active & (constant(self.rules.announced, now) | now))

    def at_leads(self, leads: Sequence[int], forecast: str) -> EventTable:
        """Return the events as foreseen at each step at each lead, ``active`` [B,T,H,E]; none beyond the
        end."""
        steps, xp = self.active.shape[1], namespace(self.active)
        nothing, then, inside = xp.zeros_like(self.active), [], np.zeros((steps, len(leads), 1), dtype=bool)
        for i, lead in enumerate(leads):
            left = max(steps - lead, 0)
            then.append(xp.concatenate([self.active[:, steps - left :], nothing[:, left:]], axis=1))
            inside[:left, i] = True
        seen = replace(self, active=xp.stack(then, axis=2)).as_foreseen(self.active[:, :, None], forecast)
        return replace(seen, active=seen.active & constant(inside, self.active))


def draw_events(compiled: Compiled, rngs: Sequence[np.random.Generator] | Draws) -> EventTable:
    """Draw the events of a batch of episodes (one generator each, or draws)."""
    rules, steps = compiled.events, compiled.shape.steps
    draws = as_draws(rngs)
    numbers = draws.uniforms(everyone(draws), 2, len(rules.kind))

    def of(values: np.ndarray) -> Array:
        return constant(values, numbers)

    # Every step from the first to the last is equally likely.
    later = namespace(numbers).floor(numbers[:, 1] * of(rules.last_step - rules.first_step + 1))
    start = (of(rules.first_step) + to_int64(later))[:, None]
    strikes = numbers[:, 0] < of(rules.probability)
    step = of(np.arange(steps)[:, None])
    active = (step >= start) & (step < start + of(rules.length_steps)) & strikes[:, None]
    return EventTable(active, rules)
