"""The environment in other reinforcement learning libraries, one short file each; the README lists them."""

from __future__ import annotations
