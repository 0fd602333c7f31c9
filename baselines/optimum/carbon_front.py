"""The cost-carbon front of one episode: least cost for each amount of carbon, and for each carbon price.

    base = solve(instance)                                  # sets the service that all points keep
    front = FrontProgram(instance, service_of(base))
    points = front.sweep(points=9, prices_usd_per_t=(0.0, 50.0, 200.0))

Both coordinates count carbon once.  The cost is everything but earnings and but what carbon itself is charged (price
and excess over a budget); emissions are the billed kg.  A scenario's own carbon budget is no limit here: the caps of
the front take its place.

- Epsilon constraint: least cost under a cap on emissions, caps spread evenly from the least emissions possible to
  those of the least-cost plan.  Reaches every point of the front, also where it is not convex.
- Price sweep: least cost + price * emissions.  Reaches the corners of the lower left convex hull.

Last resorts (load shed, accelerators taken from jobs, batteries left short) weigh in both coordinates as in the
objectives ``cost`` and ``carbon``; without them the coordinates are plain USD and kg.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from baselines.optimum import InfeasibleError
from baselines.optimum.highs import SolverResult
from baselines.optimum.milp import TIE_KG, TIE_SHARE, Plan, read_plan, relative_gap
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.program.episode import build
from baselines.program.objectives import resort_weight
from baselines.program.service_floor import Floor
from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.world import physics
from gridai_env.world.state import Flows
from gridai_env.world.terms import EARNINGS

# What carbon itself is charged: left out of the cost, else it would count in both coordinates.
CARBON_CHARGES = ("carbon_price", "carbon_excess")
# The default reference point lies beyond the worst by this share of the range.
REFERENCE_MARGIN = 0.05


@dataclass(frozen=True)
class CostCarbonPoint:
    """Cost and emissions of a plan or a policy."""

    cost_usd: float  # all but earnings and charges on carbon
    emissions_kg: float  # billed
    last_resort_usd: float  # weight of last resorts on top, as cost; 0 unless one was used
    last_resort_kg: float  # the same as carbon

    @property
    def coordinates(self) -> tuple[float, float]:
        """Cost [USD] and emissions [kg] with the weight of last resorts, as they are compared."""
        return self.cost_usd + self.last_resort_usd, self.emissions_kg + self.last_resort_kg


@dataclass(frozen=True)
class FrontPoint:
    """One optimum."""

    label: str
    status: str  # "optimal" or "time_limit"
    bound: float  # USD, of cost (epsilon) or of cost + price * emissions (price): nothing is below
    seconds: float
    method: str = "epsilon"  # or "price"
    cap_kg: float = np.inf  # infinite: none
    price_usd_per_t: float = np.nan  # carbon price of the point; NaN for epsilon
    slope_usd_per_t: float = (
        np.nan
    )  # what the last t avoided costs: price of the cap; NaN where it is not known
    place: CostCarbonPoint | None = None  # None where no plan was found in time
    gap: float = np.inf  # relative distance to the bound, infinite without a plan
    plan: Plan | None = None
    least_kg: float = np.nan  # proven least emissions; only at the least-carbon end


def uncharged(instance: Instance) -> Instance:
    """Return the episode without a charge on carbon and without a budget of it."""
    free = instance.params.replace(carbon_price_usd_per_kg=0.0, carbon_budget_kg=np.array(np.inf))
    return replace(instance, params=free)


def place_of(trajectory: Trajectory) -> CostCarbonPoint:
    """Return cost and emissions of a policy that was played on its instance."""
    free = uncharged(trajectory.instance)
    charged = (*EARNINGS, *CARBON_CHARGES)
    cost_usd = -sum(value for name, value in trajectory.terms.items() if name not in charged)
    return CostCarbonPoint(cost_usd, trajectory.emissions_kg, *_resorts(free, trajectory.flows))


def _resorts(free: Instance, flows: Flows) -> tuple[float, float]:
    """Return the weight of last resorts of an uncharged instance, as cost [USD] and as carbon [kg]."""
    return resort_weight(free, "cost", flows), resort_weight(free, "carbon", flows)


class FrontProgram:
    """One compiled program: least cost under a cap, whose cap and costs change between solves.

    Every point is relaxed and rounded first (`baselines.optimum.relax_and_round`).
    """

    def __init__(
        self,
        instance: Instance,
        floor: Floor,
        *,
        mip_gap: float = 1e-4,
        time_limit_s: float | None = None,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        """Build and compile; raise ValueError where nothing can emit.  ``time_limit_s`` is for each point."""
        self.instance = uncharged(instance)
        p, exo = self.instance.params, self.instance.exogenous
        if not (physics.billed_carbon_kg_per_mwh(p, exo).any() or p.generator_carbon_kg_per_mwh.any()):
            raise ValueError(f"seed {instance.seed}: nothing emits carbon here, so cost has no rival")
        self.mip_gap, self.time_limit_s = mip_gap, time_limit_s
        self.program = program = build(self.instance, "cost", floor, carbon_cap_kg=0.0)
        self.solver = ProgramSolver(program, relax_first=True, threads=threads, seed=seed)

        # Both coordinates are affine in the columns; the row of the cap holds the emissions.
        lp = program.lp
        self.cap_row = int(program.rows["carbon cap"])
        self.usd, self.usd_0 = lp.costs, lp.offset
        # It reads "cap (here 0) minus emissions is at least 0".
        self.kg = -lp.matrix.tocsr()[[self.cap_row]].toarray().ravel()
        self.kg_0 = float(lp.row_lower[self.cap_row])

    # Points -----------------------------------------------------------------------------------------------------------

    def sweep(self, points: int = 9, prices_usd_per_t: Sequence[float] = ()) -> list[FrontPoint]:
        """Return both ends, ``points`` caps (the ends included) and the prices, in that order of methods."""
        return [*self.epsilon(points), *(self.at_price(price) for price in prices_usd_per_t)]

    def epsilon(self, points: int) -> Iterator[FrontPoint]:
        """Yield the least-cost end, the least-carbon end, and caps spread evenly between them."""
        if points < 2:
            raise ValueError(f"points = {points}: must be at least 2, the two ends")
        cheapest, cleanest = self.least_cost(), self.least_carbon()
        yield cheapest
        if cheapest.place is not None and cleanest.place is not None:
            ends = cheapest.place.coordinates[1], cleanest.place.coordinates[1]
            for i, cap_kg in enumerate(caps_between(*ends, points), 1):
                yield self.at_cap(cap_kg, f"cap {i}")
        yield cleanest

    def least_cost(self) -> FrontPoint:
        """Return the end of the front without a cap."""
        return self.at_cap(np.inf, "least cost")

    def least_carbon(self) -> FrontPoint:
        """Return the other end: least emissions, ties by cost."""
        begin, label = time.perf_counter(), "least carbon"
        lowest = self._solve(self.kg, np.inf)
        seconds = time.perf_counter() - begin
        if lowest.values is None:
            return self._point(lowest, np.nan, begin, label=label, cap_kg=np.nan)

        # Ties by cost: the least emissions become a cap.
        least_kg = float(self.kg @ lowest.values) + self.kg_0
        cap_kg = least_kg + TIE_SHARE * abs(least_kg) + TIE_KG * self.program.unit
        try:
            point = self.at_cap(cap_kg, label)
        except InfeasibleError:  # the cap is met by the plan at hand, but within tolerances only
            point = self._point(lowest, -np.inf, begin, label=label, cap_kg=cap_kg)
        return replace(point, seconds=point.seconds + seconds, least_kg=lowest.bound + self.kg_0)

    def at_cap(self, cap_kg: float, label: str = "") -> FrontPoint:
        """Return the least cost under a cap on emissions; raise InfeasibleError for a cap that nothing can keep."""
        begin = time.perf_counter()
        result = self._solve(self.usd, cap_kg)
        slope = self._slope_usd_per_t(result) if np.isfinite(cap_kg) else 0.0
        return self._point(
            result,
            result.bound + self.usd_0,
            begin,
            label=label or f"cap {cap_kg:.0f} kg",
            cap_kg=cap_kg,
            slope_usd_per_t=slope,
        )

    def at_price(self, usd_per_t: float) -> FrontPoint:
        """Return the least of cost + price * emissions."""
        begin, price = time.perf_counter(), usd_per_t / 1000.0
        result = self._solve(self.usd + price * self.kg, np.inf)
        bound = result.bound + self.usd_0 + price * self.kg_0
        price_of = {"price_usd_per_t": usd_per_t, "slope_usd_per_t": usd_per_t}
        return self._point(result, bound, begin, label=f"{usd_per_t:g} USD/t", method="price", **price_of)

    def _point(self, result: SolverResult, bound: float, begin: float, **facts: Any) -> FrontPoint:
        """Return the point of a solver's result: its plan, replayed, and the gap to ``bound``."""
        point = FrontPoint(status=result.status, bound=bound, seconds=time.perf_counter() - begin, **facts)
        if result.values is None:
            return point
        usd = float(self.usd @ result.values) + self.usd_0
        read = SolverResult(result.status, usd, usd, result.values)
        plan = read_plan(self.instance, "cost", self.program, read, 0.0, point.seconds)
        assert plan.flows is not None and plan.objective_value is not None and plan.emissions_kg is not None

        resorts = _resorts(self.instance, plan.flows)
        place = CostCarbonPoint(plan.objective_value - resorts[0], plan.emissions_kg, *resorts)
        cost_usd, kg = place.coordinates
        value = cost_usd + (0.0 if point.method == "epsilon" else point.price_usd_per_t / 1000.0 * kg)
        bound = min(bound, value)
        gap = relative_gap(value, bound)
        # The bound at a price is one of cost and emissions together: it says nothing of the plan's cost.
        plan = replace(plan, bound=bound if point.method == "epsilon" else np.nan, gap=gap)
        return replace(point, place=place, bound=bound, gap=gap, plan=plan)

    def _solve(self, costs: Float[Floats, " columns"], cap_kg: float) -> SolverResult:
        """Minimise ``costs`` under the cap; constants are left out of the bound."""
        live = self.solver.live
        live.set_costs(np.arange(len(costs)), costs)
        live.set_row_bounds([self.cap_row], self.kg_0 - cap_kg, np.inf)
        # The front probes infeasible caps, so the conflicting rows are not searched for.
        result = self.solver.solve(mip_gap=self.mip_gap, time_limit_s=self.time_limit_s, explain=False)
        return replace(result, bound=result.bound - self.usd_0)

    def _slope_usd_per_t(self, solved: SolverResult) -> float:
        """Return what the last t under the cap costs, the dual of the cap; NaN where it is not known."""
        if solved.row_dual is None:
            return np.nan
        return max(0.0, 1000.0 * float(solved.row_dual[self.cap_row]))


def caps_between(high_kg: float, low_kg: float, points: int) -> list[float]:
    """Return caps strictly between the emissions of the two ends, evenly spread, from the loosest to the tightest."""
    return [] if high_kg <= low_kg else [float(kg) for kg in np.linspace(high_kg, low_kg, points)[1:-1]]


# Sets of points -------------------------------------------------------------------------------------------------------


def margin_below(points: Sequence[FrontPoint], place: CostCarbonPoint, scale_usd: float) -> float:
    """Return how far a place that keeps the floor lies above what is proven, relative; below 0: beyond the front.

    Proven: the bound under every cap that the place keeps, the bound at every price, and the least emissions.
    ``scale_usd`` is the sum of absolute terms of the place, which rounding is relative to.
    """
    cost_usd, kg = place.coordinates
    margins = [(kg - point.least_kg) / (kg or 1.0) for point in points if np.isfinite(point.least_kg)]
    for point in (point for point in points if np.isfinite(point.bound)):
        if point.method == "price":
            charge_usd = point.price_usd_per_t / 1000.0 * kg
            margins.append((cost_usd + charge_usd - point.bound) / (scale_usd + charge_usd or 1.0))
        elif kg <= point.cap_kg:
            margins.append((cost_usd - point.bound) / (scale_usd or 1.0))
    return min(margins, default=np.inf)


def reference_of(places_of_front: Sequence[CostCarbonPoint], local: CostCarbonPoint) -> tuple[float, float]:
    """Return the default reference point (USD, kg): the worst of Local-Only and the front, and 5 % of the range on top.

    It depends on the episode alone, not on the policies compared.
    """
    places = [local.coordinates, *(place.coordinates for place in places_of_front)]
    worst, best = np.max(places, axis=0), np.min(places, axis=0)
    beyond = worst + REFERENCE_MARGIN * np.maximum(worst - best, 1e-9)
    return float(beyond[0]), float(beyond[1])


def hypervolume(places: Sequence[CostCarbonPoint], reference: tuple[float, float]) -> float:
    """Return the area [USD kg] between the reference point and the places (by moocore), 0 where none is better."""
    import moocore

    return float(moocore.hypervolume(_coordinates(places), ref=np.array(reference)))


def nondominated(places: Sequence[CostCarbonPoint]) -> list[bool]:
    """Return which places no other one beats in both coordinates (of equal ones the first stays)."""
    import moocore

    return [bool(kept) for kept in moocore.is_nondominated(_coordinates(places))]


def _coordinates(places: Sequence[CostCarbonPoint]) -> Float[Floats, "n 2"]:
    return np.array([place.coordinates for place in places], dtype=float).reshape(-1, 2)
