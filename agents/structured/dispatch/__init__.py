"""Decisions on work, batteries and training jobs at foreseen prices.

============= ==============================================================================
`merit_order` power of all sites sorted by cost, and the marginal cost of load on it
`routes`      cost of serving work at a site
`transport`   entropy-regularised optimal transport of work to sites
`placing`     where work is served, what waits and what is refused
`batteries`   value of stored energy by dynamic programming, and battery power
`jobs`        when and where training jobs start
============= ==============================================================================
"""
