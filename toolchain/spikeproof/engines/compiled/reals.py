"""Real numbers in vector registers, for sums whose length is known before the loop begins.

The optimiser's own vectors work through a loop 32 numbers at a time and what is left one by one:
the rows of weights of small networks, 24 or 48 numbers, are mostly left. Here a sum of up to 64
numbers lives in registers while rows are added to it, see :mod:`spikeproof.engines.compiled.lanes`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from spikeproof.engines.compiled.lanes import pointer, splat

REALS_PER_TAG = 8
MOST_REALS = 64
"""With more, sums would not stay in registers."""
_FUSED = ("contract",)
"""A product may be added without being rounded first."""


class Reals(types.Type):
    """The numba type of ``count`` floating-point numbers of ``bits`` bits in registers."""

    def __init__(self, bits: int, count: int) -> None:
        self.bits, self.count = bits, count
        super().__init__(name=f"Reals({bits}, {count})")


@register_model(Reals)
class _RealsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, reals: Reals) -> None:
        super().__init__(manager, reals, _vector(reals))


def _vector(reals: Reals) -> Any:
    element = ir.FloatType() if reals.bits == 32 else ir.DoubleType()
    return ir.VectorType(element, reals.count)


def tag_of_reals(count: int) -> tuple[int, ...]:
    """Return the tag that stands for at least this many numbers, or for the most.

    It is a power of two: others are no registers to the compiler.
    """
    held = REALS_PER_TAG
    while held < min(count, MOST_REALS):
        held *= 2
    return (0,) * (held // REALS_PER_TAG)


@intrinsic
def no_reals(typingctx: Any, array: Any, tag: Any) -> Any:
    """Return zeros of the type of ``array``: an empty sum."""
    made = Reals(array.dtype.bitwidth, REALS_PER_TAG * len(tag))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_vector(made), None)

    return made(array, tag), generate


@intrinsic
def store_reals(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write numbers to ``array``, counted as if it were flat, from ``index``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, array, args[0], args[1])
        builder.store(args[2], builder.bitcast(at, args[2].type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def add_reals(typingctx: Any, total: Any, array: Any, index: Any) -> Any:
    """Add as many numbers of ``array``, counted as if it were flat, from ``index``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _row(context, builder, array, args)
        return builder.fadd(args[0], row)

    return total(total, array, types.intp), generate


@intrinsic
def add_times(typingctx: Any, total: Any, array: Any, index: Any, factor: Any) -> Any:
    """Add as many numbers of ``array`` from ``index``, each times ``factor``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _row(context, builder, array, args)
        times = splat(builder, args[3], args[0].type)
        product = builder.fmul(row, times, flags=_FUSED)
        return builder.fadd(args[0], product, flags=_FUSED)

    return total(total, array, types.intp, array.dtype), generate


def _row(context: Any, builder: Any, array: Any, args: Any) -> Any:
    at = pointer(context, builder, array, args[1], args[2])
    row = builder.load(builder.bitcast(at, args[0].type.as_pointer()))
    row.align = 1
    return row


@intrinsic
def not_zero(typingctx: Any, array: Any, index: Any) -> Any:
    """Look at 64 numbers of ``array``, counted as if it were flat: one bit for each that is not 0.

    The first has the lowest bit.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(array.dtype)
        many = ir.VectorType(element, 64)
        at = pointer(context, builder, array, args[0], args[1])
        found = builder.load(builder.bitcast(at, many.as_pointer()))
        found.align = 1
        zero = ir.Constant(many, None)
        if isinstance(element, ir.IntType):
            set_bits = builder.icmp_unsigned("!=", found, zero)
        else:
            set_bits = builder.fcmp_unordered("!=", found, zero)
        return builder.bitcast(set_bits, ir.IntType(64))

    return types.uint64(array, types.intp), generate


@intrinsic
def lowest(typingctx: Any, word: Any) -> Any:
    """Return which is the lowest bit set; of 0: 64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return types.int64(types.uint64), generate
