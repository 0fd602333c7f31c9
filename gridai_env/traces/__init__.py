"""Prices, carbon intensity and weather of grid zones: a calibrated synthetic generator and readers of files."""

from gridai_env.traces.calibration import known_zones
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.zones import TraceTable, read_table
from gridai_env.traces.series import ZoneSeries
from gridai_env.traces.synthetic import synthetic_series

__all__ = ["TraceError", "TraceTable", "ZoneSeries", "known_zones", "read_table", "synthetic_series"]
