"""A model as an ONNX graph: written, compared with the native one, and run without its library.

`python -m raytrain.deploy.onnx JOB` does the first two in a process of the model's engine; see `Job`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from raytrain.deploy.contents import ONNX, POOLED, Bundle, BundleRefused, require_names
from raytrain.deploy.models import Fitted
from raytrain.deploy.remote import process_env
from raytrain.engines.base import Family, FloatArray, OnnxModel, Samples
from raytrain.engines.platt import Platt
from raytrain.engines.process import claim
from raytrain.errors import StoreCorrupt
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import Inputs, forecast_columns
from raytrain.work.store import ResultStore

INPUT, OUTPUT = "x", "y"
TOLERANCE = 1e-5
"""Largest difference that is accepted, in deviations of what the model was trained to give; probabilities as such."""
BATCHES = (1, 256)
"""Rows at a time in which the graph and the native model are compared."""
_OUTSIDE = (
    "features are made, unknown values filled and columns scaled before the graph, as config.json and preparation.json "
    "say; quantiles are sorted, probabilities calibrated and forecasts multiplied with the target's deviation and the "
    "volatility forecast after it. All of that is numpy, in double precision where the run's is."
)


@dataclass(frozen=True)
class Graph:
    """A model behind onnxruntime."""

    session: Any
    """Of onnxruntime, or whatever else answers `run` as it does."""
    calibration: Platt | None

    @classmethod
    def load(cls, path: Path, calibration: Mapping[str, Any] | None) -> "Graph":
        """On the CPU, one thread: a few rows need no more, and a server has many requests."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return cls(session, None if calibration is None else Platt.from_json(calibration))

    def predict(self, x: Samples) -> FloatArray:
        """(n, outputs, levels), rising, as the family's `predict`."""
        (raw,) = self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(x[:], dtype=np.float32)})
        rising: FloatArray = np.sort(raw, axis=-1)
        return rising if self.calibration is None else self.calibration.apply(rising)

    def positions(self, x: Samples) -> FloatArray | None:
        """A graph takes none."""
        return None


def load_graphs(bundle: Bundle, load: Callable[[Path, Mapping[str, Any] | None], Graph] = Graph.load) -> Fitted:
    """A bundle's graphs as its model.

    Args:
        bundle: that has graphs.
        load: makes a graph of its file and its calibration.

    Raises:
        BundleRefused: it has none.
    """
    about = bundle.onnx
    if not about["files"]:
        raise BundleRefused(f"{bundle.folder} has no ONNX graph: {about['reason']}; use the native runtime")
    require_names(about["files"].values())
    found = {
        part: (load(bundle.folder / file, about["calibration"][part]), bundle.preparation(part))
        for part, file in about["files"].items()
    }
    return Fitted(bundle.spec, found)


def without_graph(reason: str) -> dict[str, Any]:
    """What onnx.json says where there is none."""
    return {"files": {}, "reason": reason, "calibration": {}, "parity": {}, "outside_the_graph": _OUTSIDE}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process of the model's engine is asked to do with a bundle in the making."""

    folder: str
    """The bundle."""
    dataset: str
    """What the fit has seen, saved."""
    store: str
    """Where its stored forecasts are."""
    graph: bool
    """Whether a graph is wanted."""

    def run(self) -> None:
        """See that the bundle reproduces the stored forecasts, then write graph and onnx.json.

        Raises:
            StoreCorrupt: the forecasts differ.
        """
        command = [sys.executable, "-m", __name__, json.dumps(asdict(self))]
        bundle = Bundle.read(Path(self.folder))
        done = subprocess.run(
            command, env=os.environ | process_env(bundle), capture_output=True, text=True, check=False
        )
        told = bundle.folder / ONNX
        if done.returncode and not told.exists():
            raise StoreCorrupt(f"the bundle of {bundle.spec.label} cannot be written: {_last(done.stderr)}")
        if done.returncode:  # reproduced, but the converter gave up
            for path in bundle.folder.glob("*.onnx"):
                path.unlink()
            told.write_text(json.dumps(without_graph(f"it cannot be converted: {_last(done.stderr)}"), indent=1))


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it ended without a word"


def main(job: Job) -> None:
    """In the process of the engine."""
    bundle = Bundle.read(Path(job.folder))
    claim(bundle.engine)
    dataset = Dataset.open(Path(job.dataset))
    model = Fitted.load(bundle)
    parts = {part: _inputs(bundle, dataset, part) for part in bundle.parts}
    _require_reproduced(bundle, model, parts, ResultStore(Path(job.store)))
    told = bundle.folder / ONNX
    told.write_text(json.dumps(without_graph("nobody asked for one"), indent=1))
    if job.graph:
        told.write_text(json.dumps(_export(bundle, model, parts), indent=1, sort_keys=True))
        claim(bundle.engine)  # no converter may bring another engine along


def _inputs(bundle: Bundle, dataset: Dataset, part: str) -> Inputs:
    """As in the run."""
    family, spec = bundle.family, bundle.spec
    params = family.params_type.model_validate_json(spec.params)
    among = None if part == POOLED else np.asarray(dataset.series == int(part))
    return Inputs.make(family, params, dataset, spec, among, preparation=bundle.preparation(part))


def _require_reproduced(bundle: Bundle, model: Fitted, parts: Mapping[str, Inputs], store: ResultStore) -> None:
    found = []
    for part, inputs in parts.items():
        predicted = model.parts[part][0].predict(inputs.samples(inputs.test))
        found.append(inputs.unscale(predicted, inputs.test))
    require_equal(bundle, np.concatenate(found), store)


def require_equal(bundle: Bundle, found: FloatArray, store: ResultStore) -> None:
    """See that forecasts (rows, outputs, levels) are equal to the stored ones, to the bit.

    Raises:
        StoreCorrupt: they are not; the model is not the one that made them, or this machine computes otherwise.
    """
    spec = bundle.spec
    stored, columns = store.predictions(spec.key), forecast_columns(bundle.family, spec)
    for output, target in enumerate(spec.target_names):
        expected = stored.filter(target=target).select(columns).to_numpy()
        if not np.array_equal(expected, found[:, output]):
            raise StoreCorrupt(
                f"the model of {spec.label} must forecast what is stored under {spec.key}, got other values; fit it "
                "again on this machine"
            )


def _export(bundle: Bundle, model: Fitted, parts: Mapping[str, Inputs]) -> dict[str, Any]:
    """The graphs and how far they agree; no graph where one of them does not."""
    if find_spec("onnxruntime") is None:
        return without_graph("onnxruntime is not installed; pip install 'raytrain[onnx]'")
    files, calibrations, parities = {}, {}, {}
    for part, inputs in parts.items():
        graph = _graph_of(bundle, model, part, inputs)
        if isinstance(graph, str):
            return _give_up(bundle, graph)
        name = "model.onnx" if part == POOLED else f"model-{part}.onnx"
        (bundle.folder / name).write_bytes(graph.content)
        parity = compare(Graph.load(bundle.folder / name, graph.calibration), model, part, inputs)
        if not parity["relative"] <= TOLERANCE:
            return _give_up(bundle, f"the graph differs by {parity['relative']:.2g} from the native model") | {
                "parity": {part: parity}
            }
        files[part], calibrations[part], parities[part] = name, graph.calibration, parity
    return without_graph("") | {"files": files, "calibration": calibrations, "parity": parities}


def _graph_of(bundle: Bundle, model: Fitted, part: str, inputs: Inputs) -> OnnxModel | str:
    family = model.parts[part][0]
    rows = inputs.train[-4:]
    if bundle.family.inputs not in ("rows", "windows"):
        return "it reads the path of prices and the calendar ahead beside its features: no single array"
    return cast(Family[Any], family).to_onnx(inputs.samples(rows)[:])


def _give_up(bundle: Bundle, reason: str) -> dict[str, Any]:
    for path in bundle.folder.glob("*.onnx"):
        path.unlink()
    return without_graph(reason)


def compare(graph: Graph, model: Fitted, part: str, inputs: Inputs) -> dict[str, Any]:
    """How far a graph is from its model on rows that were trained on, at two batch sizes.

    Returns:
        batch_sizes; largest_difference in the model's own unit; scale: what it is measured by, the deviation of what
        the model was trained to give (1 for a probability); relative = largest_difference / scale; tolerance; rows.
    """
    native = model.parts[part][0]
    chosen = inputs.train[np.linspace(0, len(inputs.train) - 1, min(len(inputs.train), max(BATCHES)), dtype=np.int64)]
    differences = []
    for size in BATCHES:
        # One row at a time need not be done for hundreds of them.
        rows = chosen if size > 1 else chosen[-32:]
        for start in range(0, len(rows), size):
            x = inputs.samples(rows[start : start + size])
            differences.append(float(np.abs(graph.predict(x) - native.predict(x)).max()))
    scale = _scale(inputs)
    largest = max(differences)
    return {
        "batch_sizes": list(BATCHES),
        "rows": len(chosen),
        "largest_difference": largest,
        "scale": scale,
        "relative": largest / scale,
        "tolerance": TOLERANCE,
    }


def _scale(inputs: Inputs) -> float:
    """The deviation of what the model is trained to give: its outputs are in that unit."""
    if inputs.spec.task == "binary":
        return 1.0
    y: NDArray[np.float32] = inputs.training_data().y
    return float(np.std(y, dtype=np.float64)) or 1.0


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
