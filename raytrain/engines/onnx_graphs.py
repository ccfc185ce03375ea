"""Trees and lines as ONNX graphs from `x` (n, features) to `y` (n, 1, levels)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from raytrain.engines.linear import LinearForecast

_OPSET, _OPSET_TREES, _IR = 18, 3, 10


def lightgbm_graph(boosters: Sequence[Any], num_features: int) -> bytes:
    """One booster per level.

    Args:
        boosters: of `lightgbm`.
        num_features: that they read.
    """
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    kinds = [("x", FloatTensorType([None, num_features]))]
    return _joined([onnxmltools.convert_lightgbm(one, initial_types=kinds, zipmap=False) for one in boosters])


def xgboost_graph(booster: Any, num_features: int) -> bytes:
    """One booster, of one level or of all."""
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    made = onnxmltools.convert_xgboost(booster, initial_types=[("x", FloatTensorType([None, num_features]))])
    attributes = {one.name: one for one in made.graph.node[0].attribute}
    if "n_targets" in attributes and (levels := attributes["n_targets"].i) > 1:
        # XGBoost grows a tree for each level in turn; the converter gives all of them to the first.
        ids = [tree % levels for tree in attributes["target_treeids"].ints]
        attributes["target_ids"].ints[:] = ids
    return _joined([made])


def _joined(models: Sequence[Any]) -> bytes:
    """Graphs over one input side by side: their values (n, k) become the levels of one output."""
    from onnx import compose, helper

    nodes, initializers, values = [], [], []
    for place, model in enumerate(models):
        part = compose.add_prefix(model, f"{place}_").graph
        nodes += [helper.make_node("Identity", ["x"], [part.input[0].name]), *part.node]
        initializers += part.initializer
        # A classifier gives the label, then the probabilities of 0 and 1.
        is_classifier = len(part.output) > 1
        values.append(f"{place}_values")
        bounds = _constants(f"{place}", first=[1] if is_classifier else [0], end=[2**31 - 1], axis=[1])
        initializers += bounds
        nodes.append(helper.make_node("Slice", [part.output[-1].name, *(one.name for one in bounds)], values[-1:]))
    axis = _constants("joined", axis=[1])
    nodes += [
        helper.make_node("Concat", values, ["levels"], axis=1),
        helper.make_node("Unsqueeze", ["levels", axis[0].name], ["y"]),
    ]
    return _graph(nodes, [*initializers, *axis], models[0].graph.input[0].type.tensor_type.shape.dim[1].dim_value)


def linear_graph(forecast: "LinearForecast", num_features: int) -> bytes:
    """A line over numbers and over flags of codes, and what lies around it, or the probability of its log odds."""
    from onnx import helper

    codes = dict(forecast.indicators.codes)
    others = np.array([column for column in range(num_features) if column not in codes], dtype=np.int64)
    slope = forecast.line.slope.astype(np.float32)
    constants = _constants("line", others=others, slope=slope[: len(others), None], level=[forecast.line.intercept])
    nodes = [
        helper.make_node("Gather", ["x", "line_others"], ["numbers"], axis=1),
        helper.make_node("MatMul", ["numbers", "line_slope"], ["sum"]),
        helper.make_node("Add", ["sum", "line_level"], ["score"]),
    ]
    score, used = "score", len(others)
    for column, known in codes.items():
        names, weights = f"code{column}", slope[used : used + len(known), None]
        constants += _constants(names, column=[column], known=np.array([known], dtype=np.float32), slope=weights)
        nodes += [
            helper.make_node("Gather", ["x", f"{names}_column"], [f"{names}_x"], axis=1),
            helper.make_node("Equal", [f"{names}_x", f"{names}_known"], [f"{names}_is"]),
            helper.make_node("Cast", [f"{names}_is"], [f"{names}_flags"], to=1),
            helper.make_node("MatMul", [f"{names}_flags", f"{names}_slope"], [f"{names}_sum"]),
            helper.make_node("Add", [score, f"{names}_sum"], [f"{names}_score"]),
        ]
        score, used = f"{names}_score", used + len(known)
    constants += _constants("around", levels=[forecast.around or (0.0,)], axis=[1])
    last = helper.make_node("Sigmoid", [score], ["levels"])
    if forecast.around is not None:
        last = helper.make_node("Add", [score, "around_levels"], ["levels"])
    nodes += [last, helper.make_node("Unsqueeze", ["levels", "around_axis"], ["y"])]
    return _graph(nodes, constants, num_features)


def _constants(prefix: str, **values: Any) -> list[Any]:
    """Named arrays: int64 where they are whole, float32 otherwise."""
    from onnx import numpy_helper

    arrays = {name: np.asarray(value) for name, value in values.items()}
    kinds = {name: np.int64 if array.dtype.kind == "i" else np.float32 for name, array in arrays.items()}
    return [numpy_helper.from_array(array.astype(kinds[name]), f"{prefix}_{name}") for name, array in arrays.items()]


def _graph(nodes: Sequence[Any], initializers: Sequence[Any], num_features: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", num_features])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1, None])
    graph = helper.make_graph(nodes, "raytrain", [x], [y], initializers)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _OPSET_TREES)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="raytrain")
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
