"""The panels of the report, by the kind of run that fills them."""
