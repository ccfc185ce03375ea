"""Do fits in a process of their engine, as a worker does: `python fit_in_process.py STORE DATASET < specs.json`."""

import json
import sys
from pathlib import Path

from raytrain import families
from raytrain.engines.process import claim
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

if __name__ == "__main__":
    store, dataset = ResultStore(Path(sys.argv[1])), Dataset.open(Path(sys.argv[2]))
    for values in json.load(sys.stdin):
        spec = FitSpec.from_dict(values)
        claim(families.get(spec.family).engine)
        result = run_fit(spec, dataset, Control(), store)
        store.write(spec.key, result.predictions, result.facts(spec))
