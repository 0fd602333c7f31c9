"""What it costs to answer calls: a played episode against the same policy on the same episode without calls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridai_env.analysis.responses import REBOUND_H, net_import_mw
from gridai_env.analysis.settlement import rebounds
from gridai_env.episodes.events import EventTable
from gridai_env.episodes.exogenous import limit
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.played import PlayedEpisode
from gridai_env.scenario.lines import LineRule


def called_lines(instance: Instance) -> list[LineRule]:
    """Return the lines that may be called."""
    return [rule for rule in instance.compiled.lines.rules if rule.call >= 0]


def uncalled(instance: Instance) -> Instance:
    """Return the episode in which no line is called; the same one where none is.

    Connections are firm, demand response has no event.  All else is equal: prices, demand, the days that count for
    baselines, payments for capacity, prices of last resorts, and the hours in which generators may run.
    """
    compiled, exo, knowledge = instance.compiled, instance.exogenous, instance.knowledge
    if not (knowledge.call_depth > 0.0).any():
        return instance

    is_called = np.zeros(exo.line_mw.shape[1:], dtype=np.bool_)
    of_response = np.zeros_like(is_called)
    for rule in called_lines(instance):
        if rule.slot >= 0:
            is_called[rule.slot, rule.site] = True
            of_response[rule.slot, rule.site] = rule.kind == "demand_response"
    events = EventTable(knowledge.event_active, compiled.events)
    changes = {
        "import_limit_mw": limit(compiled, "import_limit", events, exo.sell_usd_per_mwh),  # before hard lines
        "line_mw": np.where(is_called, compiled.import_limit_mw, exo.line_mw),
        "line_usd_per_mwh": np.where(of_response, 0.0, exo.line_usd_per_mwh),
        "response_usd_per_mwh": np.zeros_like(exo.response_usd_per_mwh),
        "committed_mw": np.zeros_like(exo.committed_mw),
        "baseline_share": np.zeros_like(exo.baseline_share),
    }
    return replace(
        instance,
        exogenous=exo.replace(**changes),
        knowledge=knowledge.replace(
            call_depth=np.zeros_like(knowledge.call_depth),
            call_known_from=np.full_like(knowledge.call_known_from, instance.steps),
        ),
    )


def compliance(episode: PlayedEpisode, without: PlayedEpisode | None) -> dict[str, float]:
    """Return what answering calls comes to, against ``without`` calls; {} where no line may be called.

    ``compliance_cost_usd``: benefit without calls less benefit, so payments for energy lower it and shortfalls raise
    it.  ``work_lost_gpuh``: work refused or dropped more.  ``rebound_mwh`` of each line (``/site/line``): net import
    above that without calls in the hours after them.  NaN where ``without`` is not known.
    """
    rules = called_lines(episode.instance)
    if not rules:
        return {}
    named = {f"rebound_mwh/{episode.instance.compiled.site_names[r.site]}/{r.spec.name}": r for r in rules}
    if without is None:
        return dict.fromkeys(("compliance_cost_usd", "work_lost_gpuh", *named), float("nan"))

    def rebound_mwh(rule: LineRule) -> float:
        called = episode.instance.knowledge.call_depth[:, rule.call] > 0.0
        dt_h = episode.instance.params.dt_h
        found = rebounds(net_import_mw(episode, rule), net_import_mw(without, rule), called, REBOUND_H, dt_h)
        return sum(rebound.energy_mwh for rebound in found)

    return {
        "compliance_cost_usd": sum(without.terms_usd.values()) - sum(episode.terms_usd.values()),
        "work_lost_gpuh": float(episode.flows.dropped_gpuh.sum() - without.flows.dropped_gpuh.sum()),
        **{name: rebound_mwh(rule) for name, rule in named.items()},
    }
