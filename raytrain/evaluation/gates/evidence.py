"""Everything that a gate looks at beside the scores, of each recipe of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import numpy as np
import polars as pl

from raytrain.evaluation.gates.comparison import Comparison, against_naive, compare, compare_earnings
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.deflated import Deflated, Sample, deflate
from raytrain.evaluation.gates.diebold_mariano import DieboldMariano
from raytrain.evaluation.gates.parity import Parity
from raytrain.evaluation.gates.windows import Crisis, crises
from raytrain.evaluation.scoring.pairs import NAIVE, Pair, pair_with_naive
from raytrain.evaluation.scoring.significance import skill_interval
from raytrain.evaluation.scoring.strategy import Book, Market

HAR = "har"
"""The family that a forecast of quantiles must beat: it reads the path of prices only."""

CHAMPION = "champion"
"""How fits of a champion that is not among the run's recipes are called where fits are counted."""

LEAK_CHECKS = ("leakage", "lead_lag", "target_alignment")
"""The checks of the diagnostics whose warnings speak of a leak."""

Place = tuple[str, str]
"""(target, family)."""


@dataclass(frozen=True)
class NotApplicable:
    """There is nothing to compare with, and need not be."""

    why: str


@dataclass(frozen=True)
class Missing:
    """There should be something to compare with, and is not."""

    why: str


Against = Comparison | NotApplicable | Missing


@dataclass(frozen=True, kw_only=True)
class Incumbents:
    """The champions of the targets, forecast from the cut-offs of this run."""

    families: Mapping[str, str] = field(default_factory=dict)
    """Target -> the champion's family."""
    in_run: frozenset[str] = frozenset()
    """Targets whose champion is a recipe of the run itself: same family, same parameters."""
    predictions: pl.DataFrame = field(default_factory=pl.DataFrame)
    """What the other champions forecast, as `raytrain.evaluation.scoring.collect.collect` gives it."""


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a run knows about its recipes that their forecasts do not tell."""

    cutoffs: Mapping[str, int]
    """Key of a fit -> the last date that it knew, in nanoseconds since 1970."""
    incumbents: Incumbents = field(default_factory=Incumbents)
    tried_before: Mapping[str, int] = field(default_factory=dict)
    """Target -> recipes that were tried for it before the run, such as the trials of a sweep."""
    leak_warnings: Sequence[str] = ()
    """What the diagnostics say of leaks."""
    parity: Mapping[Place, Parity] = field(default_factory=dict)
    """See `raytrain.evaluation.gates.parity.parity_of`."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of one recipe beside its row of scores."""

    num_seen: int = 0
    """Judged rows whose outcome the fit that forecast them knew, or may have known."""
    num_recipes: int = 1
    """Tried for this target, this one included and naive left out."""
    naive: DieboldMariano | None = None
    """Of the losses against naive's, or of net returns against 0; None where there is nothing to compare."""
    har: Against = NotApplicable("har is not in the run")
    har_skill: float | None = None
    """HAR's own skill over naive, where it is in the run beside this recipe."""
    champion: Against = NotApplicable("no champion yet")
    commoner_direction: float | None = None
    """Share of the outcomes that lie on the commoner side of 0, 0.5 to 1."""
    coverage_interval: tuple[float, float] | None = None
    """Of the share of outcomes between the outer quantiles; None for a forecast of one level."""
    deflated: Deflated | None = None
    """Of the strategy; None where it earned nothing that varies."""
    crises: tuple[Crisis, ...] = ()
    leak_warnings: tuple[str, ...] = ()
    parity: Parity | None = None
    """None when an accelerator computed and nothing was checked."""


def gather(
    predictions: pl.DataFrame, scores: pl.DataFrame, market: Market, config: GatesConfig, known: Circumstances
) -> dict[Place, Evidence]:
    """What the gates need of every family and target.

    Args:
        predictions: as `raytrain.evaluation.scoring.scores.score` takes them, with the `key` of each row's fit.
        scores: what it found on them.
        market: the bars and the strategy that it used.
        config: thresholds, of which the confidence and the windows matter here.
        known: about the run.
    """
    court = _Court(pair_with_naive(predictions), scores, market, config, known)
    seen = _rows_seen(predictions, known.cutoffs)
    return {place: court.look_at(place, seen[place]) for place in court.pairs}


class _Court:
    """Looks at each recipe beside the others of its target."""

    def __init__(
        self, pairs: Sequence[Pair], scores: pl.DataFrame, market: Market, config: GatesConfig, known: Circumstances
    ) -> None:
        self._market, self._config, self._known = market, config, known
        self.pairs = {(pair.target, pair.family): pair for pair in pairs}
        self._scores = {(row["target"], row["family"]): row for row in scores.iter_rows(named=True)}
        away = known.incumbents.predictions
        self._champions = {} if away.is_empty() else {pair.target: pair for pair in pair_with_naive(away)}

    def look_at(self, place: Place, num_seen: int) -> Evidence:
        """Everything about one recipe."""
        pair = self.pairs[place]
        found = Evidence(
            num_seen=num_seen,
            num_recipes=self._num_recipes(pair.target),
            naive=against_naive(pair, self._market),
            har=self._against_har(pair),
            champion=self._against_champion(pair),
            leak_warnings=tuple(self._known.leak_warnings),
            parity=self._known.parity.get(place),
        )
        if pair.rows.is_empty() or not pair.usable:
            return found
        return replace(
            found,
            har_skill=self._har_skill(pair),
            commoner_direction=_commoner_direction(pair),
            coverage_interval=_coverage_interval(pair, self._config.confidence),
            deflated=self._deflated(place, found.num_recipes),
            crises=tuple(self._crises(pair)),
        )

    def _num_recipes(self, target: str) -> int:
        in_run = sum(one == target and family != NAIVE for one, family in self.pairs)
        return max(1, in_run + self._known.tried_before.get(target, 0))

    def _deflated(self, place: Place, num_recipes: int) -> Deflated | None:
        mine = self._sample(self._scores[place])
        rows = [row for (target, family), row in self._scores.items() if target == place[0] and family != NAIVE]
        tried = [one.sharpe for one in map(self._sample, rows) if one is not None]
        return None if mine is None else deflate(mine, num_recipes, tried)

    def _sample(self, row: Mapping[str, Any]) -> Sample | None:
        measured = [row[name] for name in ("sharpe", "skewness", "kurtosis", "num_periods")]
        if None in measured:
            return None
        sharpe, skewness, kurtosis, num = measured
        a_row = sqrt(self._market.periods_per_year)
        return Sample(sharpe=sharpe / a_row, skewness=skewness, kurtosis=kurtosis, num_returns=num)

    def _crises(self, pair: Pair) -> list[Crisis]:
        if not pair.shared:
            return []
        book = Book.make(pair, self._market) if pair.tradable else None
        return crises(pair, book, self._config.windows)

    def _har_skill(self, pair: Pair) -> float | None:
        if pair.family in (HAR, NAIVE):
            return None
        skill: float | None = self._scores.get((pair.target, HAR), {}).get("skill")
        return skill

    def _against_har(self, pair: Pair) -> Against:
        har = self.pairs.get((pair.target, HAR))
        if pair.family == HAR:
            return NotApplicable("it is HAR itself")
        if har is None:
            return NotApplicable("har is not in the run")
        if len(pair.forecasts) < 2:
            return NotApplicable("it forecasts no spread")
        return compare(pair, har, self._config.confidence) or Missing("no row in common with har")

    def _against_champion(self, pair: Pair) -> Against:
        incumbents = self._known.incumbents
        family = incumbents.families.get(pair.target)
        if family is None:
            return NotApplicable("no champion yet")
        if pair.target in incumbents.in_run:
            if pair.family == family:
                return NotApplicable("it is the champion itself")
            champion = self.pairs.get((pair.target, family))
        else:
            champion = self._champions.get(pair.target)
        if champion is None:
            return Missing(f"the champion, {family} as it was promoted, has no forecast from these cut-offs")
        confidence = self._config.confidence
        if "skill" == pair.judged_by == champion.judged_by:
            found = compare(pair, champion, confidence)
        else:
            found = compare_earnings(pair, champion, self._market, confidence)
        return found or Missing(f"no row in common with the champion, {family}, from the same cut-off")


def _commoner_direction(pair: Pair) -> float | None:
    if pair.kind == "threshold":
        return None
    rises = float((pair.column("actual") > 0).mean())
    return max(rises, 1 - rises)


def _coverage_interval(pair: Pair, confidence: float) -> tuple[float, float] | None:
    """The bootstrap of skill with a loss of 1 for each outcome outside: 1 - mean(loss) / 1 is the coverage."""
    if pair.kind == "threshold" or len(pair.forecasts) < 2:
        return None
    actual, low, high = (pair.column(name) for name in ("actual", pair.forecasts[0], pair.forecasts[-1]))
    missed = 1.0 - ((low <= actual) & (actual <= high))
    day = pair.rows["date"].to_physical().to_numpy()
    return skill_interval(missed, np.ones(len(missed)), day, pair.horizon, level=confidence)


def _rows_seen(predictions: pl.DataFrame, cutoffs: Mapping[str, int]) -> dict[Place, int]:
    """Rows with a known outcome that lies at or before the cut-off of their fit; a fit without one counts as such."""
    keys = pl.DataFrame(
        {"key": list(cutoffs), "cutoff": list(cutoffs.values())}, schema={"key": pl.String, "cutoff": pl.Int64}
    )
    known_on = pl.col("label_date").cast(pl.Datetime("us")).dt.timestamp("ns")
    seen = pl.col("actual").is_not_null() & (
        pl.col("cutoff").is_null() | (known_on <= pl.col("cutoff")).fill_null(True)
    )
    counts = predictions.join(keys, on="key", how="left").group_by("target", "family").agg(seen.sum().alias("seen"))
    return {(target, family): count for target, family, count in counts.iter_rows()}
