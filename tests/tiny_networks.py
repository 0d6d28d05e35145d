"""Tiny networks in files, ONNX and tflite, as others hand on theirs: numbers drawn from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def drawn(seed: int, *shape: int) -> np.ndarray:
    """Return the weights (shape) of a seed."""
    return np.random.default_rng(seed).normal(0, shape[0] ** -0.5, shape).astype(np.float32)


def write_onnx(
    path: Path, takes: list[Any], size: int, values: int = 8, seed: int = 0, several: bool = False, **metadata: str
) -> Path:
    """Write a network of two layers: `takes`, with `size` numbers in all, to `embedding`, to `classes`, its output."""
    import onnx
    from onnx import helper

    constants = {"shape": np.array([1, size]), "first": drawn(seed, size, values), "second": drawn(seed + 1, values, 3)}
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["sums"]),
        helper.make_node("Tanh", ["sums"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "second"], ["classes"]),
    ]
    sizes = {"embedding": values, "classes": 3} if several else {"classes": 3}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, n]) for name, n in sizes.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def write_tflite(path: Path, samples: int, values: int = 8, seed: int = 0) -> Path:
    """Write the same without the hyperbolic tangent: x (1, samples) to `embedding`, to `classes`, its output."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], buffer: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name, shape, buffer, schema.TensorType.FLOAT32
        return made

    def dense(inputs: list[int], output: int) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = 0, [*inputs, -1], [output]
        made.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        made.builtinOptions = schema.FullyConnectedOptionsT()
        return made

    graph, code, model = schema.SubGraphT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors = [
        tensor("x", [1, samples], 0),
        tensor("first", [values, samples], 1),
        tensor("embedding", [1, values], 0),
        tensor("second", [3, values], 2),
        tensor("classes", [1, 3], 0),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [4], [dense([0, 1], 2), dense([2, 3], 4)]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
    for weights in (drawn(seed, samples, values), drawn(seed + 1, values, 3)):
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(weights.T).tobytes(), np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path
