"""What each family is worth on real days: skill against rolling quantiles, as the daily job's walk-forward would find.

python benchmarks/bench_skill.py DATA_FOLDER [--families har gjr ...] [--folds 10] [--store DIR]
python benchmarks/bench_skill.py DATA_FOLDER --nets [--folds 2 --span 5y] [--budget-s 300]
python benchmarks/bench_skill.py DATA_FOLDER --families cnn_gru patchtst tft --datasets "ZL days" --label heavy-nets ...

DATA_FOLDER holds zl/zl_daily.parquet, spy/spy_daily.parquet and panel/equities_daily_1998_2018.parquet. A store that is
kept answers a second call with the fits that it has.
"""

import argparse
import datetime
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dated
import numpy as np
import polars as pl
import yaml

from raytrain import families
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.evaluation.scoring.collect import collect
from raytrain.evaluation.scoring.significance import skill_interval
from raytrain.features.targets import TargetConfig, build_target
from raytrain.machine.detect import detect
from raytrain.pipeline import Watcher, prepare, train
from raytrain.run_config import RunConfig
from raytrain.work.store import ResultStore

ROOT = Path(__file__).parents[1]
HORIZONS = (1, 5, 20)
LEVELS = {"q0.1": 0.1, "q0.5": 0.5, "q0.9": 0.9}
YARDSTICK_ROWS = 756
MEMBERS = ("har", "gjr", "lightgbm_quantile")
MEAN = f"mean of {', '.join(MEMBERS)}"
# Nets take hours when they are refitted every year: they have a table of their own.
QUICK = tuple(name for name in families.names() if families.get(name).engine == "native")
NETS = tuple(name for name in families.names() if families.get(name).engine != "native")
# Returns hold little signal: small trees, slowly, on whole regimes.
PARAMS = {
    "lightgbm_quantile": {"num_leaves": 5, "learning_rate": 0.02, "min_data_in_leaf": 200, "early_stopping_rounds": 50}
}
# What honest forecasts of a commodity do not reach, and what nobody gains on HAR anywhere: look for a leak first.
LEAK_SKILL = {1: np.inf, 5: 0.08, 20: 0.10}
LEAK_DIRECTION = 0.70
LEAK_OVER_HAR = 0.05
COMMODITIES = ("ZL",)
# One deviation either side: half the interval is the standard error.
ONE_SIGMA = 0.6827

BAR_STEPS: list[dict[str, Any]] = [
    {"step": "log_return", "rows": [1, 2, 3, 5, 10, 21, 63]},
    {"step": "volatility", "rows": [5, 21, 63]},
    {"step": "realised_volatility", "method": "parkinson", "rows": [5, 21]},
    {"step": "zscore", "rows": [21, 63, 252]},
    {"step": "rsi", "rows": 14},
    {"step": "as_is", "columns": ["vix"]},
    {"step": "difference", "columns": ["vix"], "rows": [1, 5, 21]},
    {"step": "calendar"},
]


def datasets(folder: Path, work: Path) -> dict[str, dict[str, Any]]:
    """Name -> the `data` and `features` of a run; bars are written anew with the volatility index beside them."""
    zl = folder / "zl" / "zl_daily.parquet"
    daily = yaml.safe_load((ROOT / "configs" / "daily.yaml").read_text())
    vix = pl.read_parquet(zl).select(pl.col("date").cast(pl.Datetime("us")), "vix").drop_nulls()
    found = {
        "ZL days": {"data": daily["data"] | {"path": str(zl), "volatility_index": "vix"}, "features": daily["features"]}
    }
    for name, file in {
        "SPY days": "spy/spy_daily.parquet",
        "four equities": "panel/equities_daily_1998_2018.parquet",
    }.items():
        path = work / Path(file).name
        bars = pl.read_parquet(folder / file).with_columns(pl.col("date").cast(pl.Datetime("us")))
        bars.join(vix, on="date", how="left", maintain_order="left").write_parquet(path)
        columns = {"series": "symbol", "price": "adj_close", "high": "high", "low": "low", "volatility_index": "vix"}
        found[name] = {"data": {"kind": "parquet", "path": str(path)} | columns, "features": {"steps": BAR_STEPS}}
    return found


def run_config(dataset: dict[str, Any], names: Sequence[str], options: argparse.Namespace, store: Path) -> RunConfig:
    """A run of the daily job on three horizons."""
    return RunConfig.model_validate(
        dataset
        | {
            "targets": [{"horizon": horizon, "label": f"{horizon}r"} for horizon in HORIZONS],
            "folds": {"test_span": options.span, "num_folds": options.folds},
            "budget_s": options.budget_s,
            "families": list(names),
            "params": {name: PARAMS[name] for name in names if name in PARAMS},
            "store": store,
            "machines": ROOT / "configs" / "machines",
            "plan": "none",
            "tracking": {"mlflow": False},
            "cluster": {"dashboard": False},
        }
    )


def forecasts(config: RunConfig) -> tuple[pl.DataFrame, list[str]]:
    """What the families said on every test row, the yardstick beside it, and the fits that failed."""
    run = prepare(config)
    silent = Watcher(status=lambda _: None, cluster=lambda _: None, step=lambda _: None)
    summary = train(run, silent, lambda: False).summary
    store = ResultStore(config.store)
    done = [fit.spec for fit in run.plan.fits if store.has(fit.spec.key)]
    found = collect(run.frame, config.targets, done, store)
    yardstick = pl.concat([rolling_quantiles(run.frame, target) for target in config.targets])
    judged = found.drop_nulls("actual").join(yardstick, on=["horizon", SERIES, DATE], how="inner")
    return judged, [f"{one['target']} {one['family']} {one['fold']}: {one['exception']}" for one in summary["failures"]]


def rolling_quantiles(frame: Frame, target: TargetConfig) -> pl.DataFrame:
    """Quantiles of the newest 756 targets that are known on each row, of its own series."""
    known = pl.col("y").shift(target.horizon)
    quantiles = [
        known.rolling_quantile(level, "linear", window_size=YARDSTICK_ROWS).over(SERIES).alias(f"yard_{name}")
        for name, level in LEVELS.items()
    ]
    rows = frame.table.select(SERIES, DATE, y=build_target(frame, target)["y"], horizon=pl.lit(target.horizon))
    return rows.select("horizon", SERIES, DATE, *quantiles).drop_nulls()


def with_mean(found: pl.DataFrame) -> pl.DataFrame:
    """The forecasts, and beside them the equal-weight mean of unlike forecasters when all are there."""
    members = found.filter(pl.col("family").is_in(MEMBERS))
    rows = ["dataset", "horizon", SERIES, DATE]
    beside = ["actual", *(f"yard_{name}" for name in LEVELS)]
    mean = members.group_by(rows, maintain_order=True).agg(pl.len(), pl.col(*LEVELS).mean(), pl.col(*beside).first())
    mean = mean.filter(pl.col("len") == len(MEMBERS)).drop("len").with_columns(family=pl.lit(MEAN))
    return pl.concat([found.select(mean.columns), mean.cast({name: pl.Float32 for name in LEVELS})])


def losses(found: pl.DataFrame) -> pl.DataFrame:
    """Pinball loss of each row, of the yardstick and of HAR; of the median alone for families that give no more."""
    rows = ["dataset", "horizon", SERIES, DATE]
    har = found.filter(pl.col("family") == "har").select(*rows, pl.col(*LEVELS).name.prefix("har_"))

    def pinball(prefix: str) -> pl.Expr:
        parts = []
        for name, level in LEVELS.items():
            error = pl.col("actual") - pl.col(f"{prefix}{name}")
            parts.append(pl.when(pl.col(name).is_finite()).then(pl.max_horizontal(level * error, (level - 1) * error)))
        return pl.mean_horizontal(parts)

    return found.join(har, on=rows).with_columns(loss=pinball(""), yard_loss=pinball("yard_"), har_loss=pinball("har_"))


@dataclass(frozen=True, kw_only=True)
class Skill:
    """Of one family at one horizon."""

    skill: float
    error: float
    """Standard error, by block bootstrap over dates."""
    over_har: float
    over_har_error: float
    coverage: float
    direction: float
    leaks: bool

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Skill":
        """Each series counts by its number of rows, whatever its volatility."""
        horizon = int(rows["horizon"][0])
        unit = pl.col("yard_loss").mean().over("dataset", SERIES)
        rows = rows.with_columns(pl.col("loss", "yard_loss", "har_loss") / unit)
        share, error = _share(rows, "yard_loss", horizon)
        over, over_error = _share(rows, "har_loss", horizon)
        inside = (pl.col("actual") >= pl.col("q0.1")) & (pl.col("actual") <= pl.col("q0.9"))
        commodity = rows.filter(pl.col(SERIES).is_in(COMMODITIES))
        leaks = over > LEAK_OVER_HAR
        if not commodity.is_empty():
            leaks |= _share(commodity, "yard_loss", horizon)[0] > LEAK_SKILL[horizon]
            leaks |= _direction(commodity) > LEAK_DIRECTION
        coverage = rows.filter(pl.col("q0.1").is_finite()).select(inside.mean()).item()
        return cls(
            skill=share,
            error=error,
            over_har=over,
            over_har_error=over_error,
            coverage=np.nan if coverage is None else coverage,
            direction=_direction(rows),
            leaks=leaks,
        )


def _direction(rows: pl.DataFrame) -> float:
    """Share of medians with the right sign, of those that are not 0; 0 when all are."""
    called = rows.filter(pl.col("q0.5") != 0)
    right = called["q0.5"].sign() == called["actual"].sign()
    return float(right.cast(pl.Float64).mean() or 0.0)


def _share(rows: pl.DataFrame, against: str, horizon: int) -> tuple[float, float]:
    """1 - loss / loss of the other, and its standard error."""
    loss, other, day = (rows[name].to_numpy() for name in ("loss", against, DATE))
    low, high = skill_interval(loss, other, day, horizon, level=ONE_SIGMA)
    return float(1 - loss.sum() / other.sum()), (high - low) / 2


def score(found: pl.DataFrame) -> dict[str, dict[int, Skill]]:
    """Family -> horizon -> what it is worth, the best at one row first."""
    scores: dict[str, dict[int, Skill]] = {}
    for (family, horizon), rows in found.group_by("family", "horizon", maintain_order=True):
        scores.setdefault(str(family), {})[int(horizon)] = Skill.of(rows)
    return dict(sorted(scores.items(), key=lambda item: -item[1][min(item[1])].skill))


def table(scores: dict[str, dict[int, Skill]]) -> str:
    """Markdown, percent."""
    lines = [
        "| forecaster | skill at 1 / 5 / 20 rows | over HAR | 80 % band covers | right direction | |",
        "|---|---|---|---|---|---|",
    ]
    for family, found in scores.items():
        cells = [found[horizon] for horizon in HORIZONS if horizon in found]
        skill = " / ".join(f"{100 * one.skill:.1f} ± {100 * one.error:.1f}" for one in cells)
        over = " / ".join(f"{100 * one.over_har:+.1f} ± {100 * one.over_har_error:.1f}" for one in cells)
        band = " / ".join("-" if np.isnan(one.coverage) else f"{100 * one.coverage:.0f}" for one in cells)
        direction = " / ".join(f"{100 * one.direction:.0f}" for one in cells)
        mark = "far above: look for a leak" if any(one.leaks for one in cells) else ""
        lines.append(f"| {family} | {skill} | {over} | {band} | {direction} | {mark} |")
    return "\n".join(lines)


def main() -> None:
    """Fit what is not stored, score, and write the dated file."""
    options = _options()
    if options.folder is None:
        print("bench_skill.py needs the folder with the development data; left out")
        return
    wanted = NETS if options.nets else options.families
    with tempfile.TemporaryDirectory() as name:
        work, names = Path(name), list(dict.fromkeys(["naive", "har", *wanted]))
        parts, failed = [], []
        for dataset, what in datasets(options.folder, work).items():
            if options.datasets and dataset not in options.datasets:
                continue
            print(f"{dataset} ...", file=sys.stderr)
            config = run_config(what, names, options, options.store or work / "store")
            judged, failures = forecasts(config)
            parts.append(judged.with_columns(dataset=pl.lit(dataset)))
            failed += [f"- {dataset} {failure}" for failure in failures]
    found = losses(with_mean(pl.concat(parts, how="diagonal")))
    machine = detect()
    singles = "\n\n".join(
        f"## {dataset}\n{table(score(rows))}" for (dataset,), rows in found.group_by("dataset", maintain_order=True)
    )
    given = [f"{name} {values}" for name, values in PARAMS.items() if name in names]
    but_for = f" but for {', '.join(given)}" if given else ""
    budget = f"A fit may take {options.budget_s:g} s, then it keeps what it has learned." if options.budget_s else ""
    text = f"""# Skill on real days, {datetime.date.today()}
Machine: {machine.name} ({machine.pcores} cores). Percent of the pinball loss of 0.1/0.5/0.9 that a forecaster saves
against the quantiles of the newest {YARDSTICK_ROWS} known targets of the series, row by row; families that give no
other quantile are judged by their median. Over HAR: the same against HAR's forecasts. Walk-forward over {options.folds}
test blocks of {options.span}, expanding, purged, refitted for each block, as the daily job does. ± one standard error,
by block bootstrap over dates; series count by their number of rows. Parameters are the families' defaults{but_for}.
{budget}

## All series
{table(score(found))}

{singles}

Fits that failed, whose rows are missing above: {chr(10).join(["", *failed]) if failed else "none."}
"""
    label = f"-{options.label}" if options.label else "-nets" * options.nets
    dated.write(f"skill{label}", text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--families", nargs="+", default=QUICK, choices=families.names())
    parser.add_argument("--nets", action="store_true", help="all that are no native families, beside naive and har")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--span", default="1y", help="length of a fold's test block")
    parser.add_argument("--budget-s", type=float, default=None, help="seconds that a fit may take")
    parser.add_argument("--datasets", nargs="+", default=(), help="of them only these, as `ZL days`")
    parser.add_argument("--label", default="", help="ends the name of the file that is written")
    parser.add_argument("--store", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
