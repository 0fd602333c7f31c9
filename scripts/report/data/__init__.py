"""What run folders hold, read for the report."""
