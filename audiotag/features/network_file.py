"""Files that hold a network, ONNX or tflite, opened by their runtimes: one input, one output, one thread."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiotag.console import as_called
from audiotag.errors import AudiotagError, Nearest

Shape = tuple[int | None, ...]  # None: any size
INSTALL = "pip install -e '.[embedding]'"


class NetworkFile(Protocol):
    """An opened network; it belongs to the process that has opened it."""

    takes: Shape
    """Shape of its input."""
    gives: str
    """Name of what it returns."""
    outputs: str
    """The outputs that it has, for people."""
    sample_rate_hz: int | None
    """Rate of the sound that it hears, if the file says so."""

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return what it makes of an input."""


def read_network(file: str, sha256: str | None) -> tuple[bytes, str]:
    """Return a file's content and its SHA-256; raises ValueError if it is missing, or not the one that is expected."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"{file}: there is no such file. Put it back, or a link to it")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, found):
        raise ValueError(
            f"{file} is another file than before: its SHA-256 was {sha256}, now {found}. Put the other back"
        )
    return content, found


def open_network(file: str, content: bytes, output: str | None) -> NetworkFile:
    """Open the network; `output` names one of several outputs, or a tensor inside of it.

    Raises ValueError for a file that is damaged or has not just one float32 input, AudiotagError without the runtime.
    """
    kinds: dict[str, type[Any]] = {".onnx": OnnxNetwork, ".tflite": TfliteNetwork}
    kind = kinds.get(Path(file).suffix.lower())
    if kind is None:
        raise ValueError(f"{file}: a network is an .onnx or a .tflite file")
    opened: NetworkFile = kind(file, content, output)
    return opened


class OnnxNetwork:
    """A network in ONNX Runtime."""

    def __init__(self, file: str, content: bytes, output: str | None) -> None:
        self._file, self._session = file, _session(file, content)
        named = {one.name: one for one in self._session.get_outputs()}
        if output is not None and output not in named:
            self._session = _session(file, _with_output(file, content, output))
            named = {one.name: one for one in self._session.get_outputs()}
        shapes = {name: _sizes(one.shape) for name, one in named.items()}
        self.gives, self.outputs = _chosen(file, shapes, output)
        inputs = self._session.get_inputs()
        _check_inputs(file, [(one.name, one.type == "tensor(float)") for one in inputs])
        self._takes, self.takes = inputs[0].name, _sizes(inputs[0].shape)
        said = self._session.get_modelmeta().custom_metadata_map.get("sample_rate", "")
        self.sample_rate_hz = int(said) if said.isdecimal() else None

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return what it makes of an input."""
        try:
            found: NDArray[np.floating] = self._session.run([self.gives], {self._takes: x})[0]
        except _raised() as error:
            raise _cannot(self._file, x, error) from error
        return found


class TfliteNetwork:
    """A network in LiteRT, which was TensorFlow Lite."""

    sample_rate_hz = None

    def __init__(self, file: str, content: bytes, output: str | None) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError as error:
            raise _missing(file, "ai-edge-litert") from error
        self._file, buffer = file, bytearray(content)
        outputs = _tflite_outputs(file, buffer, output)
        try:
            self._network = Interpreter(model_content=bytes(buffer), num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise _damaged(file, error) from error
        self.gives, self.outputs = _chosen(file, {name: shape for name, (_, shape) in outputs.items()}, output)
        self._gives = outputs[self.gives][0]
        inputs = self._network.get_input_details()
        _check_inputs(file, [(one["name"], one["dtype"] is np.float32) for one in inputs])
        self._takes, self.takes = inputs[0]["index"], _sizes(inputs[0].get("shape_signature", inputs[0]["shape"]))
        self._shape: tuple[int, ...] = ()

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return what it makes of an input."""
        try:
            if x.shape != self._shape:
                self._network.resize_tensor_input(self._takes, x.shape)
                self._network.allocate_tensors()
                self._shape = x.shape
            self._network.set_tensor(self._takes, x)
            self._network.invoke()
        except (ValueError, RuntimeError) as error:
            raise _cannot(self._file, x, error) from error
        found: NDArray[np.floating] = self._network.get_tensor(self._gives)
        return found


def _session(file: str, content: bytes) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise _missing(file, "onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # processes share the clips
    options.log_severity_level = 4  # errors are raised
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _raised() as error:
        raise _damaged(file, error) from error


def _raised() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises, which has no class of its own for all of it."""
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    kinds = (raised.Fail, raised.InvalidArgument, raised.InvalidGraph, raised.InvalidProtobuf, raised.NotImplemented)
    return (*kinds, raised.RuntimeException, RuntimeError)


def _with_output(file: str, content: bytes, name: str) -> bytes:
    """Return an ONNX file whose only output is a tensor inside of it."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise _missing(file, "onnx") from error
    model = onnx.load_model_from_string(content)
    inside = [output for node in model.graph.node for output in node.output]
    if name not in inside:
        raise ValueError(f"{file} has no output={name}{Nearest(inside)(name)}")
    model.graph.ClearField("output")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    made: bytes = model.SerializeToString()
    return made


def _tflite_outputs(file: str, buffer: bytearray, name: str | None) -> dict[str, tuple[int, Shape]]:
    """Return a file's outputs by name, index and shape; a tensor inside that is asked for becomes the first of them.

    LiteRT keeps no other tensor than the outputs, but for debugging. The index of an output is changed in place.
    """
    from ai_edge_litert import schema_py_generated as schema

    if not schema.Model.ModelBufferHasIdentifier(buffer, 0):
        raise _damaged(file, ValueError("no TFL3"))
    model = schema.Model.GetRootAs(buffer, 0)
    graph = model.Subgraphs(0)
    outputs, tensors = graph.OutputsAsNumpy(), [graph.Tensors(i) for i in range(graph.TensorsLength())]
    names = [one.Name().decode() for one in tensors]
    if name is not None and name not in [names[i] for i in outputs]:
        inside = [n for n, one in zip(names, tensors, strict=True) if not model.Buffers(one.Buffer()).DataLength()]
        if name not in inside:
            raise ValueError(f"{file} has no output={name}{Nearest(inside)(name)}")
        outputs[0] = names.index(name)
    return {names[i]: (int(i), tuple(int(size) for size in tensors[i].ShapeAsNumpy())) for i in outputs}


def _chosen(file: str, outputs: dict[str, Shape], output: str | None) -> tuple[str, str]:
    """Return the name of the output that is wanted, and all of them for people; raises ValueError if none is named."""
    shown = "its outputs are " + ", ".join(f"{name} {shape}" for name, shape in outputs.items())
    if output is None and len(outputs) > 1:
        raise ValueError(f"{file} has several outputs: name the one that is a vector with output=; {shown}")
    return (next(iter(outputs)) if output is None else output), shown


def _check_inputs(file: str, inputs: list[tuple[str, bool]]) -> None:
    if len(inputs) != 1 or not inputs[0][1]:
        names = ", ".join(f"{name}{'' if is_float else ' (not float32)'}" for name, is_float in inputs)
        raise ValueError(f"{file} takes {names or 'nothing'}: a network with one float32 input is needed")


def _sizes(shape: Any) -> Shape:
    """Return a shape in which -1, a name, and nothing stand for any size."""
    return tuple(int(size) if isinstance(size, int | np.integer) and size > 0 else None for size in shape)


def _cannot(file: str, x: NDArray[np.float32], error: Exception) -> ValueError:
    return ValueError(f"{file} cannot be asked about a window, {x.shape} as it takes them: {_first_line(error)}")


def _damaged(file: str, error: Exception) -> ValueError:
    why = "is damaged, or its weights lie in another file, or it is of another format"
    return ValueError(f"{file} {why} ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _missing(file: str, package: str) -> AudiotagError:
    return AudiotagError(f"{file} needs {package}, which is not installed: {as_called(INSTALL)}")
