"""The scenario file: every key, its unit and its range.

A scenario is a YAML file with exactly these keys (unknown ones are refused).  Units are part of the names, and
paths count from the folder of the file.
Checks across keys are in :mod:`gridai_env.scenario.checks`, reading files in
:mod:`gridai_env.scenario.load`.
"""

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gridai_env.scenario.paths import BY_NAME, SourcePath
from gridai_env.scenario.power_modes import CurveName
from gridai_env.scenario.values import (
    MOST_LISTED,
    Day,
    Efficiency,
    ForecastKind,
    HourRange,
    Latitude,
    Longitude,
    Name,
    Names,
    NonNegative,
    Positive,
    Real,
    Share,
    StrictModel,
    Whole,
    table_of_text,
)

MOST_LINES = 8  # of a site


class Battery(StrictModel):
    """A battery at a site."""

    capacity_mwh: Positive
    power_mw: Positive = Field(description="limit of charging and of discharging, at the grid side")
    charge_efficiency: Efficiency = 0.93
    discharge_efficiency: Efficiency = 0.93
    min_share: Share = Field(0.1, description="of capacity that is never used")
    max_share: Share = Field(0.9, description="of capacity that is never exceeded")
    initial_share: Share = 0.5
    target_share: Share = Field(0.5, description="of capacity wanted at the end; less is priced")
    wear_usd_per_mwh: Positive = Field(8.0, description="on charge and on discharge")
    shortfall_usd_per_mwh: Positive = Field(300.0, description="price of energy missing at the end")


class Calls(StrictModel):
    """When the operator of the grid calls for less load; a call falls on a day more often the dearer the day is."""

    source: Literal["drawn", "traces"] = Field(
        "drawn",
        description="traces: columns call_SITE and notice_h_SITE of the trace file; no other key but notice_h",
    )
    per_week: Annotated[int, Field(ge=1, le=7), Whole] = Field(1, description="calls possible in 7 days")
    probability: Share = Field(1.0, description="of each of them")
    start_h: HourRange = Field(
        [13.0, 17.0], description="first and last hour at which one begins, local time"
    )
    duration_h: HourRange = Field([4.0, 4.0], description="shortest and longest")
    hours_a_year: Positive | None = Field(
        None,
        description="most hours called in an episode of up to a year, of each year in a longer one; null: no limit",
    )
    notice_h: NonNegative = Field(
        0.0, description="before the begin; 0: seen once it has begun; a column notice_h_SITE stands for it"
    )
    ramp_h: NonNegative = Field(
        0.0, description="in which the limit falls evenly from the maximum; 0 with a baseline"
    )
    least_gap_h: NonNegative = Field(0.0, description="between two calls; a later one within it is left out")


class Baseline(StrictModel):
    """Load of a site that demand response is measured against: the mean net import of past days at the same hour."""

    days: Annotated[int, Field(ge=1, le=45), Whole] = Field(
        5, description="last days without an event that are averaged"
    )
    weekdays_only: bool = Field(True, description="Saturdays and Sundays do not count, local time")


class Line(StrictModel):
    """A limit of a site's import with a price for what lies above, or a hard one."""

    name: Name
    kind: Literal["connection", "demand_response", "matching", "tier"] = Field(
        description="connection: may be curtailed to mw while called; demand_response: in an event, the baseline less "
        "what was promised, or mw; matching: contracted clean generation, one line of a site; tier: mw at all times"
    )
    mw: NonNegative | None = Field(
        None,
        description="connection: firm while called; tier: limit; demand_response: firm level, no baseline",
    )
    price_usd_per_mwh: NonNegative | None = Field(
        None, description="of import above the line; of demand response: of the shortfall"
    )
    hard: bool = Field(False, description="connection: import above the line is impossible")
    calls: Calls | None = Field(None, description="connection and demand_response")
    baseline: Baseline | None = Field(None, description="demand_response; null: mw is the firm level")
    commitment_mw: Positive | None = Field(
        None, description="demand_response: reduction promised, at most what the site can draw"
    )
    energy_price_usd_per_mwh: Literal["market"] | NonNegative = Field(
        0.0,
        description="demand_response: paid for what is reduced, up to the promise; market: the price of import",
    )
    capacity_usd_per_mw_day: NonNegative = Field(
        0.0, description="demand_response: paid for the promise, whether called or not"
    )
    wind_mw: NonNegative = Field(0.0, description="matching: contracted wind power in the site's zone")
    pv_mw: NonNegative = Field(0.0, description="matching: contracted solar power in the site's zone")


class ModePoint(StrictModel):
    """A power mode of an accelerator, as measured."""

    speed: Efficiency = Field(description="throughput relative to the highest power")
    kw: Positive = Field(description="IT power of the accelerator, its share of the host included")


class PowerCurve(StrictModel):
    """Power modes of a part of a site's accelerators: named, or by points."""

    name: CurveName | None = Field(None, description="a measured curve; null: points")
    points: list[ModePoint] | None = Field(
        None, min_length=1, max_length=MOST_LISTED, description="up to the highest power, at speed 1"
    )
    share: Efficiency = Field(1.0, description="of the site's accelerators; shares sum to 1")


class Generator(StrictModel):
    """A dispatchable generator at a site."""

    capacity_mw: Positive
    min_load_mw: NonNegative = 0.0
    ramp_mw_per_h: Positive = Field(description="limit of rises; lowering and stopping is free")
    fuel_usd_per_mwh: Positive = 90.0
    carbon_kg_per_mwh: NonNegative = 450.0
    water_l_per_mwh: NonNegative = 0.0
    initial_mw: NonNegative = 0.0
    only_while_called: bool = Field(False, description="it may run only while a line of the site is called")


class Grid(StrictModel):
    """A site's connection to the grid and its tariff."""

    import_limit_mw: Positive | None = Field(
        None, description="null: import_headroom x the facility's full load"
    )
    import_headroom: Positive = 1.5
    export_limit_mw: NonNegative = 0.0
    price_adder_usd_per_mwh: NonNegative = Field(
        0.0, description="delivery charges on top of the market price"
    )
    price_scale: Positive = Field(1.0, description="factor on the trace's price")
    price_spread_scale: NonNegative = Field(
        1.0, description="factor on the price's deviation from its climatology"
    )
    sell_share: Share = Field(0.9, description="sell price = min(share * buy, buy - spread)")
    sell_spread_usd_per_mwh: Positive = 2.0
    demand_charge_usd_per_mw_month: Positive | None = Field(None, description="null: no demand charge")
    clean_share: Share | None = Field(
        None,
        description="of carbon-free energy in the mix of the grid, for the hourly CFE score; null: not known",
    )
    residual_kg_per_mwh: NonNegative | None = Field(
        None,
        description="of import that no contract matches, in market-based emissions; null: the marginal intensity",
    )


class Site(StrictModel):
    """A place where accelerators stand."""

    name: Name
    zone: str = Field(min_length=1, description="price and carbon zone of the traces")
    timezone: str | None = Field(
        None,
        description="IANA name, for published prices; null: of the zone, else of a region at home here, else UTC",
    )
    latitude: Latitude
    longitude: Longitude
    legal_zone: Name = Field(description="jurisdiction, for law-bound work and the regional layer")
    rtt_key: str | None = Field(None, description="name in the RTT table; null: the formula is used")
    gpus: Positive | None = Field(
        None, description="nameplate; null: capacity_slack x local peak / utilisation_limit"
    )
    capacity_scale: Positive = Field(1.0, description="factor on the GPUs that capacity_slack gives")
    utilisation_limit: Efficiency = 0.9
    speed: Positive = 1.0
    idle_kw_per_gpu: NonNegative = 0.25
    busy_kw_per_gpu: Positive = 1.15
    base_load_mw: NonNegative = 0.0
    pue_base: Annotated[float, Field(ge=1, le=3, allow_inf_nan=False)] = 1.12
    pue_per_c: NonNegative = Field(
        0.008, description="rise of PUE per degree of wet bulb above the threshold"
    )
    pue_threshold_c: Real = Field(15.0, description="wet-bulb temperature in degrees Celsius")
    pv_mw: NonNegative = 0.0
    wind_mw: NonNegative = 0.0
    site_water_l_per_mwh: NonNegative = 0.0
    grid_water_l_per_mwh: NonNegative = 0.0
    grid: Grid = Grid()
    battery: Battery | None = None
    generator: Generator | None = None
    lines: list[Line] = Field([], max_length=MOST_LINES, description="limits of import that have a price")
    power_modes: list[PowerCurve] = Field(
        [], max_length=MOST_LINES, description="less power at a lower speed, for inference; none: full power"
    )


class Region(StrictModel):
    """Clients of one part of the world, with a home site."""

    name: Name
    home: Name = Field(description="site that serves the region by default")
    latitude: Latitude
    longitude: Longitude
    timezone: str = Field(description="IANA name; demand follows local time")
    rtt_key: str | None = None
    mean_gpus: Positive = Field(description="mean demand of a weekday in busy reference accelerators")
    peak_hour: Annotated[float, Field(ge=0, lt=24, allow_inf_nan=False)] = Field(
        15.0, description="local time"
    )
    swing: Share = Field(0.45, description="amplitude of the daily profile relative to its mean")
    weekend_factor: Positive = Field(0.8, description="on demand on Saturday and Sunday, local time")
    noise: Share = Field(0.06, description="relative standard deviation of the AR(1) noise")


class ServiceNode(StrictModel):
    """Gateway that holds sessions and retrieval data; default: one at each site."""

    name: Name
    latitude: Latitude
    longitude: Longitude
    legal_zone: Name
    rtt_key: str | None = None


class TaskClass(StrictModel):
    """A class of inference work (paper A, Table 4)."""

    name: Name
    share: Share = Field(description="of a region's demand in GPU-h; shares sum to 1")
    latency_budget_ms: Positive
    processing_ms: NonNegative
    wait_h: NonNegative = Field(0.0, description="longest wait; 0: may not be queued")
    priority: Annotated[int, Whole] = Field(0, description="higher is served first")
    flatness: Share = Field(0.0, description="1: no daily swing")
    revenue_usd_per_gpuh: Positive
    drop_usd_per_gpuh: Positive
    state_bound_share: Share = Field(
        0.0, description="of the work bound to its home by state, through a node of the home's legal zone"
    )
    law_bound_share: Share = Field(
        0.0, description="of the work bound to sites and service nodes of its home's legal zone"
    )
    payload_gb_per_gpuh: NonNegative = Field(
        0.05, description="moved over the network when served away from home"
    )
    relocation_usd_per_gpuh: Positive = Field(
        0.05, description="per GPU-h of sessions newly placed at a site"
    )
    relocation_gb_per_gpuh: NonNegative = 0.0
    warm_usd_per_gpuh: Positive = Field(
        0.02, description="per GPU-h newly brought to a site: weights, warm replicas"
    )
    warm_mwh_per_gpuh: NonNegative = 0.0
    gpuh_per_request: Positive = Field(2.5e-4, description="reference GPU-h of one request, for reports")
    supported_at: Names | None = Field(None, description="sites with the weights; null: all")


class Job(StrictModel):
    """A rigid, non-preemptive training job.  Hours count from the start of the episode."""

    name: Name
    gpus: Positive
    duration_h: Positive
    release_h: NonNegative
    deadline_h: Positive
    value_usd: Positive
    sites: Names | None = Field(None, description="allowed sites, first is preferred; null: all")
    release_jitter_h: NonNegative = Field(
        0.0, description="release and deadline shift by up to this, either way"
    )
    size_jitter: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.0, description="GPUs vary by up to this share, either way"
    )


class Event(StrictModel):
    """A reduction of a limit or a price shock that may strike in an episode."""

    name: Name
    kind: Literal["available_gpus", "import_limit", "export_limit", "price"]
    sites: Names | None = None
    probability: Share = 1.0
    earliest_h: NonNegative = 0.0
    latest_h: NonNegative | None = Field(None, description="last start; null: end of the episode")
    duration_h: Positive = 3.0
    factor: NonNegative = Field(1.0, description="on the limit, the GPUs or the price; at most 1 for limits")
    add_usd_per_mwh: Real = Field(0.0, description="price shocks only")
    announced: bool = Field(
        True, description="day-ahead forecasts show announced events from the start, others once they struck"
    )


class Latency(StrictModel):
    """Where round-trip times come from."""

    rtt: Literal["table", "formula"] = Field(
        "table", description="table: measured where both ends have an rtt_key"
    )
    inside_ms: Positive = 5.0
    fibre_km_per_ms: Positive = 200.0
    overhead_ms: NonNegative = 20.0
    inflation: Positive = 1.4
    budget_scale: Positive = Field(1.0, description="factor on all latency budgets")


class Network(StrictModel):
    """Price and energy of moving data between sites."""

    same_zone_usd_per_gb: NonNegative = 0.02
    other_zone_usd_per_gb: NonNegative = 0.05
    energy_kwh_per_gb: NonNegative = 0.06


class Period(StrictModel):
    """Days from first to last, both included."""

    first: Day
    last: Day


class Start(StrictModel):
    """Episodes start at `hour_utc` of a day drawn evenly from [first, last], or from its periods alone."""

    first: Day = date(2023, 1, 1)
    last: Day = date(2023, 12, 24)
    periods: list[Period] | None = Field(
        None, min_length=1, description="parts of [first, last], in order and apart; null: all of it"
    )
    hour_utc: Annotated[int, Field(ge=0, le=23), Whole] = 0


class ForecastSpec(StrictModel):
    """What is known of the future."""

    kind: ForecastKind = "day_ahead"
    leads_h: list[Positive] = Field(
        [1.0, 2.0, 3.0, 6.0, 12.0, 24.0], min_length=1, description="leads shown in the observation, rising"
    )
    skill_first: Share = Field(
        0.95, description="squared correlation of forecast and truth at the first lead"
    )
    skill_last: Share = Field(0.6, description="the same at the last lead")
    published_from_h: Annotated[float, Field(ge=0, le=24)] = Field(
        13.0, description="kind published: local hour from which the prices of the next day are known"
    )


class DemandSpec(StrictModel):
    """Where the shape of demand over time comes from; the level is always the regions' `mean_gpus`."""

    source: SourcePath = Field(
        "synthetic", description="'synthetic' or the path of a .csv, .csv.gz or .jsonl"
    )
    format: Literal["requests", "windows", "burstgpt", "mooncake", "regions"] | None = Field(
        None,
        description="Azure's requests, ServeGen's rates, BurstGPT, Mooncake or own by region; null: by the header",
    )
    model: str | None = Field(None, description="which one of a file with several models")
    classes: Names | None = Field(None, description="classes that follow the file; null: all")
    timezone: str = Field("UTC", description="IANA name: where the clients of a file with UTC stamps live")
    repeat: bool = Field(False, description="begin again at the end of the file")
    fill_gap_h: NonNegative = Field(0.0, description="holes of the file up to this long are interpolated")
    prefill_tokens_per_gpu_s: Positive = Field(
        9000.0, description="prompt tokens read per reference accelerator; 5 times as fast as decode"
    )
    decode_tokens_per_gpu_s: Positive = Field(
        1800.0, description="answer tokens written per reference accelerator: 70B in FP8 on one H100"
    )
    image_tokens: NonNegative | None = Field(
        None, description="prompt tokens of an image; needed where the file counts images"
    )


class JobsFrom(StrictModel):
    """Training jobs drawn from a file of batch jobs; they are added to `jobs` when the scenario is read."""

    source: SourcePath = Field(description="path of a .parquet, .csv or .csv.gz")
    count: Annotated[int, Field(ge=1, le=1000), Whole] = Field(description="number of jobs drawn")
    seed: Annotated[int, Field(ge=0), Whole] = 0
    mean_gpus: Positive = Field(description="mean size of the jobs of the file; it gives the relative sizes")
    max_gpus: Positive | None = Field(None, description="larger jobs are left out; null: what the sites hold")
    min_duration_h: NonNegative = Field(1.0, description="shorter jobs are left out")
    max_duration_h: Positive | None = Field(None, description="longer jobs are left out; null: what fits")
    slack: NonNegative = Field(1.0, description="deadline = release + (1 + slack) x duration")
    value_usd_per_gpuh: Positive = Field(0.15, description="130 USD per MWh of IT at 1.15 kW")
    sites: Names | None = Field(None, description="allowed sites, first is preferred; null: all")
    drawn: str | None = Field(None, description="written by the program: where the jobs in `jobs` were drawn")


# The options of the text are those of the table.
OPTIONS = "|".join(key for key in DemandSpec.model_fields if key != "source")
DemandText = Annotated[str, Field(pattern=rf"^\s*[^,\s][^,]*(,\s*({OPTIONS})\s*=[^,]*)*$")]
Demand = Annotated[DemandSpec, BeforeValidator(table_of_text, json_schema_input_type=DemandText | DemandSpec)]


class Constraint(StrictModel):
    """A quantity whose sum over an episode is to stay within a budget: ``info["cost"]``, apart from the reward."""

    quantity: Literal["line_excess_mwh", "carbon_excess_kg", "dropped_gpuh"]
    budget: NonNegative


class Scenario(StrictModel):
    """A whole scenario file."""

    name: Name
    description: str = ""
    horizon_h: Annotated[float, Field(gt=0, le=87_600, allow_inf_nan=False)] = Field(
        description="length of an episode, a whole number of steps; at most ten years"
    )
    dt_h: Positive = Field(1.0, description="length of a step: 1/n h in whole minutes")
    traces: SourcePath = Field("synthetic", description="'synthetic' or the path of a trace file")
    demand: Demand = Field(DemandSpec(), description="a table, or FILE,key=value,... with its keys")
    start: Start = Start()
    carbon_signal: Literal["average", "marginal"] = "marginal"
    carbon_price_usd_per_t: NonNegative = 50.0
    carbon_budget_kg: Positive | None = Field(None, description="of an episode; null: none")
    carbon_excess_usd_per_t: Positive = Field(1000.0, description="price of emissions above the budget")
    water_price_usd_per_m3: NonNegative = 0.0
    reward_scale_usd: Positive = Field(description="reward = benefit of the step / this")
    capacity_slack: Positive = Field(
        1.3, description="capacity over local peak demand, where a site gives no gpus"
    )
    latency: Latency = Latency()
    network: Network = Network()
    forecast: ForecastSpec = ForecastSpec()
    sites: list[Site] = Field(min_length=1, max_length=MOST_LISTED)
    regions: list[Region] = Field(min_length=1, max_length=MOST_LISTED)
    service_nodes: list[ServiceNode] | None = Field(
        None, min_length=1, max_length=MOST_LISTED, description="null: one at each site"
    )
    classes: list[TaskClass] = Field(min_length=1, max_length=MOST_LISTED)
    jobs: list[Job] = Field([], max_length=MOST_LISTED)
    jobs_from: JobsFrom | None = None
    events: list[Event] = Field([], max_length=MOST_LISTED)
    constraint: Constraint | None = Field(
        None, description="of safe reinforcement learning, exactly one; null: none"
    )

    @property
    def steps(self) -> int:
        """Number of steps of an episode."""
        return round(self.horizon_h / self.dt_h)

    def index_of_site(self, name: str) -> int:
        """Return the index of the site called ``name``; raises ValueError where there is none."""
        return [site.name for site in self.sites].index(name)

    def nodes(self) -> list[ServiceNode]:
        """Return the service nodes: those of the file, by default one at each site."""
        if self.service_nodes is not None:
            return self.service_nodes
        keys = ("name", "latitude", "longitude", "legal_zone", "rtt_key")
        return [ServiceNode(**{key: getattr(site, key) for key in keys}) for site in self.sites]


def scenario_hash(scenario: Scenario) -> str:
    """Return the SHA-256 (hex) over the values of a scenario; equal scenarios have equal hashes.

    Keys at their defaults are left out, so that keys that are added later change no hash (another default raises the
    version of the environments).  Files count by their names, wherever their folders lie.
    """
    values = scenario.model_dump(mode="json", context=BY_NAME, exclude_defaults=True)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
