"""Parts of an ONNX graph: nodes and constants, written as text or exported from PyTorch, and put together by name."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper, parser
from torch import Tensor, nn

from audiotag.errors import AudiotagError

OPSET = 20  # ONNX Runtime Web knows it, too
MISSING = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")


@dataclass(frozen=True)
class Part:
    """Nodes, in the order in which they are computed, and constants."""

    nodes: list[NodeProto]
    constants: list[TensorProto]

    def __add__(self, other: Part) -> Part:
        return Part(self.nodes + other.nodes, self.constants + other.constants)

    @classmethod
    def of(
        cls, text: str, constants: Mapping[str, NDArray[Any] | np.generic], prefix: str, keep: tuple[str, ...] = ()
    ) -> Part:
        """Return the part that a text in ONNX's own syntax describes, all names but those to `keep` with a prefix."""
        nodes = list(parser.parse_graph(f"part () => () {{{text}}}").node)
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        return _renamed(nodes, tensors, lambda name: name if name in keep else f"{prefix}{name}")


def _renamed(nodes: list[NodeProto], tensors: list[TensorProto], new: Callable[[str], str]) -> Part:
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [name and new(name) for name in names]  # "" is an input that is left out
        node.name = node.output[0]
    for tensor in tensors:
        tensor.name = new(tensor.name)
    return Part(nodes, tensors)


def exported(module: nn.Module, x: Tensor, dynamic: dict[int, str], prefix: str, takes: str, gives: str) -> Part:
    """Return the part that computes `gives` of `takes` as a module does, for any size of the `dynamic` axes of x.

    Raises AudiotagError, with the operator, if PyTorch cannot express it in ONNX.
    """
    axes = dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC)
    screen = io.StringIO()
    with torch.inference_mode():
        module.eval()(x)  # what it works out once is not to be traced
    try:
        # It prints its progress, and warns of its own internals; what is wrong is raised.
        with contextlib.redirect_stdout(screen), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (x,), dynamo=True, dynamic_shapes=(axes,), opset_version=OPSET, verbose=False
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise AudiotagError(f"{_name(module)} cannot be written as ONNX: {_reason(error)}") from error
    assert program is not None, "the exporter returns a program, or raises"
    graph = program.model_proto.graph
    ends = {graph.input[0].name: takes, graph.output[0].name: gives}
    return _renamed(list(graph.node), list(graph.initializer), lambda name: ends.get(name, f"{prefix}{name}"))


def _name(module: nn.Module) -> str:
    named = getattr(module, "of", module)  # the network, of what is wrapped around it
    return f"{type(named).__module__}.{type(named).__qualname__}"


def _reason(error: BaseException) -> str:
    """Return the operator that ONNX lacks, or what else the innermost error says, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lacking = MISSING.search(str(error))
    if lacking:
        return f"there is no operator for {lacking[1]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def model_of(part: Part, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> onnx.ModelProto:
    """Return a float32 model of a part; `inputs` and `outputs` are names with shapes, in which words are free sizes."""
    takes, gives = (
        [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in named.items()]
        for named in (inputs, outputs)
    )
    used = {name for node in part.nodes for name in node.input}
    constants = {tensor.name: tensor for tensor in part.constants if tensor.name in used}  # some are shared
    graph = onnx.helper.make_graph(part.nodes, "audiotag", takes, gives, list(constants.values()))
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10, producer_name="audiotag"
    )
