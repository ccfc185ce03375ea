"""The model card of a bundle: what a person reads before they trust it (Mitchell et al. 2019)."""

from collections.abc import Iterator, Mapping
from typing import Any

from raytrain.deploy.contents import Bundle
from raytrain.evaluation.gates.decision import Decision

Scores = Mapping[str, Mapping[str, Any]]
"""Family -> its row of the score table."""

_SHOWN = {
    "n": "forecasts judged",
    "skill": "skill against naive (higher is better)",
    "loss": "loss: pinball or Brier (lower is better)",
    "mape": "MAPE of the price (lower is better)",
    "coverage": "share of outcomes inside the outer quantiles",
    "coverage_nominal": "what that share should be",
    "directional_accuracy": "right direction",
    "sharpe": "annualised Sharpe ratio of the stated strategy",
    "sharpe_long": "the same, always long",
    "brier": "Brier score (lower is better)",
    "roc_auc": "area under the ROC curve (higher is better)",
}


def card(bundle: Bundle, decision: Decision | None, scores: Scores | None) -> str:
    """Markdown."""
    parts = [_head(bundle), _inputs(bundle), _outputs(bundle), _scores(bundle, scores), _verdict(decision)]
    return "\n\n".join("\n".join(part) for part in (*parts, _limits(bundle), _files(bundle))) + "\n"


def _head(bundle: Bundle) -> Iterator[str]:
    about, trained = bundle.about, bundle.about["trained_on"]
    yield f"# {bundle.spec.family} for {', '.join(bundle.spec.target_names)}"
    yield ""
    yield bundle.family.__doc__.strip().splitlines()[0] if bundle.family.__doc__ else ""
    yield ""
    learned = "its weights were learned from" if bundle.form == "mixture" else "it was trained on"
    if bundle.form == "seeds":
        yield f"The mean of {len(bundle.members)} fits that differ by their seed; each is in `members/`."
    else:
        yield (
            f"Seed {bundle.spec.seed}; {learned} {trained['rows']} rows, at most from {trained['first_date']} to "
            f"{trained['last_date']}, with everything known until {about['known_until']}."
        )
    if bundle.form == "mixture":
        yield f"It mixes {', '.join(member.spec.family for member in bundle.members)}; each is in `members/`."
    yield ""
    yield f"Parameters: `{bundle.spec.params}`. Fit {about['key']}, data {about['data_hash'] or 'of no stated hash'}."


def _inputs(bundle: Bundle) -> Iterator[str]:
    schema = bundle.schema
    yield "## What it takes"
    yield ""
    yield (
        f"Rows of {', '.join(schema.series)}, dates rising: at least {schema.warm_up_rows} of each series, better "
        f"{schema.advised_rows} or more."
    )
    yield ""
    yield "| column | holds | unknown allowed | known ahead |"
    yield "|---|---|---|---|"
    for column in schema.columns:
        what = f"{column.kind}: {column.meaning}" if column.meaning != column.kind else column.kind
        flags = " | ".join("yes" if flag else "no" for flag in (column.may_be_unknown, column.known_ahead))
        yield f"| `{column.name}` | {what} | {flags} |"


def _outputs(bundle: Bundle) -> Iterator[str]:
    yield "## What it gives"
    yield ""
    yield f"Columns {', '.join(f'`{level}`' for level in bundle.schema.levels)} from the newest row of each series:"
    yield ""
    for output in bundle.schema.outputs:
        yield f"- `{output.target}`: {output.unit}"


def _scores(bundle: Bundle, scores: Scores | None) -> Iterator[str]:
    yield "## How well its recipe did, out of sample"
    yield ""
    if not scores:
        yield "Nobody has scored it."
        return
    family = bundle.spec.family
    names = [name for name in (family, "naive") if name in scores]
    yield f"| measure | {' | '.join(names)} |"
    yield "|---" * (1 + len(names)) + "|"
    for measure, words in _SHOWN.items():
        values = [scores[name].get(measure) for name in names]
        if any(value is not None for value in values):
            yield f"| {words} | {' | '.join('' if value is None else f'{value:.4g}' for value in values)} |"


def _verdict(decision: Decision | None) -> Iterator[str]:
    yield "## What the gates said"
    yield ""
    if decision is None:
        yield "Nobody has asked them."
        return
    yield f"**{decision.verdict}** ({decision.first_date} to {decision.last_date}): {decision.reason}"
    yield ""
    for rule in decision.rules:
        yield f"- {'passed' if rule.passed else 'failed'}: {rule.text}"


def _limits(bundle: Bundle) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield "- It forecasts the series and horizons above, and knows nothing of others."
    yield "- A category that training has not seen counts as unknown, an unknown number as it did in training."
    yield (
        "- Forecasts are equal to the run's to the bit on the rows that the run read; on fewer, recursive averages "
        "begin later and differ by what they had not forgotten."
    )
    yield "- The skill of such forecasts lies in the spread, hardly in the median. It is no advice."


def _files(bundle: Bundle) -> Iterator[str]:
    about, onnx = bundle.about, bundle.onnx
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield "## Made with"
    yield ""
    yield f"raytrain {about['raytrain']}, {versions}; {about['created']}."
    yield ""
    if not onnx["files"]:
        yield f"ONNX: none, because {onnx['reason']}."
        return
    for part, parity in onnx["parity"].items():
        yield (
            f"ONNX ({part}): differs by at most {parity['relative']:.2g} of the target's deviation from the native "
            f"model, on {parity['rows']} rows in batches of {' and '.join(map(str, parity['batch_sizes']))}."
        )
