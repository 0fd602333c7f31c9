"""Order and memory of loops: loops over one domain run together, and buffers whose time is over make room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from gridai_env.kernel.values import Buffer, Loop, Strided

MOST_TOGETHER = 12  # loops whose bodies share one: longer ones run out of registers

Domain = tuple[int, ...]


@dataclass(frozen=True)
class Nest:
    """Loops over the first ``depth`` axes of all domains, inside which parts run one after the other."""

    parts: list[list[Loop]]  # those of one domain together
    depth: int = 0


@dataclass(frozen=True)
class LoopOrder:
    """Nests of loops in their order; where each work buffer lies, and how many numbers that takes for a lane."""

    nests: list[Nest]
    places: dict[Buffer, int]
    size: int
    cleared: set[Buffer]  # what is written for open routes and read for others, too


def plan(loops: list[Loop], outer: Domain) -> LoopOrder:
    """Return an order in which each loop runs after those whose results it reads.

    Loops whose domains begin with ``outer`` share these axes as far as they can; () where none do.
    """
    loops, depth = [loop for loop in loops if 0 not in loop.domain], len(outer)

    def shared(loop: Loop) -> Domain:
        return outer if outer and loop.domain[:depth] == outer else loop.domain

    nests = []
    for group in _grouped(loops, lambda loop: (shared(loop), False), outer):
        if shared(group[0]) == outer:
            nests.append(Nest(_grouped(group, lambda loop: (loop.domain, loop.is_sparse)), depth))
        else:
            nests.append(Nest([group]))

    for i, nest in enumerate(nests):
        if nest.depth:
            others = [
                loop for j, other in enumerate(nests) if j != i for part in other.parts for loop in part
            ]
            _narrow([loop for part in nest.parts for loop in part], others, outer)
    places, size = _placed([[loop for part in nest.parts for loop in part] for nest in nests])
    return LoopOrder(nests, places, size, _cleared(loops))


def _grouped(
    loops: list[Loop], key: Callable[[Loop], tuple[Domain, bool]], outer: Domain = ()
) -> list[list[Loop]]:
    """Put loops of one key together, as far as each needs of the others its own index alone.

    In groups over ``outer``, that is the index on these axes, and there may be any number.
    """
    writers: dict[Buffer, list[int]] = {}
    for i, loop in enumerate(loops):
        writers.setdefault(loop.target.buffer, []).append(i)
    needs = [
        {j for view in loop.reads for j in writers.get(view.buffer, []) if j != i}
        for i, loop in enumerate(loops)
    ]

    done: set[int] = set()
    left, groups = list(range(len(loops))), []
    while left:
        group: list[int] = []
        # What runs alone comes first, so that more is ready for loops over ``outer``.
        alone = [i for i in left if outer and key(loops[i])[0] != outer and needs[i] <= done]
        for i in alone[:1] + left:
            if i in group:
                continue
            inside = needs[i] - done
            if group and key(loops[i]) != key(loops[group[0]]):
                continue
            is_outer = bool(outer) and key(loops[i])[0] == outer
            depth = len(outer) if is_outer else 0
            if inside <= set(group) and all(_is_next_to(loops[i], loops[j], depth) for j in inside):
                group.append(i)
            if len(group) == MOST_TOGETHER and not is_outer:
                break
        groups.append([loops[i] for i in group])
        done |= set(group)
        left = [i for i in left if i not in done]
    return groups


def _is_next_to(loop: Loop, before: Loop, depth: int) -> bool:
    """Return whether a loop needs, of what another writes, just what that wrote at the same index.

    ``depth``: of an index, only so many axes count; 0: all.
    """
    mine = [view for view in loop.reads if view.buffer is before.target.buffer]
    if depth:
        return loop.aligned >= depth and all(
            _is_beside(view, before.target, loop.domain[:depth]) for view in mine
        )
    return loop.aligned == len(loop.domain) and all(
        view.is_at(before.target) and view.shape == loop.domain for view in mine
    )


def _is_beside(view: Strided, other: Strided, outer: Domain) -> bool:
    """Return whether equal indices on the axes ``outer`` are equal parts of memory."""
    depth, starts = len(outer), (view.offset, view.shape[: len(outer)])
    return starts == (other.offset, outer) and view.strides[:depth] == other.strides[:depth]


def _narrow(loops: Sequence[Loop], others: Sequence[Loop], outer: Domain) -> None:
    """Let buffers that are used inside one nest alone hold the numbers of one index on its axes."""
    outside = {view.buffer for loop in others for view in (loop.target, *loop.reads)}
    views: dict[Buffer, list[Strided]] = {}
    for loop in loops:
        for view in (loop.target, *loop.reads):
            views.setdefault(view.buffer, []).append(view)
    for buffer, mine in views.items():
        first, depth = mine[0], len(outer)
        if buffer.place != "work" or buffer in outside or not all(_is_beside(x, first, outer) for x in mine):
            continue
        if first.offset == 0 and first.shape[:depth] == outer:
            buffer.size = prod(first.shape[depth:])
            buffer.dropped = frozenset(f"i{axis}" for axis in range(depth))


def _cleared(loops: Sequence[Loop]) -> set[Buffer]:
    """Return what loops over open routes write and others read."""
    read = {view.buffer for loop in loops if not loop.is_sparse for view in loop.reads}
    targets = [loop.target.buffer for loop in loops]
    mine = {
        loop.target.buffer
        for loop in loops
        if loop.is_sparse and not loop.ends and targets.count(loop.target.buffer) == 1
    }
    return {buffer for buffer in mine if buffer.place == "output" or buffer in read}


def _placed(groups: list[list[Loop]]) -> tuple[dict[Buffer, int], int]:
    """Return a place for every work buffer that no other uses while its numbers are needed."""
    last: dict[Buffer, int] = {}
    for i, group in enumerate(groups):
        for loop in group:
            for buffer in (loop.target.buffer, *(view.buffer for view in loop.reads)):
                last[buffer] = i

    places: dict[Buffer, int] = {}
    alive: list[Buffer] = []
    size = 1
    for i, group in enumerate(groups):
        alive = [buffer for buffer in alive if last[buffer] >= i]
        for loop in group:
            buffer = loop.target.buffer
            if buffer.place != "work" or buffer in places:
                continue
            at = 0
            for begin, end in sorted((places[other], places[other] + other.size) for other in alive):
                if at + buffer.size <= begin:
                    break
                at = max(at, end)
            places[buffer] = at
            alive.append(buffer)
            size = max(size, at + buffer.size)
    return places, size
