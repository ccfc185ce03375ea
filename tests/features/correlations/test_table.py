from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from raytrain.errors import ConfigError, DataError
from raytrain.features.correlations.cache import CorrelationCache
from raytrain.features.correlations.config import CorrelationsConfig
from raytrain.features.correlations.table import correlate

CONFIG = CorrelationsConfig(
    blocks={"fields": ("oil", "corn", "flat"), "metals": ("gold", "spread")},
    key_pairs=(("close", "oil"), ("corn", "oil")),
    top_k=2,
    windows=(90, 365),
    regime="mood",
)


@pytest.fixture
def run(tmp_path):
    """Compare a frame with the store of this test."""
    cache = CorrelationCache(tmp_path / "cache", timedelta(days=7), datetime.now(UTC))
    return lambda frame, config=CONFIG: correlate(frame, config, tmp_path, cache)


@pytest.fixture
def found(run, frame):
    return run(frame)


def test_every_pair_inside_a_block_few_between_and_the_named_ones(found):
    pairs = found.newest.filter(series_id="A", window=90)
    blocks = pairs.group_by("left_block", "right_block").len()
    assert dict(zip(zip(blocks["left_block"], blocks["right_block"], strict=True), blocks["len"], strict=True)) == {
        ("fields", "fields"): 3,
        ("metals", "metals"): 1,
        ("fields", "metals"): 2,
        (None, None): 1,
    }
    assert not pairs.select(pl.struct("left", "right").is_duplicated().any()).item()


def test_between_blocks_the_strongest_pairs_are_compared(found, frame):
    names = [("oil", "gold"), ("oil", "spread"), ("corn", "gold"), ("corn", "spread")]
    logs = frame.table.filter(series_id="A").select(
        pl.col("oil", "corn", "gold").fill_nan(None).log().diff(), pl.col("spread").diff()
    )
    strength = {pair: abs(logs.drop_nulls(pair).select(pl.corr(*pair)).item()) for pair in names}
    chosen = found.newest.filter(series_id="A", window=90, left_block="fields", right_block="metals")
    expected = sorted(names, key=lambda pair: -strength[pair])[:2]
    assert chosen.select("left", "right").rows() == expected
    assert chosen["sample"].abs().to_list() == pytest.approx([strength[pair] for pair in expected])


def test_rows_after_the_given_date_choose_no_pair(run, levels, as_frame, monkeypatch):
    until = levels["date"][300]
    config = CONFIG.model_copy(update={"select_until": date.fromisoformat(str(until)[:10])})
    noise = pl.when(pl.col("date") > until).then(pl.col("gold") * (pl.int_range(pl.len()) % 7 + 1))
    later = levels.with_columns(gold=noise.otherwise("gold"))
    before, after = (run(as_frame(table), config).newest.select("left", "right").rows() for table in (levels, later))
    assert before == after


def test_the_long_table_holds_every_date_of_every_pair_and_window(found, frame, tmp_path):
    table = pl.read_parquet(tmp_path / "pairs.parquet")
    assert table.columns == ["series_id", "date", "window", "left", "right", "correlation"]
    assert table.height == 2 * 500 * 2 * 7
    last = table.filter(pl.col("date") == frame.table["date"].max()).with_columns(
        pl.col("series_id", "left", "right").cast(pl.String)
    )
    both = found.newest.join(last, on=["series_id", "window", "left", "right"])
    assert both.height == found.newest.height
    assert both["correlation"].equals(both["correlation_right"].cast(pl.Float64))


def test_key_pairs_have_curves_under_the_names_they_were_given(found):
    assert set(found.curves.select("left", "right").unique().rows()) == {("close", "oil"), ("corn", "oil")}
    assert found.curves.filter(pl.col("correlation").is_not_null()).height > 500


def test_regimes_have_correlations_of_their_own(found, frame):
    row = found.regimes.filter(series_id="B", regime="calm", left="gold", right="spread").row(0, named=True)
    one = frame.table.filter(series_id="B").with_columns(pl.col("gold").log().diff(), pl.col("spread").diff())
    calm = one.filter(mood="calm").drop_nulls(["gold", "spread"])
    assert row["rows"] == calm.height
    assert row["correlation"] == pytest.approx(calm.select(pl.corr("gold", "spread")).item())


def test_a_constant_column_is_named_and_its_correlations_counted(found):
    flat = found.newest.filter((pl.col("left") == "flat") | (pl.col("right") == "flat"))
    assert flat["correlation"].null_count() == flat.height > 0
    assert found.notes[0] == "columns that never change have no correlation: flat"
    assert f"{found.newest['correlation'].null_count()} of {found.newest.height} newest" in found.notes[1]


def test_a_second_run_computes_nothing_and_tomorrow_only_the_new_rows(run, levels, as_frame):
    per_row = 2 * 7 * 2
    shorter = levels.filter(pl.col("date") < levels["date"].max())
    assert run(as_frame(shorter)).num_reused == 0
    again = run(as_frame(shorter))
    assert (again.num_computed, again.num_reused) == (0, 499 * per_row)
    grown = run(as_frame(levels))
    assert (grown.num_computed, grown.num_reused) == (per_row, 499 * per_row)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"key_pairs": (("close", "oli"),)}, ConfigError, "did you mean `oil`"),
        ({"regime": "moods"}, ConfigError, "got `moods`; did you mean `mood`"),
        ({"regime": "close"}, ConfigError, "at most 20 values, `close` of the test has"),
        ({"windows": (10, 90)}, DataError, "at least 20 rows .* 10 days hold at most 8 in the test"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(run, frame, tmp_path, change, error, said):
    with pytest.raises(error, match=said):
        run(frame, CONFIG.model_copy(update=change))
    assert list(tmp_path.iterdir()) == []
