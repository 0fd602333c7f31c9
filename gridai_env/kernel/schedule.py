"""Order and memory of loops: loops over one domain run together, and buffers whose time is over make room."""

from __future__ import annotations

from dataclasses import dataclass

from gridai_env.kernel.values import Buffer, Loop

MOST_TOGETHER = 12  # loops whose bodies share one: longer ones run out of registers


@dataclass(frozen=True)
class LoopOrder:
    """Groups of loops in their order; where each work buffer lies, and how many numbers that takes for a lane."""

    groups: list[list[Loop]]
    places: dict[Buffer, int]
    size: int


def plan(loops: list[Loop]) -> LoopOrder:
    """Return an order in which each loop runs after those whose results it reads."""
    groups = _grouped([loop for loop in loops if 0 not in loop.domain])
    places, size = _placed(groups)
    return LoopOrder(groups, places, size)


def _grouped(loops: list[Loop]) -> list[list[Loop]]:
    """Put loops over the same domain together, as far as each needs of the others its own index alone."""
    writers: dict[Buffer, list[int]] = {}
    for i, loop in enumerate(loops):
        writers.setdefault(loop.target.buffer, []).append(i)
    needs = [{j for view in loop.reads for j in writers.get(view.buffer, [])} for loop in loops]

    done: set[int] = set()
    left, groups = list(range(len(loops))), []
    while left:
        group: list[int] = []
        for i in left:
            inside = needs[i] - done
            if group and loops[i].domain != loops[group[0]].domain:
                continue
            if inside <= set(group) and all(_is_next_to(loops[i], loops[j]) for j in inside):
                group.append(i)
            if len(group) == MOST_TOGETHER:
                break
        groups.append([loops[i] for i in group])
        done |= set(group)
        left = [i for i in left if i not in done]
    return groups


def _is_next_to(loop: Loop, before: Loop) -> bool:
    """Return whether a loop needs, of what another writes, just what that wrote at the same index."""
    mine = [view for view in loop.reads if view.buffer is before.target.buffer]
    return loop.is_pointwise and all(view.is_at(before.target) and view.shape == loop.domain for view in mine)


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
