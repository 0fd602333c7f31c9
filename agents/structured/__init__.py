"""A policy that knows the structure of the problem: a cost-based rule, with corrections that are learned.

The rule prices routes, waiting, storage and job starts from the observation.  Small networks correct these prices;
the same networks score all sites, routes and jobs.  Relabelling the sites therefore relabels the decision
(permutation equivariance), and weights trained on ten sites act on five or twenty.

================= ==================================================================================
`observed`        flat observation -> tensors in units
`power`           cost of power at the sites, room for work by kind of power, own generation
`situation`       prices, room and foreseen demand, from which all decisions start
`dispatch`        the decisions: work, batteries, training jobs
`weights`         what is learned
`critic_features` inputs of the value estimate
`decision`        observation -> raw actions, all of this together
`action_numbers`  numbers of the network <-> action of the environment
`policy`          the actor-critic policy for Stable-Baselines3
`compiled`        decisions for a single environment as machine code
================= ==================================================================================

Prices inside are in *10 USD per MWh of IT load at a mean site*, so that differences are of order 1.
Shape letters as in `gridai_env.world.state`; besides, F: steps foreseen, the present being the first.
"""
