"""A Keras model as an ONNX graph, on either backend. Used in keras processes only."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from raytrain.engines.base import FloatArray

_OPSET = 18


def from_tensorflow(model: Any, num_features: int) -> bytes:
    """By tf2onnx, with what it does not know: TensorFlow computes GELU by `erfc`, ONNX has `Erf` alone."""
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((None, num_features), tf.float32, name="x")]
    graph = tf.function(lambda x: model(x, training=False), autograph=False)
    made, _ = tf2onnx.convert.from_function(
        graph, input_signature=signature, opset=_OPSET, custom_op_handlers={"Erfc": (_one_minus_erf, [])}
    )
    captured = {inside.name: outside for outside, inside in graph.get_concrete_function(*signature).graph.captures}
    return _closed(made, captured)


def _one_minus_erf(context: Any, node: Any, name: str, args: Any) -> None:
    import tf2onnx

    shapes, kinds = node.output_shapes, node.output_dtypes
    context.remove_node(node.name)
    erf = context.make_node("Erf", node.input, shapes=shapes, dtypes=kinds)
    one = context.make_const(tf2onnx.utils.make_name("one"), np.array(1, dtype=np.float32))
    inputs = [one.output[0], erf.output[0]]
    context.make_node("Sub", inputs, outputs=node.output, shapes=shapes, dtypes=kinds)


def _closed(model: Any, captured: Mapping[str, Any]) -> bytes:
    """With `x` as the only input and an output called `y`: what the net holds beside its weights becomes constant."""
    from onnx import helper, numpy_helper

    graph = model.graph
    for one in [one for one in graph.input if one.name != "x"]:
        graph.initializer.append(numpy_helper.from_array(captured[one.name].numpy(), one.name))
        graph.input.remove(one)
    (output,) = graph.output
    graph.node.append(helper.make_node("Identity", [output.name], ["y"]))
    output.name = "y"
    content: bytes = model.SerializeToString()
    return content


def from_torch(model: Any, x: FloatArray) -> bytes:
    """By `torch.export`: on this backend a Keras model is a torch module."""
    import torch

    class Forecasts(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(x, training=False)

    program = torch.onnx.export(
        Forecasts().eval(),
        (torch.from_numpy(np.ascontiguousarray(x)),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("rows")},),
        input_names=["x"],
        output_names=["y"],
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
