"""Vector registers for numba: a value of several integers, and operations that act on all of them.

Numba leaves vectorisation to the optimiser, which gives up on loops with narrow integers, memory
that may overlap, or a state carried from step to step. Here a kernel says what it means: a value of
type ``Lanes(bits, count)`` lives in registers, and each function below becomes a few instructions
of LLVM's vector language, which every processor gets in its own width.

The number of lanes is part of the type. It comes from a ``tag``: a tuple of 0s with one entry per
16 lanes, so that each width is compiled once and cached like any other signature.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES_PER_TAG = 16


class Lanes(types.Type):
    """The numba type of ``count`` integers of ``bits`` bits in registers."""

    def __init__(self, bits: int, count: int) -> None:
        self.bits, self.count = bits, count
        super().__init__(name=f"Lanes({bits}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes))


def _vector(lanes: Lanes) -> Any:
    return ir.VectorType(ir.IntType(lanes.bits), lanes.count)


def tag_of(lanes: int) -> tuple[int, ...]:
    """Return the tag that stands for this many lanes, a multiple of 16."""
    return (0,) * (lanes // LANES_PER_TAG)


def splat(builder: Any, scalar: Any, vector: Any) -> Any:
    """Put one scalar into every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, undefined, order)


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Point at one value of an array of type ``kind``, counted as if the array were flat."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def zeros(typingctx: Any, array: Any, tag: Any) -> Any:
    """Return lanes of 0 with the integer type of ``array``: an empty accumulator."""
    made = Lanes(array.dtype.bitwidth, LANES_PER_TAG * len(tag))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_vector(made), None)

    return made(array, tag), generate


@intrinsic
def load(typingctx: Any, array: Any, index: Any, like: Any) -> Any:
    """Read as many values as ``like`` has lanes from a flat array, signs extended to its width."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = Lanes(array.dtype.bitwidth, like.count)
        at = pointer(context, builder, array, args[0], args[1])
        found = builder.load(builder.bitcast(at, _vector(source).as_pointer()))
        found.align = 1
        return builder.sext(found, _vector(like)) if source.bits < like.bits else found

    return like(array, types.intp, like), generate


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write lanes to a flat array of the same integer type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, array, args[0], args[1])
        builder.store(args[2], builder.bitcast(at, args[2].type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def widen(typingctx: Any, value: Any) -> Any:
    """Extend lanes to 32 bits, keeping their signs."""
    wide = Lanes(32, value.count)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sext(args[0], _vector(wide)) if value.bits < wide.bits else args[0]

    return wide(value), generate


@intrinsic
def fill(typingctx: Any, scalar: Any, like: Any) -> Any:
    """Put one integer into as many lanes as ``like`` has."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low = builder.trunc(args[0], ir.IntType(like.bits))
        return splat(builder, low, _vector(like))

    return like(types.int64, like), generate


def _elementwise(build: Callable[[Any, Any, Any], Any]) -> Any:
    """Make an operation on two values of the same lanes."""

    def operation(typingctx: Any, first: Any, second: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return build(builder, args[0], args[1])

        return first(first, first), generate

    return intrinsic(operation)


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


add = _elementwise(lambda builder, a, b: builder.add(a, b))
minimum = _elementwise(_smaller)
maximum = _elementwise(_larger)
shift_left = _elementwise(lambda builder, a, b: builder.shl(a, b))
shift_right = _elementwise(lambda builder, a, b: builder.ashr(a, b))


@intrinsic
def scale(typingctx: Any, value: Any, numerator: Any) -> Any:
    """Multiply by numerator / 4096, rounding toward zero; |value| <= 2^23, numerator 0..16383.

    The value is split at bit 12, so that both products fit 32 bits; each factor fits 16 bits with
    its sign, which the processor multiplies faster than 32. A negative value rounds up.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = builder.and_(
            builder.trunc(args[1], ir.IntType(32)), ir.Constant(ir.IntType(32), 0x7FFF)
        )
        return _scaled(builder, args[0], splat(builder, narrow, args[0].type))

    return value(value, types.int64), generate


@intrinsic
def scale_each(typingctx: Any, value: Any, numerators: Any) -> Any:
    """Do what :func:`scale` does with a numerator for each lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = ir.Constant(args[1].type, [0x7FFF] * value.count)
        return _scaled(builder, args[0], builder.and_(args[1], narrow))

    return value(value, value), generate


def _scaled(builder: Any, v: Any, k: Any) -> Any:
    """Multiply lanes by lanes whose numbers are known to fit 15 bits."""

    def constant(number: int) -> Any:
        return ir.Constant(v.type, [number] * v.type.count)

    # Left 4, right 16 is right 12, and tells the compiler that 16 bits hold the result.
    high = builder.ashr(builder.shl(v, constant(4)), constant(16))
    low = builder.and_(v, constant(4095))
    up = builder.and_(builder.ashr(v, constant(31)), constant(4095))
    rest = builder.ashr(builder.add(builder.mul(low, k), up), constant(12))
    return builder.add(builder.mul(high, k), rest)


@intrinsic
def scale_small(typingctx: Any, value: Any, numerator: Any) -> Any:
    """Do what :func:`scale` does, where |value| x numerator + 4095 stays below 2^31."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = args[0]
        k = splat(builder, builder.trunc(args[1], ir.IntType(32)), v.type)
        all_bits = ir.Constant(v.type, [4095] * value.count)
        up = builder.and_(builder.ashr(v, ir.Constant(v.type, [31] * value.count)), all_bits)
        rounded = builder.add(builder.mul(v, k), up)
        return builder.ashr(rounded, ir.Constant(v.type, [12] * value.count))

    return value(value, types.int64), generate


@intrinsic
def wrap(typingctx: Any, value: Any) -> Any:
    """Wrap once by 2^24 what lies outside (-2^23, 2^23]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u = args[0]

        def constant(number: int) -> Any:
            return ir.Constant(u.type, [number] * value.count)

        above = builder.icmp_signed(">", u, constant(1 << 23))
        below = builder.icmp_signed("<=", u, constant(-(1 << 23)))
        down = builder.select(above, constant(-(1 << 24)), constant(0))
        up = builder.select(below, constant(1 << 24), constant(0))
        return builder.add(u, builder.or_(down, up))

    return value(value), generate


@intrinsic
def exceeds(typingctx: Any, value: Any, limit: Any) -> Any:
    """Compare with a scalar: one bit per lane, 1 where the value is strictly larger."""
    mask = Lanes(1, value.count)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low = builder.trunc(args[1], ir.IntType(value.bits))
        return builder.icmp_signed(">", args[0], splat(builder, low, args[0].type))

    return mask(value, types.int64), generate


@intrinsic
def exceeds_each(typingctx: Any, value: Any, limits: Any) -> Any:
    """Do what :func:`exceeds` does with a limit for each lane."""
    mask = Lanes(1, value.count)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.icmp_signed(">", args[0], args[1])

    return mask(value, value), generate


@intrinsic
def take_off(typingctx: Any, value: Any, taken: Any, fired: Any) -> Any:
    """Subtract ``taken`` where ``fired`` has a 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[2], builder.sub(args[0], args[1]), args[0])

    return value(value, value, fired), generate


@intrinsic
def reset(typingctx: Any, value: Any, fired: Any) -> Any:
    """Put 0 where ``fired`` has a 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[1], ir.Constant(args[0].type, None), args[0])

    return value(value, fired), generate


@intrinsic
def count_fired(typingctx: Any, counts: Any, fired: Any) -> Any:
    """Add 1 where ``fired`` has a 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(args[0], builder.zext(args[1], args[0].type))

    return counts(counts, fired), generate


@intrinsic
def store_bits(typingctx: Any, array: Any, index: Any, fired: Any) -> Any:
    """Write one bit per lane to a flat byte array, lane 0 in the lowest bit of the first byte."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        packed = builder.bitcast(args[2], ir.IntType(fired.count))
        at = pointer(context, builder, array, args[0], args[1])
        builder.store(packed, builder.bitcast(at, packed.type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, fired), generate


@intrinsic
def fetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Read one integer, without the test for an index from the end that ``array[index]`` makes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.load(pointer(context, builder, array, args[0], args[1]))
        if array.dtype.bitwidth == 64:
            return found
        extend = builder.sext if array.dtype.signed else builder.zext
        return extend(found, ir.IntType(64))

    return types.int64(array, types.intp), generate


@intrinsic
def load_word(typingctx: Any, array: Any, index: Any) -> Any:
    """Read four bytes at any place of a byte array as one number, first byte lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, array, args[0], args[1])
        word = builder.load(builder.bitcast(at, ir.IntType(32).as_pointer()))
        word.align = 1
        return builder.zext(word, ir.IntType(64))

    return types.int64(array, types.intp), generate


@intrinsic
def add_looked_up(
    typingctx: Any, total: Any, table: Any, index: Any, word: Any, lookups: Any
) -> Any:
    """Add one table row for each group of 4 bits of ``word``, lowest first.

    The table holds 16 rows per group, of as many values as ``total`` has lanes; ``index`` is where
    the first group's rows begin, the length of the tuple ``lookups`` how many groups there are.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(table)(context, builder, args[1]).data
        width, i64 = ir.Constant(ir.IntType(64), total.count), ir.IntType(64)
        rows = []
        for group in range(len(lookups)):
            chosen = builder.and_(builder.lshr(args[3], i64(4 * group)), i64(15))
            first = builder.add(args[2], i64(16 * total.count * group))
            at = builder.gep(data, [builder.add(first, builder.mul(chosen, width))])
            row = builder.load(builder.bitcast(at, args[0].type.as_pointer()))
            row.align = 1
            rows.append(row)
        return reduce(builder.add, rows, args[0])

    return total(total, table, types.intp, types.int64, lookups), generate


@intrinsic
def copy_moved(typingctx: Any, target: Any, at: Any, table: Any, row: Any, offset: Any) -> Any:
    """Copy a row of 8 integers of 32 bits from a table to ``target[at:]``, ``offset`` added."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        eight = ir.VectorType(ir.IntType(32), 8)
        first = builder.mul(args[3], ir.IntType(64)(8))
        source = pointer(context, builder, table, args[2], first)
        found = builder.load(builder.bitcast(source, eight.as_pointer()))
        found.align = 1
        moved = builder.add(found, splat(builder, builder.trunc(args[4], eight.element), eight))
        goal = pointer(context, builder, target, args[0], args[1])
        builder.store(moved, builder.bitcast(goal, eight.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(target, types.intp, table, types.intp, types.int64), generate


@intrinsic
def add_product(typingctx: Any, total: Any, array: Any, index: Any, factor: Any) -> Any:
    """Add a row of 16-bit weights times one factor 0..255; exact, since 32 bits hold the sum."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weights = ir.VectorType(ir.IntType(array.dtype.bitwidth), total.count)
        at = pointer(context, builder, array, args[1], args[2])
        row = builder.load(builder.bitcast(at, weights.as_pointer()))
        row.align = 1
        small = builder.and_(builder.trunc(args[3], ir.IntType(32)), ir.IntType(32)(255))
        product = builder.mul(builder.sext(row, args[0].type), splat(builder, small, args[0].type))
        return builder.add(args[0], product)

    return total(total, array, types.intp, types.int64), generate


@intrinsic
def bits_of(typingctx: Any, array: Any, index: Any, mask: Any) -> Any:
    """Read 64 bytes; return one bit for each that has a bit of ``mask`` set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        many = ir.VectorType(ir.IntType(8), 64)
        at = pointer(context, builder, array, args[0], args[1])
        found = builder.load(builder.bitcast(at, many.as_pointer()))
        found.align = 1
        chosen = builder.and_(found, splat(builder, builder.trunc(args[2], many.element), many))
        set_bits = builder.icmp_unsigned("!=", chosen, ir.Constant(many, None))
        return builder.bitcast(set_bits, ir.IntType(64))

    return types.uint64(array, types.intp, types.int64), generate


@intrinsic
def store_word(typingctx: Any, array: Any, index: Any, word: Any) -> Any:
    """Write a 64-bit word to eight bytes at any place of a byte array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, array, args[0], args[1])
        builder.store(args[2], builder.bitcast(at, ir.IntType(64).as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), generate


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line at ``array[index]``, which may lie past the end."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        at = builder.bitcast(pointer(context, builder, array, args[0], args[1]), byte)
        builder.call(function, [at, i32(0), i32(3), i32(1)])  # read, keep in all caches, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def to_pointer(typingctx: Any, address: Any) -> Any:
    """Make a pointer of an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate
