"""One panel of the report each."""
