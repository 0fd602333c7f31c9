"""Forms of exports as data: by which columns a form is known, and what its columns mean.

Names of columns are compared in lower case without blanks and underscores (`plain_name`); ``a|b`` stands for either.
`gridai_env.traces.exports.table_reader` reads all of them; docs/data.md shows the layouts with their traps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gridai_env.traces.calibration import known_zones

PRICE, AVERAGE = "price_usd_per_mwh", "carbon_average_kg_per_mwh"
MARGINAL = "carbon_marginal_kg_per_mwh"
KG_PER_LB = 0.45359237
# What an average intensity counts, and how the portal calls it.
KINDS = {"direct": ("direct",), "life_cycle": ("lca", "life cycle", "lifecycle")}
# The carbon portal's names of calibrated zones where they are not the same.
OTHER_NAMES = {"DE-LU": "DE", "BR-SP": "BR-CS", "CL-SIC": "CL-SEN"}
SYMBOLS = {"€": "EUR", "£": "GBP", "$": "USD"}

Stamps = Mapping[tuple[str, ...], str]
NO_COLUMN = "(none)"  # the name of no column; that of an index may be ""
WITH_OFFSET = ""  # a clock of stamps that carry their own offset


@dataclass(frozen=True)
class Form:
    """How one form of export is laid out."""

    title: str
    header: str  # as errors show it
    stamps: Stamps  # columns of the stamp -> clock: "UTC", a tz database name, or WITH_OFFSET
    # Pattern of the columns of values; groups `place`, `currency` and `kind` are read from the name.
    values: str
    column: str = PRICE
    needs: tuple[str, ...] = ()  # further columns by which the form is known
    places: tuple[str, ...] = ()  # columns that together name a series: area, market, sequence
    place_header: str = ""  # pattern of a column whose name is the place of all rows
    # Rows in use, by their cell in a column.
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kind: str = ""  # the column that says what an intensity counts, where the header does not
    estimated: str = NO_COLUMN  # the column that marks estimates
    currency: str = ""  # of a portal that has one; US_ZONES: dollars there; "": the header or the user says
    formats: tuple[str, ...] = ()  # of stamps, besides ISO 8601
    hour_ending: bool = False  # stamps are a day and the number of its hour: 1 is 00:00 to 01:00
    second: str = NO_COLUMN  # the column that marks the second of two equal hours in autumn
    ends_below_min: int = 0  # stamps of steps shorter than this mark the END of the interval
    scale: float = 1.0  # to our unit
    units: str = ""  # the column that names the unit; where it lacks the user says which
    check: tuple[str, str] = (NO_COLUMN, "UTC")  # a second column with the same moments on another clock


US_ZONES = "US"
EUROPE = "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M"
AMERICA = "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"

# The first that fits a header reads the file.
FORMS = {
    "electricitymaps": Form(
        "Electricity Maps",
        "Datetime (UTC),...,Zone id,Carbon intensity gCO2eq/kWh (direct),...,Data estimated,...",
        {("datetime(utc)",): "UTC"},
        r"carbon intensity.*\((?P<kind>direct|lca|life cycle)\)",
        column=AVERAGE,
        places=("zoneid",),
        estimated="dataestimated",
    ),
    "electricitymaps-api": Form(
        "Electricity Maps",
        "JSON with zone, history: [{carbonIntensity, datetime, emissionFactorType, isEstimated}]",
        {("datetime",): "UTC"},
        "carbonIntensity",
        column=AVERAGE,
        needs=("emissionfactortype",),
        places=("zone",),
        kind="emissionfactortype",
        estimated="isestimated",
    ),
    "watttime": Form(
        "WattTime marginal rate (lb to kg)",
        "point_time,value,... or JSON with data: [{point_time, value}], meta: {region, signal_type, units}",
        {("pointtime",): "UTC"},
        "value",
        column=MARGINAL,
        places=("region|ba",),
        keep={"signaltype": ("co2_moer",), "datatype": ("moer",), "units": ("lbs_co2_per_mwh",)},
        scale=KG_PER_LB,
        units="units",
    ),
    "watttime-history": Form(
        "WattTime marginal rate (lb to kg)",
        "timestamp,MOER or timestamp,MOER version 2.0,...",
        {("timestamp",): WITH_OFFSET},
        r"MOER( version (?P<place>[\d.]+))?",
        column=MARGINAL,
        scale=KG_PER_LB,
        units="units",
    ),
    "energinet": Form(
        "Energinet",
        "HourUTC;HourDK;PriceArea;SpotPriceDKK;SpotPriceEUR or TimeUTC;TimeDK;PriceArea;DayAheadPriceEUR;...",
        {("hourutc",): "UTC", ("timeutc",): "UTC"},
        r"(SpotPrice|DayAheadPrice)(?P<currency>EUR|DKK)",
        needs=("pricearea",),
        places=("pricearea",),
        check=("hourdk|timedk", "Europe/Copenhagen"),
    ),
    "entsoe": Form(
        "ENTSO-E day-ahead",
        '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|SE3" or '
        '"MTU (UTC)","Area","Sequence","Day-ahead Price (EUR/MWh)",...',
        {
            ("mtu(utc)|time(utc)",): "UTC",
            ("mtu(cet/cest)|time(cet/cest)",): "Europe/Brussels",
            ("mtu(wet/west)|time(wet/west)",): "Europe/Lisbon",
            ("mtu(eet/eest)|time(eet/eest)",): "Europe/Helsinki",
        },
        r"day-ahead price [\[(](?P<currency>\w+)/MWh[\])]",
        places=("area", "sequence"),
        place_header=r"(BZN|CTA|CTY|IBZN)\|.+",
        formats=EUROPE,
    ),
    "entsoe-library": Form(
        "ENTSO-E day-ahead",
        "DateTime(UTC),ResolutionCode,...,MapCode,ContractType,Sequence,Price[Currency/MWh],Currency,...",
        {("datetime(utc)",): "UTC"},
        r"price ?\[currency/MWh\]",
        needs=("mapcode", "currency"),
        places=("mapcode", "resolutioncode", "sequence"),
        keep={"contracttype": ("day-ahead",)},
    ),
    "smard": Form(
        "SMARD",
        "Start date;End date;Germany/Luxembourg [€/MWh] Original resolutions;... or Datum von;Datum bis;...",
        dict.fromkeys(
            [("startdate",), ("datumvon",), ("datum", "anfang"), ("date", "start")], "Europe/Berlin"
        ),
        r"(?P<place>.+) \[(?P<currency>€)/MWh\].*",
        formats=(*EUROPE, "%b %d, %Y %I:%M %p"),
    ),
    "nordpool": Form(
        "Nord Pool day-ahead",
        "Delivery Start (CET);Delivery End (CET);SE3 Price (EUR) (or SE3 (EUR));...",
        {("deliverystart(cet)",): "Europe/Oslo", ("deliverystart(utc)",): "UTC"},
        r"(?P<place>\w+)( price)? \((?P<currency>(?-i:[A-Z]{3}))\)",
        formats=EUROPE,
    ),
    "caiso": Form(
        "CAISO OASIS",
        "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,...,NODE,MARKET_RUN_ID,LMP_TYPE,...,MW",
        {("intervalstarttimegmt",): "UTC"},
        "MW|VALUE|PRC|LMP_PRC",
        needs=("lmptype",),
        places=("node|nodeid|nodeidxml", "marketrunid"),
        keep={"lmptype": ("lmp",)},
        currency="USD",
    ),
    "pjm": Form(
        "PJM",
        "datetime_beginning_utc,...,pnode_id,pnode_name,...,total_lmp_da (or total_lmp_rt),...",
        {("datetimebeginningutc",): "UTC"},
        "total_lmp_(?P<place>da|rt)",
        places=("pnodename", "pnodeid"),
        keep={"rowiscurrent": ("true", "1", "")},
        currency="USD",
        formats=AMERICA,
    ),
    "nyiso": Form(
        "NYISO",
        '"Time Stamp","Name","PTID","LBMP ($/MWHr)",...',
        {("timestamp",): "America/New_York"},
        r"LBMP \(\$/MWHr?\)",
        needs=("name", "ptid"),
        places=("name", "ptid"),
        currency="USD",
        formats=AMERICA,
        ends_below_min=60,
    ),
    "aemo": Form(
        "AEMO",
        "REGION,SETTLEMENTDATE,TOTALDEMAND,RRP,PERIODTYPE",
        {("settlementdate",): "Etc/GMT-10"},
        "RRP",
        needs=("region|regionid",),
        places=("region|regionid",),
        currency="AUD",
        formats=("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", *EUROPE),
        ends_below_min=61,
    ),
    "ercot": Form(
        "ERCOT",
        "Delivery Date,Hour Ending (or Delivery Hour,Delivery Interval),Repeated Hour Flag (or DSTFlag),"
        "Settlement Point (Name),Settlement Point Price",
        dict.fromkeys(
            [("deliverydate", "hourending"), ("deliverydate", "deliveryhour", "deliveryinterval")],
            "America/Chicago",
        ),
        "settlement ?point ?price",
        needs=("settlementpoint|settlementpointname",),
        places=("settlementpoint|settlementpointname", "settlementpointtype"),
        currency="USD",
        hour_ending=True,
        second="repeatedhourflag|dstflag",
    ),
    "gridstatus": Form(
        "gridstatus",
        "...,Interval Start,...,Location,...,LMP (or SPP), or interval_start_utc,...,location,...,lmp",
        {("intervalstartutc",): "UTC", ("intervalstart|intervalstartlocal",): WITH_OFFSET},
        "LMP|SPP",
        places=("location", "locationname", "market"),
        currency=US_ZONES,
    ),
    "entsoe-py": Form(
        "entsoe-py",
        ",0 (a Series with its index) or ,DE_LU,... (a DataFrame)",
        {("",): WITH_OFFSET},
        r"0|(?-i:(?P<place>[A-Z]{2}([_-][A-Z0-9]+)*))|day.?ahead.?prices?|prices?",
    ),
    "own": Form(
        "Own file",
        "utc (or datetime, with offset),price_eur_per_mwh (or Price (EUR/MWh)),...",
        {("utc|datetime(utc)",): "UTC", ("datetime|time|timestamp",): WITH_OFFSET},
        r"price[ _]\(?(?P<currency>[a-z]{3})(/|_per_)MWhe?\)?",
        places=("zone|area|country",),
    ),
}


def plain_name(name: str) -> str:
    """Return the name of a column in lower case without blanks and underscores."""
    return "".join(name.lower().replace("_", " ").split())


def portal_zone(zone: str) -> str | None:
    """Return the carbon portal's name of a zone; None where that is not known."""
    return OTHER_NAMES.get(zone, zone) if zone in known_zones() else None
