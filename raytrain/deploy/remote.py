"""A bundle that forecasts in a process of its own, because its engine must not share one with another's.

`python -m raytrain.deploy.remote FOLDER` reads rows from its standard input and answers on its standard output: each
message is its length in 8 bytes, then an Arrow table. The first answer, to no request, says that the model is loaded;
a column `error` tells what went wrong.
"""

import io
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import polars as pl

from raytrain.deploy.contents import Bundle
from raytrain.deploy.inputs import Prepared
from raytrain.deploy.models import Values
from raytrain.engines.process import engine_env
from raytrain.errors import RaytrainError

if TYPE_CHECKING:  # which starts processes of this module
    from raytrain.deploy.forecaster import Forecaster

_LENGTH = struct.Struct(">Q")
_POSITION, _ERROR = "position", "error"
_END_S = 10.0
"""Seconds that a process is given to end by itself."""


class ForecastFailed(RaytrainError):
    """A model could not forecast from rows that are right: a defect of ours, or of the machine."""


class ModelEnded(ForecastFailed):
    """Its process is gone: it will not answer again."""


def process_env(bundle: Bundle) -> dict[str, str]:
    """The variables that a process which loads the bundle's library should start with."""
    return engine_env(bundle.engine, 1, "cpu", bundle.keras_backend)


class Remote:
    """Forecasts in a process that is started once and answers until it is closed."""

    def __init__(self, bundle: Bundle) -> None:
        command = [sys.executable, "-m", __name__, str(bundle.folder)]
        self._label = bundle.spec.label
        self._outputs = len(bundle.schema.outputs)
        self._lock = threading.Lock()
        self._is_loaded = False
        self._process = subprocess.Popen(
            command, env=os.environ | process_env(bundle), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def forecast(self, prepared: Prepared) -> Values:
        """Send the rows as they were given, and read the answer.

        Raises:
            ModelEnded: the process has ended.
            ForecastFailed: it says why it cannot.
        """
        with self._lock:
            if not self._is_loaded:
                self._answer()
                self._is_loaded = True
            answer = self._answer(prepared.table)
        position = answer[_POSITION].to_numpy() if _POSITION in answer.columns else None
        values = answer.drop(_POSITION, strict=False).to_numpy()
        return Values(np.ascontiguousarray(values).reshape(len(answer), self._outputs, -1), position)

    def _answer(self, table: pl.DataFrame | None = None) -> pl.DataFrame:
        """The next answer, to a table if there is one."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if table is not None:
                _send(self._process.stdin, table)
            answer = _receive(self._process.stdout)
        except BrokenPipeError:
            answer = None
        if answer is None:
            code = self._process.wait(_END_S)
            raise ModelEnded(f"the process that forecasts {self._label} has ended with code {code}; load it again")
        if _ERROR in answer.columns:
            raise ForecastFailed(f"{self._label} cannot forecast: {answer[_ERROR][0]}")
        return answer

    def close(self) -> None:
        """Let the process end; kill it where it does not."""
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what a dead process was not told is lost
                        pipe.close()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _send(pipe: IO[bytes], table: pl.DataFrame) -> None:
    content = io.BytesIO()
    table.write_ipc(content)
    pipe.write(_LENGTH.pack(content.getbuffer().nbytes))
    pipe.write(content.getbuffer())
    pipe.flush()


def _receive(pipe: IO[bytes]) -> pl.DataFrame | None:
    """The next table; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return pl.read_ipc(io.BytesIO(content)) if len(content) == length else None


def _as_table(values: Values) -> pl.DataFrame:
    """A row per series, a column per output and level."""
    flat = values.forecasts.reshape(len(values.forecasts), -1)
    table = pl.DataFrame({str(place): flat[:, place] for place in range(flat.shape[1])})
    return table if values.positions is None else table.with_columns(pl.Series(_POSITION, values.positions))


def main(folder: Path) -> None:
    """Answer until nobody asks any more."""
    from raytrain.deploy.forecaster import Forecaster

    # Libraries print; what they print must not land among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        with Forecaster.load(folder) as forecaster:
            _send(answers, pl.DataFrame({"loaded": [True]}))
            while (table := _receive(sys.stdin.buffer)) is not None:
                _send(answers, _try(forecaster, table))
    except RaytrainError as error:
        _send(answers, _failure(error))


def _try(forecaster: "Forecaster", table: pl.DataFrame) -> pl.DataFrame:
    try:
        return _as_table(forecaster.values(table))
    except RaytrainError as error:
        return _failure(error)


def _failure(error: RaytrainError) -> pl.DataFrame:
    return pl.DataFrame({_ERROR: [str(error)]})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
