"""Decisions for one environment as machine code: the same operations, fused, without Python.

A single decision is more than a thousand small operations, whose call overhead exceeds their work.  PyTorch records
them as a graph and compiles it ahead of time (AOTInductor) to a library.  That takes a C++ compiler and a minute or
two, so it is done on request (`record`), and kept in a file that later processes open at once (`Recorded`).

The file belongs to a scenario, this version of the code and a kind of processor.  It always uses the weights of the
network that it was opened for, as they are at each decision.  A file contains machine code: open only those that you
trust.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents.structured.policy import StructuredPolicy
from gridai_env.arrays.types import Float
from gridai_env.files import atomic_write
from gridai_env.version import environment_version

SUFFIX = ".pt2"
NAME = "gridai_decision"  # key of the file's metadata
# One thread: no operation of a single decision is worth a second one.
OPTIONS = {"cpp.threads": 1}


class RecordingError(ValueError):
    """A decision that cannot be compiled here, or a file that does not belong here; the message says what to do."""


class Whole(nn.Module):
    """One decision, from observation and memory to the action and the memory after it."""

    def __init__(self, network: StructuredPolicy) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, observation: Float[Tensor, "B N"], memory: Float[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B M"]]:
        """Decide without noise."""
        after = self.network.memory.update(memory, observation)
        numbers, _ = self.network.mean_numbers(torch.cat([observation, after], 1))
        return self.network.actions.expand(numbers), after


class _Given(nn.Module):
    """`Whole` with the weights as further inputs: as constants they would be compiled into the machine code."""

    def __init__(self, network: StructuredPolicy) -> None:
        super().__init__()
        self._whole = [Whole(network)]  # in a list, hidden from torch: its weights are inputs
        self._names = [f"network.{name}" for name, _ in network.named_parameters()]

    def forward(self, observation: Tensor, memory: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Decide with these weights."""
        given = dict(zip(self._names, weights, strict=True))
        found: tuple[Tensor, Tensor] = torch.func.functional_call(
            self._whole[0], given, (observation, memory)
        )
        return found


class Recorded:
    """Decisions of a network on the CPU for one environment, from a file of `record`."""

    def __init__(self, network: StructuredPolicy, path: Path) -> None:
        """Open a file; raise RecordingError where it is missing, damaged or made for something else."""
        self.path, self._network = path, network
        self._shapes = ((1, network.memory.layout.size), (1, network.memory.size))
        self._blank = blank(network)
        self._weights = list(network.parameters())
        self._library = _opened(network, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies open the file again: a library is not copied."""
        return Recorded, (self._network, self.path)

    def __call__(self, observation: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the action [1,A] and the memory [1,M] after an observation [1,N], as `Whole` does.

        ``memory``: that after the observation before; None where an episode begins.  Raise ValueError for inputs of
        other shapes or types: the library itself does not check.
        """
        seen = [observation, self._blank if memory is None else memory]
        for name, x, shape in zip(("observation", "memory"), seen, self._shapes, strict=True):
            if x.shape != shape or x.dtype != torch.float32 or not x.is_cpu:
                found = f"{list(x.shape)} of {x.dtype} on {x.device}"
                raise ValueError(f"{name}: must be {list(shape)} of torch.float32 on cpu, is {found}")

        if not self._weights[0].is_cpu:
            raise ValueError(
                "network: was compiled for the cpu and must stay there; load it anew with device='cpu'"
            )

        with torch.no_grad():
            action, after = self._library.loader.run([*(x.contiguous() for x in seen), *self._weights])
        return action, after


def record(network: StructuredPolicy, path: Path) -> Recorded:
    """Compile the decisions of a network on the CPU, write them to ``path`` atomically and open it.

    Takes a minute or two.  Raise RecordingError without a C++ compiler and for another suffix than ``.pt2``.
    """
    # Imported here: torch's compiler takes longer to import than all decisions of an episode.
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if path.suffix != SUFFIX:
        raise RecordingError(f"{path}: must end in {SUFFIX}")
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise RecordingError(
            "compiling decisions needs a C++ compiler, and none was found; install g++ (Debian: apt install g++) or "
            "name one in CXX, or decide without compiling: the same, but slower"
        ) from error

    with atomic_write(path) as partial:
        _compile(network, partial)
    return Recorded(network, path)


def _compile(network: StructuredPolicy, path: Path) -> None:
    """Write the library of a copy of the network.

    Python's own branches (which parts a scenario has) do not depend on the observation, so one trace serves all.
    """
    from torch._inductor import aoti_compile_and_package

    own = copy.deepcopy(network).requires_grad_(False).eval()
    example = (torch.zeros(1, network.memory.layout.size), blank(network), list(own.parameters()))
    options: dict[str, Any] = OPTIONS | {"aot_inductor.metadata": {NAME: json.dumps(_belongs_to(network))}}

    # Silences warnings about operations that are called rather than fused.
    logger = logging.getLogger("torch._inductor.ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            for category in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)  # of torch in its own compiler
            given = _Given(own)
            given(*example)  # fills caches on plain tensors, before the trace
            exported = torch.export.export(given, example, strict=False)
            aoti_compile_and_package(exported, package_path=str(path), inductor_configs=options)
    finally:
        logger.setLevel(level)


def blank(network: StructuredPolicy) -> Float[Tensor, "1 M"]:
    """Return a memory before the first observation: of age -1, which an update treats like none."""
    memory = torch.zeros(1, network.memory.size)
    memory[:, -1] = -1.0
    return memory


def _opened(network: StructuredPolicy, path: Path) -> Any:
    """Return the library in a file; raise RecordingError where it does not belong to the network."""
    from torch._inductor import aoti_load_package

    if not path.is_file():
        raise RecordingError(f"{path}: no such file; compile the decisions first")
    try:
        library = aoti_load_package(str(path))
        found = json.loads(library.get_metadata().get(NAME, "{}"))
    except RuntimeError as error:
        raise RecordingError(
            f"{path}: not a readable file of compiled decisions ({error}); delete it"
        ) from error

    wanted = _belongs_to(network)
    other = [name for name in wanted if found.get(name) != wanted[name]]
    if other:
        raise RecordingError(
            f"{path}: compiled for another {' and '.join(other)} than here; delete it or give another file"
        )
    return library


def _belongs_to(network: StructuredPolicy) -> dict[str, str]:
    """Return what a library was made for, by the words of messages."""
    sizes = [list(weight.shape) for weight in network.parameters()]
    files = sorted(Path(__file__).parent.rglob("*.py"))
    source = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    return {
        "scenario": network.compiled.hash,
        "size of the network": json.dumps(sizes),
        "version of gridai-env": f"{environment_version()} {source.hexdigest()}",
        "version of torch": torch.__version__,
        "kind of processor": torch.backends.cpu.get_cpu_capability(),
    }
