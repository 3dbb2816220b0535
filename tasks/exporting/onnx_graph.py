"""A Keras classifier as an ONNX graph.

It leads from raw pixels to calibrated probabilities. The same weights give the same bytes, with every backend of
Keras. Inside, images are (n, channels, height, width), as
ONNX has them. `LAYERS` lists the layers that can be written; that the graph predicts the same is measured by stage
export.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tasks import errors
from tasks.device.backend import keras
from tasks.exporting.about import ENTRY, About, write_about

OPSET, IR_VERSION = 20, 9  # of 2023: the first with GELU
INPUT, OUTPUT = "pixels", "probabilities"
TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


class Graph:
    """Nodes and weights, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """Add an array, and return its name."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype, order="C"), name))
        return name


def write_onnx(model: keras.Model, about: About) -> bytes:
    """Write a classifier as the bytes of an ONNX file.

    Its input `pixels` is uint8 of shape (n, height, width, 3), its output `probabilities` float32 of shape
    (n, n_classes): softmax(logits / about.temperature). Its metadata has `about`.

    Raises
    ------
    tasks.errors.RefusedError
        If the model has a layer that is not in `LAYERS`.
    """
    graph = Graph()
    pixels = graph.add("Cast", INPUT, to=TensorProto.FLOAT)
    outputs = {model.inputs[0].name: graph.add("Transpose", pixels, perm=TO_CHANNELS_FIRST)}
    for layer in model.layers[1:]:
        if (write := LAYERS.get(type(layer).__name__)) is None:
            raise errors.RefusedError(
                f"models are exported with these layers: {', '.join(LAYERS)}; received {type(layer).__name__} in "
                f"{layer.name}; take onnx out of export.formats"
            )
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        outputs[layer.output.name] = write(graph, layer, *(outputs[tensor.name] for tensor in inputs))
    logits = outputs[model.outputs[0].name]
    scaled = graph.add("Div", logits, graph.constant(about.temperature or 1.0))
    graph.nodes.append(helper.make_node("Softmax", [scaled], [OUTPUT], axis=1))
    height, width, channels = model.input_shape[1:]
    described = helper.make_graph(
        graph.nodes,
        "classifier",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", height, width, channels])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", model.output_shape[1]])],
        graph.weights,
    )
    proto = helper.make_model(described, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(proto, {ENTRY: write_about(about)})
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _normalization(graph: Graph, layer: Any, x: str) -> str:
    mean, variance = (_by_channel(keras.ops.convert_to_numpy(values)) for values in (layer.mean, layer.variance))
    centered = graph.add("Sub", x, graph.constant(mean))
    return graph.add("Div", centered, graph.constant(np.maximum(np.sqrt(variance), keras.config.epsilon())))


def _rescaling(graph: Graph, layer: Any, x: str) -> str:
    scaled = graph.add("Mul", x, graph.constant(layer.scale))
    return graph.add("Add", scaled, graph.constant(layer.offset))


def _resizing(graph: Graph, layer: Any, x: str) -> str:
    sizes = graph.constant([layer.height, layer.width], np.int64)
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": [2, 3]}
    return graph.add("Resize", x, "", "", sizes, **how)


def _convolution(graph: Graph, layer: Any, x: str) -> str:
    kernel, *bias = layer.get_weights()
    return _convolve(graph, layer, x, kernel.transpose(3, 2, 0, 1), bias)


def _depthwise_convolution(graph: Graph, layer: Any, x: str) -> str:
    kernel, *bias = layer.get_weights()
    height, width, channels, multiplier = kernel.shape
    one_by_one = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return _convolve(graph, layer, x, one_by_one, bias, group=channels)


def _convolve(
    graph: Graph, layer: Any, x: str, kernel: NDArray[Any], bias: list[NDArray[Any]], **attributes: Any
) -> str:
    weights = [graph.constant(values) for values in (kernel, *bias)]
    attributes |= {"kernel_shape": kernel.shape[2:], "strides": layer.strides, "auto_pad": _padding(layer)}
    return _activate(graph, layer, graph.add("Conv", x, *weights, dilations=layer.dilation_rate, **attributes))


def _dense(graph: Graph, layer: Any, x: str) -> str:
    kernel, *bias = layer.get_weights()
    return _activate(graph, layer, graph.add("Gemm", x, *(graph.constant(values) for values in (kernel, *bias))))


def _batch_normalization(graph: Graph, layer: Any, x: str) -> str:
    mean, variance = (keras.ops.convert_to_numpy(values) for values in (layer.moving_mean, layer.moving_variance))
    scale = keras.ops.convert_to_numpy(layer.gamma) if layer.scale else np.ones_like(mean)
    shift = keras.ops.convert_to_numpy(layer.beta) if layer.center else np.zeros_like(mean)
    weights = (graph.constant(values) for values in (scale, shift, mean, variance))
    return graph.add("BatchNormalization", x, *weights, epsilon=layer.epsilon)


def _max_pooling(graph: Graph, layer: Any, x: str) -> str:
    return graph.add("MaxPool", x, kernel_shape=layer.pool_size, strides=layer.strides, auto_pad=_padding(layer))


def _pool_whole(operator: str) -> Callable[..., str]:
    def write(graph: Graph, layer: Any, x: str) -> str:
        return graph.add("Flatten", graph.add(operator, x))

    return write


def _flatten(graph: Graph, layer: Any, x: str) -> str:
    """Flatten in Keras' order, channels last."""
    return graph.add("Flatten", graph.add("Transpose", x, perm=TO_CHANNELS_LAST))


def _activate(graph: Graph, layer: Any, x: str) -> str:
    function = getattr(layer.activation, "__name__", type(layer).__name__)
    if function not in ACTIVATIONS:
        rule = f"activations are exported of these kinds: {', '.join(ACTIVATIONS)}"
        raise errors.RefusedError(f"{rule}; received {function} in {layer.name}; take onnx out of export.formats")
    return ACTIVATIONS[function](graph, x)


def _padding(layer: Any) -> str:
    return {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]


def _by_channel(values: Any) -> NDArray[Any]:
    return np.reshape(values, (1, -1, 1, 1))


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "linear": lambda graph, x: x,
    "relu": lambda graph, x: graph.add("Relu", x),
    "relu6": lambda graph, x: graph.add("Clip", x, graph.constant(0), graph.constant(6)),
    "gelu": lambda graph, x: graph.add("Gelu", x),
}
LAYERS: dict[str, Callable[..., str]] = {
    "Activation": _activate,
    "Add": lambda graph, layer, *inputs: graph.add("Add", *inputs),
    "BatchNormalization": _batch_normalization,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_convolution,
    "Dropout": lambda graph, layer, x: x,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _pool_whole("GlobalAveragePool"),
    "GlobalMaxPooling2D": _pool_whole("GlobalMaxPool"),
    "MaxPooling2D": _max_pooling,
    "Normalization": _normalization,
    "ReLU": lambda graph, layer, x: graph.add("Relu", x),
    "Rescaling": _rescaling,
    "Resizing": _resizing,
}
