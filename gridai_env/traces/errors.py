"""The error of readers and generators of traces."""


class TraceError(ValueError):
    """A trace cannot be used as asked; the message names file or argument, zone, stamp, and what to do."""


class TraceWarning(UserWarning):
    """A trace can be used, but its values are not those of any market: probably its unit is another one."""
