"""The plots of the report, one module per section."""
