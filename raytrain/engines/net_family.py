"""A family whose model is a net: everything but the net itself."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, OnnxModel, RowIndices, Samples
from raytrain.engines.epochs import Forward, Learner, NetParams, NetShape, predict, train
from raytrain.engines.files import read_params, write_params
from raytrain.engines.platt import Platt
from raytrain.engines.training import teaching_rows

N = TypeVar("N", bound=NetParams)


class NetLibrary(Protocol):
    """What `torch_loop` and `keras_loop` offer; a net is whatever the library calls one."""

    def prepare(self, context: FitContext) -> None:
        """Seed, cap the threads, choose determinism: before the net is built."""

    def learner(self, net: Any, shape: NetShape, params: NetParams, context: FitContext) -> Learner:
        """The net, ready to be trained on the context's device."""

    def forward(self, net: Any, shape: NetShape) -> Forward:
        """The trained net as a function, on the CPU."""

    def to_onnx(self, net: Any, shape: NetShape, x: FloatArray) -> bytes:
        """What `forward` does as an ONNX graph from `x` to `y`; `x` are a few inputs."""

    def save(self, net: Any, folder: Path) -> None:
        """Write the net, without pickle."""

    def load(self, build: Callable[[], Any], folder: Path) -> Any:
        """Read what `save` wrote; `build` makes an untrained net of the same shape."""


class NetFamily(Family[N]):
    """Trained by `epochs.train` in the family's engine; a subclass says what the net is.

    The probability of a binary target is calibrated on the rows kept aside for early stopping.
    """

    scaled = True
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})
    version = 2

    @abstractmethod
    def build(self, shape: NetShape) -> Any:
        """An untrained net; its random start comes from the library's seed."""

    @classmethod
    def set_up(cls, context: FitContext) -> None:
        cls._library().prepare(context)

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows = teaching_rows(data, context, self.tasks, self.params.valid_share)
        self._library().prepare(context)
        self._shape = NetShape.of(data, context, self.params.batch_size)
        self._net = self.build(self._shape)
        learner = self._library().learner(self._net, self._shape, self.params, context)
        train(learner, data, rows, self.params, context)
        self._forward = self._library().forward(self._net, self._shape)
        self._calibration = self._calibrate(data, rows.tail) if context.task == "binary" else None
        return self

    def _calibrate(self, data: FitData, tail: RowIndices) -> Platt | None:
        """From the rows kept aside, which chose the best weights but taught none; None without any."""
        if len(tail) == 0:
            return None
        return Platt.fit(data.y[tail], self._predict_rows(data.x, tail), data.weight[tail])

    def predict(self, x: Samples) -> FloatArray:
        predicted = self._predict_rows(x, np.arange(len(x)))
        return predicted if self._calibration is None else self._calibration.apply(predicted)

    def _predict_rows(self, x: Samples, rows: RowIndices) -> FloatArray:
        return predict(self._forward, x, rows, self.params.batch_size)

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        calibration = None if self._calibration is None else asdict(self._calibration)
        return OnnxModel(content=self._library().to_onnx(self._net, self._shape, x), calibration=calibration)

    def save(self, folder: Path) -> None:
        calibration = None if self._calibration is None else asdict(self._calibration)
        write_params(folder, self, {"shape": asdict(self._shape), "calibration": calibration})
        self._library().save(self._net, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._shape = NetShape.from_json(state["shape"])
        model._calibration = None if state["calibration"] is None else Platt.from_json(state["calibration"])
        model._net = cls._library().load(lambda: model.build(model._shape), folder)
        model._forward = cls._library().forward(model._net, model._shape)
        return model

    @classmethod
    def _library(cls) -> NetLibrary:
        if cls.engine == "torch":
            from raytrain.engines import torch_loop

            return torch_loop
        from raytrain.engines import keras_loop

        return keras_loop
