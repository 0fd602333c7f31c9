"""Operations along axes: what is summed, compared, sorted or put together, one loop (or a few) each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gridai_env.kernel.memory import Memory, literal
from gridai_env.kernel.values import At, Expression, Kind, Loop, Strided, Value

# C++ types by kind.
TYPES: dict[Kind, str] = {"real": "V", "single": "S", "integer": "I", "mask": "M"}
# Start and next value of what is gathered along axes, by operation and kind.
SUM = "(total + {})"
GATHERED: dict[tuple[str, Kind], tuple[str, str]] = {
    ("sum", "real"): ("SPREAD(T(0))", SUM),
    ("sum", "integer"): ("WHOLE(0)", SUM),
    ("amin", "real"): ("SPREAD(INFINITE)", "SMALLER(total, {})"),
    ("amin", "integer"): ("WHOLE(2147483647)", "SMALLER(total, {})"),
    ("all", "mask"): ("ALWAYS", "(total & {})"),
    ("any", "mask"): ("NEVER", "(total | {})"),
}


def gathered(
    memory: Memory,
    shape: tuple[int, ...],
    kind: Kind,
    start: str,
    after: str,
    x: Value,
    axes: int | Sequence[int],
    keep: bool = False,
    **_: Any,
) -> Strided:
    """Return what is gathered along axes, one number after the other."""
    value, target = memory.cast(x, kind), memory.room(shape, kind)
    gone = [axis % len(value.shape) for axis in ([axes] if isinstance(axes, int) else axes)]
    if memory.is_nested(value):
        _gather_routes(memory, kind, start, after, value, target, gone, keep)
        return target

    def body(at: At) -> str:
        rest = iter([i for k, i in enumerate(at) if k not in gone] if keep else at)
        own = [f"r{k}" if k in gone else next(rest) for k in range(len(value.shape))]
        loops = " ".join(f"for (int r{k} = 0; r{k} < {value.shape[k]}; r{k}++)" for k in gone)
        return (
            f"{{ {TYPES[kind]} total = {start}; {loops} total = {after.format(value.load(own))}; "
            f"{target.store(at, 'total')} }}"
        )

    aligned = min(gone) if value.is_pointwise else 0
    memory.loops.append(Loop(shape, body, target, value.reads, aligned))
    return target


def _gather_routes(
    memory: Memory,
    kind: Kind,
    start: str,
    after: str,
    value: Value,
    target: Strided,
    gone: Sequence[int],
    keep: bool,
) -> None:
    """Gather [B,C,W,n] while regions, rows and what is theirs are looped over, in the same order."""
    rest = iter(target.strides)
    strides = tuple(next(rest) if keep or k not in gone else 0 for k in range(4))
    place = Strided(target.buffer, value.shape, strides, target.offset)
    outer, total = [k for k in gone if k < 3], f"{target.buffer.name}_total"

    def clear(at: At) -> str:
        first = " && ".join(f"{at[k]} == 0" for k in outer)
        each = f"for (int r3 = 0; r3 < {1 if 3 in gone else value.shape[3]}; r3++)"
        return f"if ({first}) {each} {place.store([*at, 'r3'], start)}"

    def begin(at: At) -> str:
        return f"{TYPES[kind]} {total} = {place.load([*at, '0']) if outer else start};"

    def body(at: At) -> str:
        so_far = total if 3 in gone else place.load(at)
        found = after.replace("total", so_far).format(value.load(at))
        return f"{total} = {found};" if 3 in gone else place.store(at, found)

    def end(at: At) -> str:
        return place.store([*at, "0"], total)

    if outer:
        memory.loops.append(Loop(value.shape[:3], clear, place, (), 3))
    reads, aligned = (*value.reads, *[place] * bool(outer)), 4 if value.is_pointwise else 0
    is_sparse = after == SUM and memory.is_sparse(value)
    ends = (begin, end) if 3 in gone else None
    memory.loops.append(Loop(value.shape, body, place, reads, aligned, is_sparse, ends))


def argmax(memory: Memory, shape: tuple[int, ...], kind: Kind, x: Value, axis: int) -> Strided:
    """Return where the first of the largest entries stands."""
    value, target = memory.stored(x), memory.room(shape, kind)
    along = axis % len(value.shape)

    def body(at: At) -> str:
        first, other = ([*at[:along], i, *at[along:]] for i in ("0", "r"))
        return (
            f"{{ V best = {value.load(first)}; I place = WHOLE(0); "
            f"for (int r = 1; r < {value.shape[along]}; r++) {{ V each = {value.load(other)}; "
            "M better = each > best; best = better ? each : best; place = better ? WHOLE(r) : place; } "
            f"{target.store(at, 'place')} }}"
        )

    memory.loops.append(Loop(shape, body, target, value.reads))
    return target


def cumsum(memory: Memory, shape: tuple[int, ...], kind: Kind, x: Value, axis: int) -> Strided:
    """Return sums from the first entry on."""
    value, target = memory.cast(x, kind), memory.room(shape, kind)
    along = axis % len(shape)
    start, after = GATHERED["sum", kind]

    def body(at: At) -> str:
        own = ["r" if k == along else i for k, i in enumerate(at)]
        return (
            f"{{ {TYPES[kind]} total = {start}; for (int r = 0; r < {shape[along]}; r++) "
            f"{{ total = {after.format(value.load(own))}; {target.store(own, 'total')} }} }}"
        )

    domain = tuple(1 if k == along else n for k, n in enumerate(shape))
    memory.loops.append(Loop(domain, body, target, value.reads))
    return target


def gather(memory: Memory, shape: tuple[int, ...], kind: Kind, x: Value, axis: int, index: Value) -> Strided:
    """Return entries along an axis at places that differ between the lanes: one comparison for each place."""
    value, place = memory.stored(x), memory.stored(index)
    along = axis % len(value.shape)

    def load(at: At) -> str:
        found = literal(0, kind)
        for r in range(value.shape[along]):
            own = [str(r) if k == along else i for k, i in enumerate(at)]
            found = f"(({place.load(at)} == WHOLE({r})) ? {value.load(own)} : {found})"
        return found

    return memory.stored(Expression(shape, kind, load, (value, place), is_pointwise=False))


def cat(
    memory: Memory,
    shape: tuple[int, ...],
    kind: Kind,
    parts: Sequence[Value],
    axis: int = 0,
    target: Strided | None = None,
) -> Strided:
    """Return parts one after the other, each written to its place (in ``target``, where that is there already)."""
    target, along, start = target or memory.room(shape, kind), axis % len(shape), 0
    for part in parts:
        place = Strided(
            target.buffer, part.shape, target.strides, target.offset + start * target.strides[along]
        )
        memory.fill(place, part)
        start += part.shape[along]
    return target


Along = Callable[..., Strided]  # of memory, shape, kind and the operation's arguments
ALONG: dict[str, Along] = {
    "argmax": argmax,
    "cat": cat,
    "cumsum": cumsum,
    "gather": gather,
}
