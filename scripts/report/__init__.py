"""The report: one HTML page about the runs of a folder."""
