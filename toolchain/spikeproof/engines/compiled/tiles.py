"""Integer matrix products on the tile registers (AMX) that some processors have.

One instruction multiplies 16 x 64 by 64 x 16 8-bit integers and adds the exact 32-bit sums to a
16 x 16 tile: a dense layer costs about as much as two per cent of its inputs would as events.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

ROWS, DEPTH, COLUMNS = 16, 64, 16
"""A tile holds 16 rows of 64 bytes: of spikes as bytes, or of weights, 4 inputs x 16 neurons."""
PAIR = 2
"""Products are made of 2 x 2 tiles at a time, so that each tile that is loaded is used twice."""
_REQUEST_PERMISSION, _TILE_DATA = 0x1023, 18
_ARCH_PRCTL = 158


@lru_cache(maxsize=1)
def available() -> bool:
    """Tell whether this processor has 8-bit tiles and the system lets this process use them."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return False  # numba was told to compile for another processor than this one
    features = llvm.get_host_cpu_features()
    if not (sys.platform == "linux" and features.get("amx-int8") and features.get("amx-tile")):
        return False
    # The kernel saves tile registers only for processes that asked (Documentation/arch/x86/xstate).
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def configuration() -> Any:
    """Return the 64 bytes that make all eight tiles 16 rows of 64 bytes."""
    made = np.zeros(64, np.uint8)
    made[0] = 1
    made[16:32:2] = DEPTH
    made[48:56] = ROWS
    return made


def weight_tiles(rows: Any) -> Any:
    """Arrange int8 weights (inputs, neurons) for tiles: (neurons / 32, inputs / 64, 2, 16, 64).

    Inputs are filled up to a multiple of 64, neurons to one of 32. A tile's row holds four
    inputs of each of 16 neurons, as the instruction wants them.
    """
    inputs, neurons = rows.shape
    depth, pairs = -(-inputs // DEPTH), -(-neurons // (PAIR * COLUMNS))
    full = np.zeros((depth * DEPTH, pairs * PAIR * COLUMNS), np.int8)
    full[:inputs, :neurons] = rows
    cut = full.reshape(depth, ROWS, 4, pairs, PAIR, COLUMNS)
    return np.ascontiguousarray(cut.transpose(3, 0, 4, 1, 5, 2))


def _call(builder: Any, name: str, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, arguments)


def _bytes_at(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.IntType(8).as_pointer())


@intrinsic
def configure(typingctx: Any, array: Any) -> Any:
    """Set the shapes of all tiles in this thread."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.IntType(64)(0)
        _call(builder, "llvm.x86.ldtilecfg", _bytes_at(context, builder, array, args[0], zero))
        return context.get_dummy_value()

    return types.void(array), generate


@intrinsic
def release(typingctx: Any) -> Any:
    """Give the tiles of this thread back."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _call(builder, "llvm.x86.tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def spread_bits(typingctx: Any, bits: Any, start: Any, target: Any, at: Any) -> Any:
    """Turn the 64 bits in the eight bytes at ``start`` into 64 bytes of 0 or 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        read = _bytes_at(context, builder, bits, args[0], args[1])
        word = builder.load(builder.bitcast(read, ir.IntType(64).as_pointer()))
        word.align = 1
        flags = builder.bitcast(word, ir.VectorType(ir.IntType(1), 64))
        wide = builder.zext(flags, ir.VectorType(ir.IntType(8), 64))
        write = _bytes_at(context, builder, target, args[2], args[3])
        builder.store(wide, builder.bitcast(write, wide.type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(bits, types.intp, target, types.intp), generate


@intrinsic
def multiply(
    typingctx: Any,
    rows: Any,
    row: Any,
    pitch: Any,
    weights: Any,
    tile: Any,
    sums: Any,
    at: Any,
    width: Any,
    depth: Any,
    halves: Any,
) -> Any:
    """Multiply 16 rows (32 if ``halves`` has two entries) by the weights of 32 neurons.

    rows: bytes from ``row`` on, ``pitch`` apart. weights: int8 tiles from ``tile`` on, ``depth``
    pairs. sums: int32 from ``at`` on, rows ``width`` apart. As many operands as the instructions
    have: a tuple of them would have to be taken apart in LLVM's language.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i8, i64 = ir.IntType(8), ir.IntType(64)
        row, pitch, tile, at, width, depth = (args[k] for k in (1, 2, 4, 6, 7, 8))
        blocks = range(len(halves))
        totals = [(h, c) for h in blocks for c in range(PAIR)]
        for number in range(len(totals)):
            _call(builder, "llvm.x86.tilezero", i8(number))
        with cgutils.for_range(builder, depth) as loop:
            for h in blocks:
                first = builder.add(row, builder.mul(pitch, i64(ROWS * h)))
                place = builder.add(first, builder.mul(loop.index, i64(DEPTH)))
                source = _bytes_at(context, builder, signature.args[0], args[0], place)
                _call(builder, "llvm.x86.tileloadd64", i8(4 + h), source, pitch)
            for c in range(PAIR):
                step = builder.mul(loop.index, i64(PAIR * ROWS * DEPTH))
                place = builder.add(builder.add(tile, step), i64(c * ROWS * DEPTH))
                source = _bytes_at(context, builder, signature.args[3], args[3], place)
                _call(builder, "llvm.x86.tileloadd64", i8(6 + c), source, i64(DEPTH))
            for number, (h, c) in enumerate(totals):
                _call(builder, "llvm.x86.tdpbssd", i8(number), i8(4 + h), i8(6 + c))
        for number, (h, c) in enumerate(totals):
            down = builder.mul(width, i64(ROWS * h))
            place = builder.add(builder.add(at, down), i64(COLUMNS * c))
            goal = _bytes_at(context, builder, signature.args[5], args[5], place)
            _call(builder, "llvm.x86.tilestored64", i8(number), goal, builder.mul(width, i64(4)))
        return context.get_dummy_value()

    number = types.int64
    kinds = (rows, number, number, weights, number, sums, number, number, number, halves)
    return types.void(*kinds), generate
