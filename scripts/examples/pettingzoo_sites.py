"""One agent per site: the environment as a PettingZoo ParallelEnv.

    python -m scripts.examples.pettingzoo_sites --scenario two_sites --steps 480 --seed 0

`SiteAgents` shows the world to each site as that site sees it: what lies at the site (price, carbon, battery, lines,
routes that end there, jobs it could run) and what all know (demand, queues, clock). All agents earn the same
reward, that of the environment; `state()` is the whole observation, for critics that see everything.

How the joint action comes about: every entry of the environment's action is held by one site, or by several, whose
mean counts. A site holds its battery, generator, renewables and power modes; its bid in every routing share (shares
are in proportion to bids, closed routes left out); its bid for the job in every slot (the best bid above "wait" wins).
Hold and refuse of a region's work belong to the region's home site. "Wait" of a job slot is held by all. So any
action of the single agent is a joint action, and the reverse: `split` and `joint`.

Plays random agents and such as look at nothing but their own site's price, and prints what they earn. Seen with
these settings: -6,500 USD per episode at random, 26,000 USD by their own price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gridai_env.arrays.types import Floats32
from gridai_env.envs.env import GridAIEnv
from gridai_env.observation.decode import JOB_FEATURES
from gridai_env.observation.layout import Part
from gridai_env.world.actions import Layout
from scripts.examples.common import ExampleOptions, iterations, needed
from scripts.runs.command import command

with needed():
    from pettingzoo import ParallelEnv

Indices = dict[str, NDArray[np.intp]]

# Parts of the observation that all sites see whole.
COMMON = (
    "arrivals", "arrivals_before", "backlog", "carbon_budget_left",
    "clock", "due", "forecast_arrivals", "steps_left",
)  # fmt: skip
# Forecasts of single lines.
OF_LINES = ("forecast_call", "forecast_clean")


class SiteAgents(ParallelEnv[str, Floats32, Floats32]):
    """A view of one environment with an agent per site; ``env`` is its own from now on.

    Agents are named as the sites.  ``acts_on[agent]`` and ``sees[agent]`` map the names of parts to indices of the
    flat action and observation, in the order in which the agent's own arrays have them.
    """

    metadata: dict[str, Any] = {"name": "gridai_sites_v1", "render_modes": []}  # noqa: RUF012  PettingZoo's type

    def __init__(self, env: GridAIEnv) -> None:
        self.env = env
        self.render_mode = None
        self.possible_agents = list(env.compiled.site_names)
        self.agents: list[str] = []

        # Entries that several sites hold (a job's waiting) are averaged: `_holders` counts them.
        sites = dict(enumerate(self.possible_agents))
        self.acts_on = {name: _acts_on(env, k) for k, name in sites.items()}
        self.sees = {name: _sees(env, k) for k, name in sites.items()}
        self._acts = {name: np.concatenate(list(parts.values())) for name, parts in self.acts_on.items()}
        self._seen = {name: np.concatenate(list(parts.values())) for name, parts in self.sees.items()}
        self._holders = np.bincount(np.concatenate(list(self._acts.values())), minlength=self._size)

        flat = env.layout.flat_space()
        self.state_space = flat
        self.observation_spaces = {
            name: spaces.Box(flat.low[seen], flat.high[seen]) for name, seen in self._seen.items()
        }
        self.action_spaces = {
            name: spaces.Box(-1.0, 1.0, (len(acts),), np.float32) for name, acts in self._acts.items()
        }

    @property
    def _size(self) -> int:
        """Return the length of the environment's action."""
        return int(self.env.action_space.shape[0])

    def observation_space(self, agent: str) -> spaces.Box:
        """Return the space of what an agent sees."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Box:
        """Return the space of what an agent decides."""
        return self.action_spaces[agent]

    def joint(self, actions: Mapping[str, Floats32]) -> Floats32:
        """Return the environment's action, of each entry the mean of those who hold it.

        Raises ValueError where an agent or an entry is missing.
        """
        if set(actions) != set(self.possible_agents):
            raise ValueError(f"actions: of {sorted(actions)}, must be of all of {self.possible_agents}")
        for name, space in self.action_spaces.items():
            if np.shape(actions[name]) != space.shape:
                raise ValueError(f"actions[{name!r}]: shape {np.shape(actions[name])}, must be {space.shape}")

        where = np.concatenate([self._acts[name] for name in self.possible_agents])
        what = np.concatenate([np.asarray(actions[name]) for name in self.possible_agents])
        sums = np.bincount(where, weights=what, minlength=self._size)
        return (sums / self._holders).astype(np.float32)

    def split(self, action: Floats32) -> dict[str, Floats32]:
        """Return what each agent has to do so that `joint` gives ``action``."""
        return {name: np.asarray(action, dtype=np.float32)[acts] for name, acts in self._acts.items()}

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Floats32], dict[str, dict[str, Any]]]:
        """Start an episode; of the options only "instance" means something here (PettingZoo wants others borne)."""
        known = {key: value for key, value in (options or {}).items() if key == "instance"}
        observation, info = self.env.reset(seed=seed, options=known)
        self.agents = list(self.possible_agents)
        return self._views(observation), {name: dict(info) for name in self.agents}

    def step(
        self, actions: dict[str, Floats32]
    ) -> tuple[
        dict[str, Floats32], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Advance one step; all agents earn the same and end together."""
        observation, reward, terminated, truncated, info = self.env.step(self.joint(actions))
        names = self.possible_agents
        if terminated or truncated:
            self.agents = []
        return (
            self._views(observation),
            dict.fromkeys(names, reward),
            dict.fromkeys(names, terminated),
            dict.fromkeys(names, truncated),
            {name: dict(info) for name in names},
        )

    def _views(self, observation: Mapping[str, Any]) -> dict[str, Floats32]:
        self._state: Floats32 = self.env.layout.flatten(observation)
        return {name: self._state[seen] for name, seen in self._seen.items()}

    def state(self) -> Floats32:
        """Return the whole flat observation."""
        return self._state.copy()

    def part(self, agent: str, observation: Floats32, name: str) -> Floats32:
        """Return one part of what an agent sees, e.g. ``buy_price`` [1]."""
        sizes = {part: len(indices) for part, indices in self.sees[agent].items()}
        start = sum(list(sizes.values())[: list(sizes).index(name)])
        return observation[start : start + sizes[name]]

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def _acts_on(env: GridAIEnv, k: int) -> Indices:
    """Return the indices of the flat action that site ``k`` holds, by part."""
    layout, sites = Layout(env.compiled.shape), env.compiled.shape.sites
    parts = {name: x.astype(np.intp) for name, x in layout.split(np.arange(layout.size, dtype=float)).items()}

    # A region's holding and refusing belong to its home site.
    at_home = env.compiled.params.home[:, k] > 0.5
    found = {
        "bids": parts["routing"][:, :, k],
        "hold_refuse": parts["routing"][at_home][:, :, sites:],
        "battery": parts["battery"][[k]],
        "generator": parts["generator"][[k]],
        "renewable": parts["renewable"][[k]],
        "job_bids": parts["jobs"][:, k],
        "wait": parts["jobs"][:, sites],
    }
    if parts["mode"].size:
        found["mode"] = parts["mode"][[k]]
    return {name: indices.ravel() for name, indices in found.items()}


def _sees(env: GridAIEnv, k: int) -> Indices:
    """Return the indices of the flat observation that site ``k`` sees, by part."""
    found = {}
    for name, part in env.layout.by_name.items():
        where = env.layout.parts[name]
        view = _view(env, part, np.arange(where.start, where.stop).reshape(part.shape), k).ravel()
        if view.size:
            found[name] = view
    return found


def _view(env: GridAIEnv, part: Part, indices: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """Return the indices of a part that site ``k`` sees."""
    if part.name in COMMON:
        return indices
    if part.name in OF_LINES:  # [H,Q] or [H,M]: calls and contracts of the site's own lines
        lines = env.compiled.lines
        owners = lines.call_site if part.name == "forecast_call" else [rule.site for rule in lines.matching]
        return indices[:, np.equal(owners, k)]
    if part.name == "jobs":  # [V,5+K]: what the job is, and whether it may run here
        first = len(JOB_FEATURES)
        return indices[:, [*range(first), first + k]]
    if part.name in ("committed_gpus", "baseline_sum", "day_before"):  # [K,N]
        return indices[k]
    return indices[..., [k]]


def by_own_price(view: SiteAgents, agent: str, observation: Floats32) -> Floats32:
    """Return a decision from what one site sees: bid for work and charge while power is cheap here."""
    price = float(view.part(agent, observation, "buy_price")[0])  # in 100 USD per MWh
    outlook = float(view.part(agent, observation, "forecast_buy_price").mean())
    bid = np.clip(1.0 - 2.0 * price, -0.9, 1.0)

    choice = {
        "bids": bid,
        "hold_refuse": -1.0,
        "battery": np.clip(4.0 * (outlook - price), -1.0, 1.0),
        "generator": float(price > outlook),
        "renewable": 0.0,
        "job_bids": bid,
        "wait": -1.0,
        "mode": float(price > 0.0),
    }
    return np.concatenate(
        [np.full(len(indices), choice[part]) for part, indices in view.acts_on[agent].items()]
    ).astype(np.float32)


def play(view: SiteAgents, episodes: int, seed: int, rule: bool) -> float:
    """Play so many episodes by the rule, or at random; return the mean benefit (USD)."""
    benefits_usd = []
    for agent, space in view.action_spaces.items():
        space.seed(seed + view.possible_agents.index(agent))

    for episode in range(episodes):
        observations, infos = view.reset(seed=seed + episode)
        while view.agents:
            if rule:
                actions = {name: by_own_price(view, name, observations[name]) for name in view.agents}
            else:
                actions = {name: view.action_space(name).sample().astype(np.float32) for name in view.agents}
            observations, _, _, _, infos = view.step(actions)
        # All agents have the same figures.
        benefits_usd.append(next(iter(infos.values()))["episode/benefit_usd"])
    return float(np.mean(benefits_usd))


@command(ExampleOptions)
def main(options: ExampleOptions) -> int:
    """Say what each site sees and decides; play at random and by the rule."""
    view = SiteAgents(GridAIEnv(options.scenario))
    episodes = iterations(options.steps, view.env.compiled.shape.steps)
    for name in view.possible_agents:
        seen, decided = view.observation_space(name).shape[0], view.action_space(name).shape[0]
        print(f"{name}: sees {seen} numbers of {len(view.state_space.low)}, decides {decided}")

    for label, rule in (("at random", False), ("by their own price", True)):
        print(f"{label}: {play(view, episodes, options.seed, rule):,.0f} USD per episode")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
