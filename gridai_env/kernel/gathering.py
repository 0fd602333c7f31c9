"""Operations along axes: what is summed, compared, sorted or put together, one loop (or a few) each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gridai_env.kernel.memory import Memory, literal
from gridai_env.kernel.values import At, Expression, Kind, Loop, Strided, Value

# C++ types by kind.
TYPES: dict[Kind, str] = {"real": "V", "single": "S", "integer": "I", "mask": "M"}
# Start and next value of what is gathered along axes, by operation and kind.
GATHERED: dict[tuple[str, Kind], tuple[str, str]] = {
    ("sum", "real"): ("SPREAD(T(0))", "(total + {})"),
    ("sum", "integer"): ("WHOLE(0)", "(total + {})"),
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

    def body(at: At) -> str:
        rest = iter([i for k, i in enumerate(at) if k not in gone] if keep else at)
        own = [f"r{k}" if k in gone else next(rest) for k in range(len(value.shape))]
        loops = " ".join(f"for (int r{k} = 0; r{k} < {value.shape[k]}; r{k}++)" for k in gone)
        return (
            f"{{ {TYPES[kind]} total = {start}; {loops} total = {after.format(value.load(own))}; "
            f"{target.store(at, 'total')} }}"
        )

    memory.loops.append(Loop(shape, body, target, value.reads))
    return target


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


def cat(memory: Memory, shape: tuple[int, ...], kind: Kind, parts: Sequence[Value], axis: int = 0) -> Strided:
    """Return parts one after the other, each written to its place."""
    target, along, start = memory.room(shape, kind), axis % len(shape), 0
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
