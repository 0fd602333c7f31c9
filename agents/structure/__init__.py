"""A policy that knows the structure: it prices routes, waiting and storage, and learns corrections to the prices.

What every site, region and row means stands in the observation; the same small networks score all of them, so
relabelling sites relabels the decision, and weights trained on ten sites act on five or twenty.

========== =======================================================================================
`reading`  the flat observation in units
`memory`   what forecasts issued earlier said of the coming hours
`storage`  what energy in a battery is worth: dynamic programming over the foreseen prices
`waiting`  the price below which waiting work is served now
`routing`  work on sites by cost, within capacity: transport with entropy
`starting` when and where training jobs start
`numbers`  what the network decides, and what that means for the environment
`policy`   the policy of Stable-Baselines3 made of these
========== =======================================================================================

Prices inside are in *10 USD per MWh of IT load at a mean site*, so that differences are of order 1.
Shape letters as in `gridai_env.state`; besides, F: foreseen steps, the present being the first.
"""
