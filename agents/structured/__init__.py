"""A policy that knows the structure: it prices routes, waiting and storage, and learns corrections to the prices.

What every site, region and row means stands in the observation; the same small networks score all of them, so
relabelling sites relabels the decision, and weights trained on ten sites act on five or twenty.

=========== =========================================================================================
`reading`   the flat observation in units
`memory`    what forecasts issued earlier said of the coming hours
`situation` prices, rooms and demand that all parts of a decision start from
`power`     what power costs the sites, the work it lets them do, when own generation pays
`stack`     power of all sites by cost, foreseen: the merit order, and what a load adds to it
`planning`  where and when the jobs on offer would run
`routes`    what it costs to serve work at a site
`waiting`   the price below which waiting work is served now
`routing`   work on sites by cost, within capacity: transport with entropy
`placing`   where work goes and what waits: routes, waiting and transport together
`storage`   what energy in a battery is worth: dynamic programming over the foreseen prices
`batteries` when batteries charge
`starting`  what it costs to start a training job now, later, here or elsewhere
`jobs`      which training jobs start, and where
`summary`   figures from which the value of a state is estimated
`weights`   what is learned
`judgement` all of this together: from an observation to a decision
`numbers`   what the network decides, and what that means for the environment
`policy`    the policy of Stable-Baselines3 made of these
`recorded`  decisions for one environment as machine code
=========== =========================================================================================

Prices inside are in *10 USD per MWh of IT load at a mean site*, so that differences are of order 1.
Shape letters as in `gridai_env.world.state`; besides, F: foreseen steps, the present being the first.
"""

from __future__ import annotations
