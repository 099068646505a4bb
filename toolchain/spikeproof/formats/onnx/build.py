"""Collect the nodes and constants of an ONNX graph, each under a name a reader can place.

A node is called after the one value it makes, ``LAYER/what``; constants likewise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikeproof.errors import MissingExtraError
from spikeproof.extras import install_command, need

CAST_TO = {"bool": 9, "uint8": 2, "int32": 6, "int64": 7, "float32": 1}
"""Element types by NumPy name, as numbered by the standard (TensorProto.DataType)."""


RUNTIME_MIN = (1, 15)
"""The oldest ONNX Runtime tested; 1.13 has no Clip for integers and refuses the models."""


def check_runtime(version: str) -> None:
    """Raise MissingExtraError if this ONNX Runtime is too old for the models written here."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < RUNTIME_MIN:
        least = ".".join(map(str, RUNTIME_MIN))
        raise MissingExtraError(
            f"ONNX Runtime {version} is too old; the models need {least} or later",
            where="ONNX",
            hint=f"Install: {install_command('onnx')}",
        )


def need_onnx(*modules: str) -> None:
    """Raise MissingExtraError if one of the modules (default: onnx) is not installed."""
    need(*modules or ("onnx",), extra="onnx", purpose="ONNX")


class GraphBuilder:
    """A graph under construction; with ``parent`` the body of a loop inside another graph.

    ``scope`` begins the names of a body's shared numbers.
    """

    def __init__(self, parent: GraphBuilder | None = None, scope: str = "") -> None:
        self._scope = scope
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._constants: dict[str, Any] = {}
        # A body may not use a name of the graph around it again: the names are kept in common.
        self._names: set[str] = set() if parent is None else parent._names
        self._outermost: GraphBuilder = self if parent is None else parent._outermost
        self._shared: dict[Any, str] = {}

    def op(
        self, kind: str, inputs: Sequence[str], name: str, *, doc: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output; node and output are both called ``name``."""
        return self.node(kind, inputs, [name], name, doc=doc, **attributes)[0]

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        *,
        doc: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node with several outputs."""
        from onnx import helper

        for output in outputs:
            self._claim(output)
        text = doc or None  # an empty text would still be stored
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=name, doc_string=text, **attributes)
        )
        return list(outputs)

    def cast(self, value: str, kind: str, name: str, *, doc: str = "") -> str:
        """Convert to another element type, "int32" for example."""
        return self.op("Cast", [value], name, doc=doc, to=CAST_TO[kind])

    def zeros(self, shape: str, name: str, kind: str = "int32") -> str:
        """Make zeros of a shape that is known when the model runs."""
        from onnx import numpy_helper

        value = numpy_helper.from_array(np.zeros(1, kind), "value")
        return self.op("ConstantOfShape", [shape], name, value=value)

    def constant(self, name: str, value: Any, kind: str) -> str:
        """Store an array (or a number) under ``name``."""
        from onnx import numpy_helper

        self._claim(name)
        array = np.ascontiguousarray(np.asarray(value)).reshape(np.shape(value))
        self._constants[name] = numpy_helper.from_array(array.astype(kind), name)
        return name

    def shared(self, key: Any, name: str, value: Any, kind: str) -> str:
        """Store an array in the outermost graph, once for each key, and return its name."""
        top = self._outermost
        if key not in top._shared:
            top._shared[key] = top.constant(name, value, kind)
        return top._shared[key]

    def number(self, value: int, kind: str = "int32") -> str:
        """Return a scalar constant, stored once per graph and named after its value."""
        name = f"{self._scope}{kind}:{value}"
        return name if name in self._constants else self.constant(name, value, kind)

    def value(self, name: str, kind: str, shape: Sequence[int | str]) -> Any:
        """Describe a graph input or output."""
        from onnx import helper

        return helper.make_tensor_value_info(name, CAST_TO[kind], list(shape))

    def input(self, name: str, kind: str, shape: Sequence[int | str]) -> str:
        """Declare an input of the graph."""
        self._claim(name)
        self.inputs.append(self.value(name, kind, shape))
        return name

    def default_input(self, name: str, value: Any, kind: str) -> str:
        """Declare an input that may be left out: an initializer of its name is its value."""
        constant = self.constant(name, value, kind)
        self.inputs.append(self.value(name, kind, np.shape(value)))
        return constant

    def output(self, name: str, kind: str, shape: Sequence[int | str]) -> None:
        """Declare an output of the graph."""
        self.outputs.append(self.value(name, kind, shape))

    def graph(self, name: str, doc: str) -> Any:
        """Return the finished graph."""
        from onnx import helper

        constants = list(self._constants.values())
        return helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, constants, doc_string=doc
        )

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise ValueError(f"the value {name!r} is made twice")
        self._names.add(name)
