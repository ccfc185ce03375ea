import numpy as np
import polars as pl
import pytest

from raytrain.errors import ConfigError, DataError
from raytrain.features.correlations.changes import changes, require_columns, resolve


def test_auto_is_log_for_what_stays_above_zero(frame):
    kinds = resolve(["close", "spread", "oil"], frame, {"oil": "none"}, "auto")
    assert kinds == {"close": "log", "spread": "difference", "oil": "none"}


def test_changes_stay_inside_a_series_and_are_unknown_beside_a_gap(frame):
    table = changes(frame, {"close": "log", "spread": "difference", "oil": "none"}).collect()
    raw = frame.table
    for name in ("close", "spread"):
        assert table.filter(pl.int_range(pl.len()).over("series_id") == 0)[name].null_count() == 2
    assert table["close"][7] == pytest.approx(np.log(raw["close"][7] / raw["close"][6]))
    assert table["spread"][507] == pytest.approx(raw["spread"][507] - raw["spread"][506])
    assert table["oil"][2] == raw["oil"][2] and table["oil"][3] is None
    gap = changes(frame, {"oil": "difference"}).collect()["oil"]
    assert gap[3] is None and gap[4] is None and gap[5] is not None


def test_a_log_of_zero_and_infinity_are_refused(frame, levels, as_frame):
    with pytest.raises(DataError, match=r"needs values above 0, got .* in `spread`"):
        resolve(["spread"], frame, {"spread": "log"}, "auto")
    infinite = as_frame(levels.with_columns(gold=pl.lit(float("inf"))))
    with pytest.raises(DataError, match="got 1000 infinite values in `gold`"):
        resolve(["gold"], infinite, {}, "auto")


@pytest.mark.parametrize(
    ("name", "said"), [("clsoe", "did you mean `close`"), ("mood", "a column of text"), ("zz", "no column of the test")]
)
def test_an_unknown_name_gets_the_nearest(frame, name, said):
    with pytest.raises(ConfigError, match=said):
        require_columns([name], frame)
