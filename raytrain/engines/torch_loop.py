"""Torch behind the training loop: gradient steps, predictions, files. Imported in torch processes only."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from raytrain.engines.base import Device, FitContext, FloatArray
from raytrain.engines.epochs import Forward, Learner, NetParams, NetShape

_FILE = "net.safetensors"
_OPTIMIZER_FILE = "optimizer.safetensors"
_RANDOM_FILE = "random.safetensors"


def prepare(context: FitContext) -> None:
    """Seed every device, cap the threads, be deterministic on the CPU.

    Exact reproducibility is promised on the CPU only: MPS has no deterministic kernels for all operations.
    """
    torch.manual_seed(context.seed)
    torch.set_num_threads(context.threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)  # may be set once per process, before the first parallel work
    torch.use_deterministic_algorithms(context.device == "cpu")


def learner(net: nn.Module, shape: NetShape, params: NetParams, context: FitContext) -> Learner:
    """The net on the context's device, with its optimiser."""
    return _TorchLearner(net.to(context.device), shape, params, context.device)


def forward(net: nn.Module, shape: NetShape) -> Forward:
    """The net on the CPU, where a loaded one predicts as well, so that both agree to the bit."""
    cpu = net.to("cpu").eval()
    return lambda x: _predict(cpu, shape, x, "cpu")


def to_onnx(net: nn.Module, shape: NetShape, x: FloatArray) -> bytes:
    """A graph for any number of rows, traced by `torch.export`."""
    forecasts = _Forecasts(net.to("cpu"), shape).eval()
    rows = {0: torch.export.Dim("rows")}
    program = torch.onnx.export(
        forecasts,
        (_tensor(x, "cpu"),),
        dynamo=True,
        dynamic_shapes=(rows,),
        input_names=["x"],
        output_names=["y"],
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


class _Forecasts(nn.Module):
    """What `forward` gives: quantiles, or the probability of a logit."""

    def __init__(self, net: nn.Module, shape: NetShape) -> None:
        super().__init__()
        self._net = net
        self._is_logit = shape.levels is None

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self._net(x)
        return predicted.sigmoid() if self._is_logit else predicted


def save(net: nn.Module, folder: Path) -> None:
    """Write the weights as safetensors."""
    save_file(_on_cpu(net.state_dict()), folder / _FILE)


def load(build: Callable[[], nn.Module], folder: Path) -> nn.Module:
    """An untrained net, given the weights that `save` wrote."""
    net = build()
    net.load_state_dict(load_file(folder / _FILE))
    return net


class _TorchLearner:
    def __init__(self, net: nn.Module, shape: NetShape, params: NetParams, device: Device) -> None:
        self._net = net
        self._shape = shape
        self._params = params
        self._device = device
        self._optimizer = torch.optim.AdamW(net.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)

    def step(self, x: FloatArray, y: FloatArray, weight: FloatArray, rate: float) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._net.train()
        self._optimizer.zero_grad()
        row_loss = self._row_loss(self._net(_tensor(x, self._device)), _tensor(y, self._device))
        loss: Tensor = (row_loss * _tensor(weight, self._device)).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self._net.parameters(), self._params.clip_norm)
        self._optimizer.step()
        return loss.detach()

    def _row_loss(self, predicted_BOQ: Tensor, y_BO: Tensor) -> Tensor:
        """(B,) pinball loss or binary cross entropy, averaged over outputs and levels."""
        y_BO1 = y_BO.unsqueeze(-1)
        if self._shape.levels is None:
            loss_BOQ = binary_cross_entropy_with_logits(predicted_BOQ, y_BO1, reduction="none")
        else:
            loss_BOQ = pinball(predicted_BOQ, y_BO1, self._shape.levels)
        return loss_BOQ.mean(dim=(1, 2))

    def predict(self, x: FloatArray) -> FloatArray:
        return _predict(self._net.eval(), self._shape, x, self._device)

    def snapshot(self) -> dict[str, Tensor]:
        return {name: weight.clone() for name, weight in self._net.state_dict().items()}

    def restore(self, snapshot: Any) -> None:
        self._net.load_state_dict(snapshot)

    def save_state(self, folder: Path) -> None:
        save_file(_on_cpu(self._net.state_dict()), folder / _FILE)
        slots = self._optimizer.state_dict()["state"]
        flat = {f"{index}.{name}": value for index, values in slots.items() for name, value in values.items()}
        save_file(_on_cpu(flat), folder / _OPTIMIZER_FILE)
        save_file(_random_states(self._device), folder / _RANDOM_FILE)

    def load_state(self, folder: Path) -> None:
        self._net.load_state_dict(load_file(folder / _FILE))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in load_file(folder / _OPTIMIZER_FILE).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": slots})
        for device, state in load_file(folder / _RANDOM_FILE).items():
            _generators(device).set_rng_state(state)


def pinball(predicted_BOQ: Tensor, y_BO1: Tensor, levels: tuple[float, ...]) -> Tensor:
    """(B, O, Q) pinball loss at each level (Koenker & Bassett 1978)."""
    level_Q = torch.tensor(levels, dtype=torch.float32, device=predicted_BOQ.device)
    error_BOQ = y_BO1 - predicted_BOQ
    return torch.maximum(level_Q * error_BOQ, (level_Q - 1) * error_BOQ)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _random_states(device: Device) -> dict[str, Tensor]:
    return {name: _generators(name).get_rng_state() for name in sorted({"cpu", device})}


def _generators(device: str) -> Any:
    """The module that keeps the random state of a device."""
    return {"cpu": torch, "cuda": torch.cuda, "mps": torch.mps}[device]


def _tensor(values: FloatArray, device: Device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


def _predict(net: nn.Module, shape: NetShape, x: FloatArray, device: Device) -> FloatArray:
    with torch.inference_mode():
        predicted = net(_tensor(x, device))
        if shape.levels is None:
            predicted = predicted.sigmoid()
        values: FloatArray = predicted.cpu().numpy()
    return values
