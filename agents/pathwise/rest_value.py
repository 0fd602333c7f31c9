"""What the rest of an episode is worth: learned, so that the gradient of a window knows of what comes after it.

Xu et al., 2022 (SHAC): a window's return is continued by the value of the state in which it ends, whose slope reaches
the actions through that state.
"""

from __future__ import annotations

import copy
import io
from collections import deque

import torch
from torch import Tensor, nn

from agents.networks.items import Items
from agents.networks.learned import Scaled, mlp
from agents.structured.observed import Reader
from gridai_env.arrays.types import Float
from gridai_env.scenario.compile import Compiled

WIDTH, RATE = 128, 1e-3
LONGER = 0.95  # lambda: weight of longer returns against the value of the next state
PASSES, KEPT = 8, 0.98  # gradient steps after a window, and how much of the slow network each keeps


class RestValue(nn.Module):
    """The value of states, undiscounted, from all features of their items, the time left among them.

    All episodes stand at the same step, so it learns from the last ``kept`` windows together, an episode's worth.  It
    answers by a slow copy of the network that learns.
    """

    def __init__(self, compiled: Compiled, kept: int) -> None:
        super().__init__()
        self.reader = Reader(compiled)
        size = self._features(torch.zeros(1, self.reader.size + self.reader.memory.size)).shape[1]
        self.scaled, self.network = Scaled(size), mlp(size, WIDTH, WIDTH, 1)
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)
        self.slow = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=RATE)
        # Features [S+1,B,f], rewards [S,B], weights [B], whether the episodes go on.
        self.windows: deque[tuple[Tensor, Tensor, Tensor, bool]] = deque(maxlen=kept)

    def _features(self, observation: Float[Tensor, "B N+M"]) -> Float[Tensor, "B f"]:
        return Items.of(self.reader, observation.float()).flat("whole", "sites", "rows", "jobs")

    @torch.no_grad()
    def fit(self, observation: Float[Tensor, "n N+M"]) -> None:
        """Take the scales of the features."""
        self.scaled.fit(self._features(observation))

    def forward(self, observation: Float[Tensor, "B N+M"]) -> Float[Tensor, " B"]:
        """Return what is still to come, with the gradient of the state."""
        return self.slow(self.scaled(self._features(observation)))[:, 0]

    def learn(
        self,
        seen: Float[Tensor, "S+1 B N+M"],
        rewards: Float[Tensor, "S B"],
        weights: Float[Tensor, " B"],
        ended: bool,
    ) -> float:
        """Learn from a window, whose last state is worth 0 where the episodes ``ended``; return the loss."""
        with torch.no_grad():
            # Step by step: the features of a whole window at once would take more memory.
            features = torch.stack([self.scaled(self._features(now)) for now in seen])
            self.windows.append((features, rewards, weights, not ended))
            wanted = torch.cat([self._returns(*window) for window in self.windows])
        known = torch.cat([features[:-1] for features, *_ in self.windows])
        weighed = torch.cat([weights.expand_as(earned) for _, earned, weights, _ in self.windows])

        for _ in range(PASSES):
            loss = ((self.network(known)[..., 0] - wanted) ** 2 * weighed).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(self.slow.parameters(), self.network.parameters(), strict=True):
                    slow.lerp_(fast, 1.0 - KEPT)
        return loss.item()

    def _returns(
        self, features: Tensor, rewards: Tensor, weights: Tensor, goes_on: bool
    ) -> Float[Tensor, "S B"]:
        """Return the lambda-returns of a window."""
        after = self.slow(features[1:])[..., 0]
        if not goes_on:
            after[-1] = 0.0  # what is shown after the last step means nothing
        found = [after[-1]]
        for earned, value in zip(rewards.flip(0), after.flip(0), strict=True):
            found.append(earned + (1.0 - LONGER) * value + LONGER * found[-1])
        return torch.stack(found[:0:-1])

    def get_state(self) -> bytes:
        """Return everything that `set_state` needs to go on bit for bit."""
        file = io.BytesIO()
        torch.save((self.state_dict(), self.optimizer.state_dict(), list(self.windows)), file)
        return file.getvalue()

    def set_state(self, state: bytes) -> None:
        """Go back to where `get_state` was called."""
        networks, optimizer, windows = torch.load(io.BytesIO(state), self.scaled.scale.device)
        self.load_state_dict(networks)
        self.optimizer.load_state_dict(optimizer)
        self.windows = deque(windows, self.windows.maxlen)
