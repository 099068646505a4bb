"""Make mutants of a Python module: the same file with one small fault each, in a fixed order.

Faults: a comparison's boundary, an arithmetic operator, a number, a boolean, a sign, a condition
negated or one of its parts left out, a call swapped for its opposite (min and max), a keyword
argument or a statement left out. Annotations, decorators, texts and class fields stay.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_PAIRS = "min max, minimum maximum, any all, floor ceil, argmin argmax, sf cdf, zeros ones"
CALLS = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
UNTOUCHED = {"annotation", "returns", "decorator_list", "bases"}


@dataclass(frozen=True)
class Mutant:
    """A module with one fault: where, what was changed (as source text), and its code."""

    function: str
    line: int
    change: str
    code: CodeType


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a file in the order of its lines."""
    for (function, line, change), tree in _faults(path):
        yield Mutant(function, line, change, compile(tree, str(path), "exec"))


def changes(path: Path) -> list[tuple[str, str]]:
    """List the function and the change of every mutant, without making any."""
    return [(function, change) for (function, _, change), _ in _faults(path)]


def _faults(path: Path) -> Iterator[tuple[tuple[str, int, str], ast.Module]]:
    """Yield what each fault is and the tree that has it, until the next one is asked for."""
    tree = ast.parse(path.read_text())
    seen: Counter[tuple[str, str]] = Counter()
    for function, parent, field, index, context in _places(tree):
        children = getattr(parent, field)
        old = children if index is None else children[index]
        variants = list(_variants(old))
        before = ast.unparse(context) if variants else ""
        for new in variants:
            ast.fix_missing_locations(ast.copy_location(new, old))
            _put(parent, field, index, new)
            after = ast.unparse(new if context is old else context)
            change = f"{_short(before)} -> {_short(after)}"
            seen[function, change] += 1
            if (nth := seen[function, change]) > 1:
                change += f" ({nth})"
            yield (function, old.lineno, change), tree
            _put(parent, field, index, old)


Place = tuple[str, ast.AST, str, int | None, ast.AST]


def _places(tree: ast.Module) -> Iterator[Place]:
    """Yield (function, parent, field, index, what to show) of every node that may change."""

    def walk(node: ast.AST, function: str, context: ast.AST) -> Iterator[Place]:
        in_class = isinstance(node, ast.ClassDef)
        for field, value in ast.iter_fields(node):
            if field in UNTOUCHED:
                continue
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or not hasattr(child, "lineno"):
                    if isinstance(child, ast.arguments | ast.comprehension):
                        yield from walk(child, function, context)
                    continue
                if _is_reshape(node) and isinstance(child, ast.UnaryOp):
                    continue  # NumPy takes every negative size for the rest
                name = function
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    name = f"{function}.{child.name}".lstrip(".")
                elif in_class:
                    continue
                shown = node if isinstance(node, ast.expr | ast.keyword) else child
                if isinstance(child, ast.Constant) and isinstance(node, ast.Tuple | ast.UnaryOp):
                    shown = context
                yield name, node, field, index if isinstance(value, list) else None, shown
                yield from walk(child, name, shown)

    yield from walk(tree, "", tree)


def _is_reshape(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) == "reshape"


def _name(function: ast.AST) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _short(text: str) -> str:
    return " ".join(text.split())[:160]


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            ops = [*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]]
            yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_type(node):
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield from map(ast.Constant, _numbers(node.value))
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.If | ast.IfExp):
        opposite = ast.UnaryOp(ast.Not(), node.test)
        yield type(node)(opposite, node.body, node.orelse)
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
        yield ast.Pass()
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def _is_type(node: ast.BinOp) -> bool:
    """Tell whether this is a union of types, such as ``Conv2d | chip.ConvSynapse``."""
    if not isinstance(node.op, ast.BitOr):
        return False
    name = _name(node.right)
    return name[:1].isupper() or name == "None"


def _numbers(value: bool | int | float) -> list[bool | int | float]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    return [value / 2 if value else 1.0]


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in CALLS:
        swapped = ast.Attribute(function.value, CALLS[function.attr], ast.Load())
        yield ast.Call(swapped, node.args, node.keywords)
    elif isinstance(function, ast.Name) and function.id in CALLS:
        yield ast.Call(ast.Name(CALLS[function.id], ast.Load()), node.args, node.keywords)
    if _name(function) == "abs":
        yield node.args[0]
    for i in range(len(node.keywords)):
        yield ast.Call(function, node.args, node.keywords[:i] + node.keywords[i + 1 :])
