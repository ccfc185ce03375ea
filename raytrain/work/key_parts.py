"""What the parts of a fit's key mean, and how two keys differ, in words that a person who trades understands."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from raytrain.work.compare import Comparison, Span, day
from raytrain.work.spec import JOIN

Values = Mapping[str, Any]
"""`FitSpec.to_dict`, as it stands in result.json: an older raytrain may have had other parts."""

OLDER = "another raytrain"

_Tell = Callable[[Values, Values, Comparison | None], list[str]]


class Change(NamedTuple):
    """One part of a key that differs."""

    reason: str
    """In a word or two, for a table."""
    lines: tuple[str, ...]
    """What was and what is."""


def changes(old: Values, new: Values, compared: Comparison | None = None) -> list[Change]:
    """The parts of two keys that differ, the weightiest first.

    Args:
        old: parts of the stored key.
        new: parts of today's.
        compared: the rows that both saw, where they are still there.
    """
    old, new = plain(old), plain(new)
    told = [Change(reason, tuple(tell(old, new, compared))) for reason, tell in _PARTS.items()]
    found = [change for change in told if change.lines]
    return found if found or compared is None else changes(old, new)


def plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))


def _was_is(what: str, old: Any, new: Any) -> list[str]:
    return [] if old == new else [f"{what} was {_shown(old)}, is {_shown(new)}"]


def _shown(value: Any) -> str:
    return "not given" if value is None else value if isinstance(value, str) else json.dumps(value)


def _fields(what: str, old: str, new: str) -> list[str]:
    """What differs between two objects in JSON; nothing is an empty one."""
    before, now = (json.loads(one) if one else {} for one in (old, new))
    names = dict.fromkeys([*before, *now])
    return [line for name in names for line in _was_is(f"{what}`{name}`", before.get(name), now.get(name))]


def _other_parts(old: Values, new: Values, compared: Comparison | None) -> list[str]:
    parts = sorted(set(old).symmetric_difference(new))
    return [f"its keys are made of other parts ({', '.join(parts)}); fit once more"] if parts else []


def _packages(old: Values, new: Values, compared: Comparison | None) -> list[str]:
    before, now = dict(old["packages"]), dict(new["packages"])
    names = dict.fromkeys([*before, *now])
    return [line for name in names for line in _was_is(name, before.get(name), now.get(name))]


def _targets(old: Values, new: Values, compared: Comparison | None) -> list[str]:
    told = [*_was_is("the target", old["target"], new["target"]), *_was_is("the task", old["task"], new["task"])]
    if len(old["target_configs"]) == len(new["target_configs"]):
        pairs = zip(old["target_configs"], new["target_configs"], strict=True)
        return told + [line for before, now in pairs for line in _fields("", before, now)]
    return told


def _fold(old: Values, new: Values, compared: Comparison | None) -> list[str]:
    before, now = old["fold"], new["fold"]
    told = _was_is("the fold", before["name"], now["name"])
    # Another fold has another block: what it is trained on says enough.
    for name in ("train_start", "cutoff") if told else _BOUNDS:
        days = (None if fold[name] is None else day(fold[name]) for fold in (before, now))
        told += _was_is(_BOUNDS[name], *days)
    return told


_BOUNDS = {
    "train_start": "the first day to train on",
    "cutoff": "the cut-off",
    "test_start": "the start of the test block",
    "test_end": "the end of the test block",
}


def _single(name: str, words: str) -> "_Tell":
    return lambda old, new, compared: _was_is(words, old.get(name), new.get(name))


def _content(name: str, headline: str, look: Callable[[Comparison, Values, Span], list[str]]) -> _Tell:
    """A part that is a hash: what is behind it, as far as it can be told.

    Nothing where the rows are there and equal: another part that differs has changed which of them are read. Nothing
    of another fold's block either.
    """

    def tell(old: Values, new: Values, compared: Comparison | None) -> list[str]:
        before, now = old.get(name), new.get(name)
        if before == now or not (before and now):
            return []
        of_block = name == "block_hash"
        if of_block and old["fold"]["name"] != new["fold"]["name"]:
            return []
        span = _block(new) if of_block else _known(old, new)
        said = f"{headline} {day(span.after if of_block else span.until)}"
        return [said] if compared is None else [f"{said}: {line}" for line in look(compared, new, span)]

    return tell


def _known(old: Values, new: Values) -> Span:
    """What both fits may have been trained on."""
    return Span(after=-(2**63), until=min(old["fold"]["cutoff"], new["fold"]["cutoff"]))


def _block(new: Values) -> Span:
    """What only forecasts read."""
    fold = new["fold"]
    return Span(after=min(fold["cutoff"], fold["test_start"] - 1), until=fold["test_end"] - 1)


def _methods(new: Values) -> list[Any]:
    return list(dict.fromkeys(json.loads(one)["method"] for one in new["target_configs"]))


def _members(old: Values, new: Values, compared: Comparison | None) -> list[str]:
    changed = [key for key in new["members"] if key not in old["members"]]
    if old["members"] == new["members"]:
        return []
    return [f"{len(changed)} of the {len(new['members'])} fits that it mixes are others"]


# The weightiest first: a changed past changes all that follows, a new row only the forecast.
_PARTS: dict[str, _Tell] = {
    OLDER: _other_parts,
    "family version": _single("family_version", "the version of the family's numbers"),
    "library version": _packages,
    "parameters": lambda old, new, compared: _fields("", old["params"], new["params"]),
    "target": _targets,
    "quantiles": _single("quantiles", "the levels"),
    "preprocessing": lambda old, new, compared: _fields("", old["preprocess"], new["preprocess"]),
    "device": _single("device", "the device"),
    "budget": _single("budget_s", "the seconds that a fit may take"),
    "seed": _single("seed", "the seed"),
    "fold": _fold,
    "features": _content("features_hash", "features up to", lambda compared, new, span: compared.features(span)),
    "labels": _content(
        "labels_hash",
        "labels known on",
        lambda compared, new, span: compared.labels(new["target"].split(JOIN), span),
    ),
    "prices": _content("path_hash", "prices up to", lambda compared, new, span: compared.prices(_methods(new), span)),
    "series": _content("series_hash", "series, as of", lambda compared, new, span: compared.series()),
    "members": _members,
    "new rows": _content(
        "block_hash",
        "rows after",
        lambda compared, new, span: [*compared.features(span), *compared.prices(_methods(new), span)],
    ),
}
