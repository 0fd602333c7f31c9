"""Steps as compiled functions: traced once to a graph of tensor operations, then fused by torch's compiler.

The trace runs the very same functions; what Python decides (which parts a scenario has) is decided while tracing.
Gradients are traced from the same graph: the backward pass runs the step once more, so that nothing but its inputs is
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from gridai_env.arrays.ops import decisions_are_smooth
from gridai_env.envs.torch.batch_last import BatchLastTensor, run_last

# Tensors, or lists of them, in; tensors out.
Function = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class _Compiled:
    """A compiled function, and where the batch axis of each of its results belongs (None: there is none)."""

    graph: GraphModule
    run: Callable[[list[Tensor]], list[Tensor]]
    at: list[int | None]
    pulls: dict[tuple[bool, ...], Callable[..., list[Tensor]]] = field(default_factory=dict)

    def pull(self, given: Sequence[Tensor], of: Sequence[Tensor], needed: tuple[bool, ...]) -> list[Tensor]:
        """Return the gradients of the inputs that are ``needed``, from those ``of`` the results that are no flags."""
        if needed not in self.pulls:
            traced = make_fx(lambda given, of: self._pull(given, of, needed))(list(given), list(of))
            self.pulls[needed] = torch.compile(traced, dynamic=False, fullgraph=True)
        return self.pulls[needed](list(given), list(of))

    def _pull(self, given: list[Tensor], of: list[Tensor], needed: tuple[bool, ...]) -> list[Tensor]:
        def moved(*values: Tensor) -> tuple[Tensor, ...]:
            left = iter(values)
            inputs = [next(left) if need else x for x, need in zip(given, needed, strict=True)]
            return tuple(x for x in self.graph(inputs) if x.is_floating_point())

        pull = torch.func.vjp(moved, *(x for x, need in zip(given, needed, strict=True) if need))[1]
        return list(pull(tuple(of)))


class _WithGradients(torch.autograd.Function):
    """A compiled function whose backward pass is compiled, too."""

    @staticmethod
    def forward(ctx: Any, compiled: _Compiled, *given: Tensor) -> tuple[Tensor, ...]:
        results = tuple(compiled.run(list(given)))
        ctx.compiled, ctx.floats = compiled, [x.is_floating_point() for x in results]
        ctx.save_for_backward(*given)
        ctx.mark_non_differentiable(*(x for x in results if not x.is_floating_point()))
        return results

    @staticmethod
    def backward(ctx: Any, *of: Tensor) -> tuple[Tensor | None, ...]:
        needed = tuple(ctx.needs_input_grad[1:])
        with torch.no_grad():
            floats = [x for x, is_float in zip(of, ctx.floats, strict=True) if is_float]
            found = iter(ctx.compiled.pull(ctx.saved_tensors, floats, needed))
        return None, *(next(found) if need else None for need in needed)


class Traced:
    """A function of tensors, compiled on its first call and again for inputs of another kind.

    Inside, the batch axis is the last one (see `batch_last`); ``at`` says for each argument where it is outside.
    ``graphs``: let torch capture the kernels as one CUDA graph (replayed with one launch).  What a captured graph
    returns would be written over by the next call, therefore it is copied.
    """

    def __init__(self, function: Function, at: tuple[int, ...], graphs: bool = False) -> None:
        """Compile nothing yet."""
        self._function, self._at, self._graphs = function, at, graphs
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}

    def __call__(self, *arguments: Tensor | list[Tensor]) -> list[Tensor]:
        """Return what the function returns, with gradients where an input has some.

        Raise ValueError where these would have to pass a CUDA graph.
        """
        pairs = zip(arguments, self._at, strict=True)
        flat = [(x, at) for each, at in pairs for x in (each if isinstance(each, list) else [each])]

        # Move the batch axis here, once: inside, strided reads would repeat.  Mostly it is innermost already.
        given = [x.movedim(at, -1).contiguous() for x, at in flat if x.numel()]

        tracks = torch.is_grad_enabled() and any(x.requires_grad for x in given)
        key = (tracks, decisions_are_smooth.get(), *((x.shape, x.dtype, x.device) for x in given))
        if key not in self._compiled:
            # Decisions that are smooth only where gradients are asked for make another graph.
            with torch.set_grad_enabled(tracks):
                self._compiled[key] = self._compile(arguments, flat)

        compiled = self._compiled[key]
        if tracks:
            if self._graphs:
                raise ValueError(
                    "graphs=True: a CUDA graph passes no gradients on; use graphs=False, or torch.no_grad()"
                )
            results = list(_WithGradients.apply(compiled, *given))
        else:
            with torch.no_grad():
                results = compiled.run(given)
                if self._graphs:
                    results = [x.clone() for x in results]
        return [x if at is None else x.movedim(-1, at) for x, at in zip(results, compiled.at, strict=True)]

    def _compile(
        self, arguments: tuple[Tensor | list[Tensor], ...], flat: list[tuple[Tensor, int]]
    ) -> _Compiled:
        def function(inputs: list[Tensor]) -> list[Tensor]:
            left = iter(inputs)
            whole = iter([next(left) if x.numel() else x for x, _ in flat])
            return self._function(
                *(
                    [next(whole) for _ in each] if isinstance(each, list) else next(whole)
                    for each in arguments
                )
            )

        inputs = [x for x, _ in flat if x.numel()]
        places = [at % x.ndim for x, at in flat if x.numel()]
        # Traced twice: as written, so that Python's decisions are made, then with the batch axis
        # last.
        first = make_fx(function)(inputs)
        found: list[int | None] = []

        def last(inputs: list[Tensor]) -> list[Tensor]:
            results = run_last(first, inputs, places)
            found[:] = [x.at if isinstance(x, BatchLastTensor) else None for x in results]
            return [x.values if isinstance(x, BatchLastTensor) else x for x in results]

        graph = make_fx(last)([x.movedim(at, -1).contiguous() for x, at in zip(inputs, places, strict=True)])
        options: dict[str, Any] = {"mode": "reduce-overhead"} if self._graphs else {}
        return _Compiled(graph, torch.compile(graph, dynamic=False, fullgraph=True, **options), list(found))

    def __getstate__(self) -> dict[str, Any]:
        """Leave machine code out of copies: a copy compiles anew."""
        return self.__dict__ | {"_compiled": {}}
