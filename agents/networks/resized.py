"""Weights of a set network for scenarios that have lines and power modes, where its own has none, or the reverse.

Sites then have more features, the last ones, and one more number.
"""

from __future__ import annotations

from torch import Tensor

from agents.structured.weights import overlaid

FIRST, SCALES, LAST = "site.0.0.weight", ("scales.sites.centre", "scales.sites.scale"), "site_out.2."


def resized(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``weights`` in the sizes of ``own``, the untrained weights of the same network in another scenario.

    What is new weighs nothing at first: its numbers are their own biases, its scales are those of ``own``.  What is
    not there is left out.  Raise RuntimeError for networks of other widths.
    """
    found = dict(weights)
    for name in (*SCALES, LAST + "weight", LAST + "bias"):
        found[name] = overlaid(weights[name], own[name])
    found[LAST + "weight"][len(weights[LAST + "bias"]) :] = 0.0

    # The inputs of sites are their features, then the whole.
    known, first = len(weights[SCALES[0]]), own[FIRST].new_zeros(own[FIRST].shape)
    whole, kept = weights[FIRST].shape[1] - known, min(known, len(own[SCALES[0]]))
    first[:, :kept], first[:, -whole:] = weights[FIRST][:, :kept], weights[FIRST][:, known:]
    return found | {FIRST: first}
