"""Compiled decisions are the network's own, follow its weights, and refuse files that belong elsewhere.

Most tests run the exported graph as it is, without the compiler, which takes a minute; the slow ones compile.
"""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.structured.compiled import Recorded, RecordingError, Whole, blank, record
from gridai_env.envs.env import GridAIEnv
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.load import scenario_names
from tests.support.structure_worlds import changed, policy_of, speak, world

CLOSE = 5e-4  # of actions in [-1, 1]: float32, sums in another order; at most 1e-4 was seen


GRAPHS: list[Any] = []  # torch's own files of them take longer to write and read than the export


class Graph:
    """The graph that a file of `save` names, with the face of a library."""

    def __init__(self, path: str) -> None:
        self.loader = self
        number, self._metadata = json.loads(Path(path).read_text())
        self._module = GRAPHS[number]

    def get_metadata(self) -> dict[str, str]:
        return self._metadata

    def run(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return self._module(*inputs[:2], inputs[2:])


def save(exported: Any, package_path: str, inductor_configs: dict[str, Any]) -> None:
    """Keep the exported graph in place of machine code, and write down which one it is."""
    Path(package_path).write_text(json.dumps([len(GRAPHS), inductor_configs["aot_inductor.metadata"]]))
    GRAPHS.append(exported.module())


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write and open files that name graphs."""
    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", save)
    monkeypatch.setattr("torch._inductor.aoti_load_package", Graph)


@pytest.fixture(scope="module")
def graph_of_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the graph of "two_sites": exporting takes seconds, so it is done once and for a plain world."""
    path = tmp_path_factory.mktemp("recorded") / "decision.pt2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch._inductor.aoti_compile_and_package", save)
        patch.setattr("torch._inductor.aoti_load_package", Graph)
        record(policy_of(world("two_sites"), seed=1), path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path


def pair(compiled: Compiled, path: Path) -> tuple[NetworkPolicy, NetworkPolicy]:
    """A policy with compiled decisions, and the same one without."""
    network = policy_of(compiled, seed=7)
    fast, plain = (NetworkPolicy(network, Identity.of(compiled)) for _ in range(2))
    fast.compile(path)
    return fast, plain


def farthest(fast: NetworkPolicy, plain: NetworkPolicy, compiled: Compiled, steps: int = 10_000) -> float:
    """Largest difference of actions and of memories (in theirs) along an episode that the compiled ones play."""
    env = GridAIEnv(compiled.scenario)
    observation, _ = env.reset(seed=5)
    found, done = [0.0], False
    state = wanted_state = None
    start = np.ones(1, dtype=np.bool_)
    while not done and len(found) <= steps:
        action, state = fast.predict(observation, state, start)
        wanted, wanted_state = plain.predict(observation, wanted_state, start)
        assert state is not None and wanted_state is not None
        torch.testing.assert_close(state, wanted_state)
        found.append(float(np.abs(action - wanted).max()))
        observation, _, done, _, _ = env.step(action)
        start[:] = False
    return max(found)


@pytest.mark.usefixtures("uncompiled")
def test_the_graph_decides_as_the_network(graph_of_one: Path) -> None:
    fast, plain = pair(world("two_sites"), graph_of_one)
    assert farthest(fast, plain, world("two_sites")) <= CLOSE


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", scenario_names())
def test_the_graphs_of_all_scenarios_decide_as_the_network(name: str, tmp_path: Path) -> None:
    fast, plain = pair(world(name), tmp_path / "decision.pt2")
    assert farthest(fast, plain, world(name)) <= CLOSE


@pytest.mark.slow  # a compiler needs a minute for each
@pytest.mark.parametrize("name", ["small", *scenario_names()])
def test_machine_code_decides_as_the_network(name: str, tmp_path: Path) -> None:
    compiled = world(name)
    fast, plain = pair(compiled, tmp_path / "decision.pt2")
    assert farthest(fast, plain, compiled) <= CLOSE
    speak(fast.network, 8)  # type: ignore[arg-type]
    assert farthest(fast, plain, compiled, 3) <= CLOSE
    again = pickle.loads(pickle.dumps(fast))
    assert farthest(again, plain, compiled, 3) <= CLOSE


@pytest.mark.usefixtures("uncompiled")
def test_what_a_recorded_decision_follows(graph_of_one: Path) -> None:
    compiled = world("two_sites")
    fast, plain = pair(compiled, graph_of_one)
    observation, _ = GridAIEnv(compiled.scenario).reset(seed=0)
    before, memory = fast.predict(observation)
    copied = copy.deepcopy(fast)
    speak(fast.network, 8)  # type: ignore[arg-type]
    after = fast.predict(observation)[0]
    assert not np.array_equal(after, before)
    np.testing.assert_allclose(after, plain.predict(observation)[0], atol=CLOSE)
    np.testing.assert_array_equal(copied.predict(observation)[0], before)
    # An episode that begins forgets; batches pass by.
    begun = fast.predict(observation, memory, np.ones(1, dtype=np.bool_))
    np.testing.assert_array_equal(begun[0], after)
    two = {name: np.stack([x, x]) for name, x in observation.items()}
    np.testing.assert_allclose(fast.predict(two)[0], np.stack([after, after]), atol=CLOSE)
    with pytest.raises(RecordingError, match=r"compiled for another scenario than here; delete it"):
        fast.prepare(changed(compiled, description="Another."))


@pytest.mark.usefixtures("uncompiled")
def test_files_and_inputs_that_do_not_fit(graph_of_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, compiled = graph_of_one, world("two_sites")
    network = policy_of(compiled)
    recorded = Recorded(network, path)
    sizes = (network.memory.layout.size, network.memory.size)
    seen, memory = torch.zeros(1, sizes[0]), torch.zeros(1, sizes[1])
    with pytest.raises(ValueError, match=r"observation: must be \[1, "):
        recorded(seen[:, 1:], memory)
    with pytest.raises(ValueError, match=r"memory: must be .* is .* torch\.float64"):
        recorded(seen, memory.double())
    with pytest.raises(RecordingError, match="another size of the network than here"):
        Recorded(policy_of(compiled, hidden=4), path)
    monkeypatch.setattr("torch.__version__", "0.0")
    with pytest.raises(RecordingError, match="another version of torch than here"):
        Recorded(network, path)


def test_files_that_are_none(tmp_path: Path) -> None:
    network, path = policy_of(world("two_sites")), tmp_path / "decision.pt2"
    with pytest.raises(RecordingError, match="no such file"):
        Recorded(network, path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(RecordingError, match="not a readable file"):
        Recorded(network, path)


def test_without_a_compiler_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = world("two_sites")
    single = NetworkPolicy(policy_of(compiled), Identity.of(compiled))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecordingError, match=r"needs a C\+\+ compiler.*install g\+\+"):
        single.compile(tmp_path / "decision.pt2")
    with pytest.raises(RecordingError, match=r"must end in \.pt2"):
        single.compile(tmp_path / "decision.so")
    assert list(tmp_path.iterdir()) == []


def test_a_blank_memory_is_none_at_all() -> None:
    policy = policy_of(world("two_sites"), seed=3)
    observation, _ = GridAIEnv(world("two_sites").scenario).reset(seed=2)
    flat = np.concatenate([observation[name] for name in policy.memory.layout.parts])[None]
    seen = torch.as_tensor(flat)
    with torch.no_grad():
        after = policy.memory.update(None, seen)
        torch.testing.assert_close(policy.memory.update(blank(policy), seen), after, rtol=0.0, atol=0.0)
        assert Whole(policy)(seen, blank(policy))[0].shape == (1, len(policy.actions.default))
