"""Which pairs are compared: all inside a block, the strongest between two blocks, and the named ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from raytrain.features.correlations.config import CorrelationsConfig
from raytrain.features.correlations.sample import sample_correlations, strongest
from raytrain.features.correlations.series import SeriesChanges


@dataclass(frozen=True)
class PairGroup:
    """Pairs that belong together: of one block, of two, or the key pairs that no block has."""

    left_block: str | None
    right_block: str | None
    pairs: tuple[tuple[str, str], ...]


def plan_pairs(config: CorrelationsConfig, part: SeriesChanges) -> list[PairGroup]:
    """Every pair to compare of one series, each once."""
    groups = [*_within(config), *_between(config, part)]
    compared = {frozenset(pair) for group in groups for pair in group.pairs}
    rest = {frozenset(pair): pair for pair in config.key_pairs if frozenset(pair) not in compared}
    return [*groups, PairGroup(None, None, tuple(rest.values()))] if rest else groups


def _within(config: CorrelationsConfig) -> Iterator[PairGroup]:
    for name, columns in config.blocks.items():
        yield PairGroup(name, name, tuple(combinations(columns, 2)))


def _between(config: CorrelationsConfig, part: SeriesChanges) -> Iterator[PairGroup]:
    if config.select_until is not None:
        part = part.rows(part.dates < np.datetime64(config.select_until) + np.timedelta64(1, "D"))
    number = {name: index for index, name in enumerate(part.names)}
    for (left, lefts), (right, rights) in combinations(config.blocks.items(), 2):
        left_values, right_values = (part.values[[number[name] for name in names]] for names in (lefts, rights))
        found, _ = sample_correlations(left_values, right_values, config.min_rows)
        chosen = tuple((lefts[row], rights[column]) for row, column in strongest(found, config.top_k))
        if chosen:
            yield PairGroup(left, right, chosen)
