"""The C++ text of emitted functions: what lanes are, then one function each.

One text serves a single episode (one lane of a plain number) and a batch (lanes of a vector); both round alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from gridai_env.kernel.emit import Emitter
from gridai_env.kernel.gathering import TYPES
from gridai_env.kernel.memory import literal
from gridai_env.kernel.schedule import Nest, plan
from gridai_env.kernel.values import Buffer, Kind, Strided

# What a pointer points to, by kind: masks leave as numbers.
OUTSIDE: dict[Kind, str] = {"real": "T", "single": "float", "integer": "int64_t", "mask": "T"}

PRELUDE = """\
#include <stdint.h>

typedef {real} T;
#define INFINITE ((T)__builtin_inf())
#define OPEN(row, k) for (int q = routes[row]; q < routes[(row) + 1]; q += 2) \\
  _Pragma("GCC ivdep") for (int k = routes[q]; k < routes[q + 1]; k++)
"""

ONE_LANE = """\
#define LANES 1
typedef T V;
typedef float S;
typedef int64_t I;
typedef int M;
#define ALWAYS 1
#define NEVER 0
#define NOT(m) (!(m))
#define SPREAD(x) (x)
#define SPREAD_SINGLE(x) (x)
#define WHOLE(i) ((I)(i))
#define LOAD(p, at) ((p){place})
#define STORE(p, at, x) (p){place} = (x)
#define REAL_OF_MASK(m) ((T)(m))
#define INTEGER_OF_MASK(m) ((I)(m))
#define REAL_OF_INTEGER(i) ((T)(i))
#define SINGLE(x) ((float)(x))
"""

LANES = """\
#ifdef __AVX__
#define LANES (32 / (int)sizeof(T))
#else
#define LANES (16 / (int)sizeof(T))
#endif
typedef T V __attribute__((vector_size(LANES * sizeof(T))));
typedef T Outside __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));
typedef float S __attribute__((vector_size(LANES * sizeof(float))));
typedef float OutsideSingle __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef {whole} I __attribute__((vector_size(LANES * sizeof(T))));
typedef I M;
#define ALWAYS WHOLE(-1)
#define NEVER WHOLE(0)
#define NOT(m) (~(m))
static inline V SPREAD(T x) {{ return (V){{}} + x; }}
static inline S SPREAD_SINGLE(float x) {{ return (S){{}} + x; }}
static inline I WHOLE({whole} i) {{ return (I){{}} + i; }}
#define LOAD(p, at) (*(const Outside *)((p) + (long)(at) * pitch))
static inline void put(T *p, V x) {{ *(Outside *)p = x; }}
{put_single}
static inline void put(T *p, M m) {{ *(Outside *)p = m ? SPREAD((T)1) : SPREAD((T)0); }}
#define STORE(p, at, x) put((p) + (long)(at) * pitch, x)
#define REAL_OF_MASK(m) ((m) ? SPREAD((T)1) : SPREAD((T)0))
#define INTEGER_OF_MASK(m) (-(m))
#define REAL_OF_INTEGER(i) __builtin_convertvector(i, V)
#define SINGLE(x) __builtin_convertvector(x, S)
"""

OPERATIONS = """\
static inline V LARGER(V a, V b) { return a > b ? a : b; }
static inline V SMALLER(V a, V b) { return a < b ? a : b; }
static inline V ABS(V a) { return a < SPREAD((T)0) ? -a : a; }
static inline I REMAINDER(I a, I b) { I r = a % b; return r < WHOLE(0) ? r + b : r; }
static inline I LARGER(I a, I b) { return a > b ? a : b; }
static inline I SMALLER(I a, I b) { return a < b ? a : b; }
"""


def source_of(functions: dict[str, Emitter], real: str, lanes: str) -> str:
    """Return the text of functions by name; ``real`` is "float" or "double".

    ``lanes``: "one" episode alone, "few" of a batch one after the other, "many" at a time.
    """
    place = "[at]" if lanes == "one" else "[(long)(at) * pitch]"
    put_single = (
        "static inline void put(float *p, S x) { *(OutsideSingle *)p = x; }" if real == "double" else ""
    )
    words = {"whole": "int64_t" if real == "double" else "int32_t", "put_single": put_single}
    parts = [
        PRELUDE.format(real=real),
        LANES.format(**words) if lanes == "many" else ONE_LANE.format(place=place),
        OPERATIONS,
        *(_function(name, emitter) for name, emitter in functions.items()),
    ]
    return "\n".join(parts)


def _function(name: str, emitter: Emitter) -> str:
    """Return a block of lanes, and the function that runs it over a batch.

    Where the last lanes do not fill a block, it begins earlier: they are computed twice, to the same bits.
    """
    outer = (emitter.batch, *emitter.routes[:2]) if emitter.routes else ()
    order = plan(emitter.loops, outer)
    pointers = [_pointer(view, f"ins[{i}]", "const ") for i, view in enumerate(emitter.inputs)]
    pointers += [_pointer(view, f"outs[{i}]", "") for i, view in enumerate(emitter.outputs)]
    work = [
        f"  {TYPES[buffer.kind]} *const {buffer.name} = ({TYPES[buffer.kind]} *)(work + {at});"
        for buffer, at in order.places.items()
    ]
    if emitter.needs_routes:
        pointers.append(f"  const int *const routes = (const int *)ins[{len(emitter.inputs)}];")
    body = [f"  {_nest(nest, emitter, order.cleared)}" for nest in order.nests]
    return "\n".join(
        [
            *(_table(view.buffer, numbers) for view, numbers in emitter.baked),
            f"static void {name}_block(const void *const *ins, void *const *outs, long pitch, long first, V *work) {{",
            *pointers,
            *work,
            *body,
            "}",
            "",
            f'extern "C" void {name}(const void *const *ins, void *const *outs, long pitch, long from, long to) {{',
            f"  static thread_local V work[{order.size}] __attribute__((aligned(64)));",
            "  for (long first = from; first < to; first += LANES)",
            f"    {name}_block(ins, outs, pitch, first + LANES > to ? to - LANES : first, work);",
            "}",
            "",
        ]
    )


def _pointer(view: Strided, given: str, is_const: str) -> str:
    """Return the declaration of an input or output; constants are the same for all episodes."""
    buffer = view.buffer
    kind, shift = f"{is_const}{OUTSIDE[buffer.kind]}", "" if buffer.place == "constant" else " + first"
    return f"  {kind} *__restrict const {buffer.name} = ({kind} *){given}{shift};"


def _table(buffer: Buffer, numbers: Sequence[float]) -> str:
    """Return the definition of a constant of the source."""
    texts = [str(int(x)) if buffer.kind in ("integer", "mask") else repr(float(x)) for x in numbers]
    return f"static const {OUTSIDE[buffer.kind]} {buffer.name}[] = {{{', '.join(texts) or '0'}}};"


def _nest(nest: Nest, emitter: Emitter, cleared: set[Buffer]) -> str:
    """Return loops of a nest, those over one domain as one loop."""
    parts = []
    for part in nest.parts:
        domain = part[0].domain
        is_looped = [size not in (1, emitter.batch) for size in domain]
        at = [f"i{axis}" if looped else "0" for axis, looped in enumerate(is_looped)]
        heads = [f"for (int {i} = 0; {i} < {n}; {i}++) " for i, n in zip(at, domain, strict=True) if i != "0"]
        split = sum(is_looped[: nest.depth])
        inner, text = "".join(heads[split:]), " ".join(loop.body(at) for loop in part)
        if part[0].is_sparse:
            zeros = [loop.target for loop in part if loop.target.buffer in cleared]
            clear = " ".join(target.store(at, literal(0, target.kind)) for target in zeros)
            parts += [f"{inner}{{ {clear} }}"] * bool(clear)
            inner = f"OPEN({at[1]}*{emitter.routes[1]} + {at[2]}, {at[3]}) "
        ends = [loop.ends for loop in part if loop.ends]
        begin, end = (" ".join(each[i](at[:-1]) for each in ends) for i in (0, 1))
        text = f"{inner}{{ {text} }}"
        parts.append(f"{{ {begin} {text} {end} }}" if ends else text)
    whole = " ".join(parts)
    return f"{''.join(heads[:split])}{f'{{ {whole} }}' if len(parts) > 1 else whole}"
