"""Evaluation ↔ a row of the store. A row that this program cannot have written is refused, and said to be so."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vkdnw_search.records import Cost, Evaluation, Genome, Score, Status

__all__ = ["evaluation_of", "plain_json", "row_of", "score_of", "text_of"]

STATUSES = tuple(map(str, Status))
COSTS = 10
"""Columns of a cost, after number, generation, genome and key."""


def row_of(evaluation: Evaluation) -> tuple[object, ...]:
    """The columns of an evaluation. Floats are kept exactly, NaN as NULL."""
    cost, score = evaluation.cost, evaluation.score
    judged = (
        (None, None, None)
        if score is None
        else (score.value, _null(score.standard_error), json.dumps(dict(score.terms)))
    )
    return (
        evaluation.number, evaluation.generation, json.dumps(evaluation.genome), evaluation.key,
        cost.flops, cost.macs, cost.parameters, cost.layers, cost.tensors, cost.modules, cost.memory, cost.latency,
        cost.int8_size, cost.int8_memory,
        evaluation.violation, str(evaluation.status), evaluation.reason, *judged,
    )  # fmt: skip


def evaluation_of(row: Sequence[Any]) -> Evaluation:
    """The evaluation that :func:`row_of` made ``row`` of.

    Raises:
        ValueError: it made no such row; the message says what is wrong.
    """
    number, generation, genome, key, *rest = row
    costs, (violation, status, reason, value, error, terms) = rest[:COSTS], rest[COSTS:]
    if any(cost is not None and cost < 0 for cost in costs):
        raise ValueError("a cost is negative")
    if status not in STATUSES:
        raise ValueError(f"its status is {status!r}")
    if not 0 <= violation < math.inf or value == math.inf:
        raise ValueError("a number of it is not finite")
    score = None if value is None else Score(value, math.nan if error is None else error, _terms(terms))
    return Evaluation(number, generation, _genome(genome), key, Cost(*costs), violation, Status(status), reason, score)


def text_of(score: Score | None) -> str:
    """A score alone as text; None is that of a network without a usable one."""
    plain = None if score is None else [score.value, _null(score.standard_error), dict(score.terms)]
    return json.dumps(plain)


def score_of(text: str) -> Score | None:
    """The score that :func:`text_of` made ``text`` of.

    Raises:
        ValueError: it made no such text; the message says what is wrong.
    """
    match plain_json(text, "it"):
        case None:
            return None
        case [value, error, dict() as terms] if (
            _is_number(value) and math.isfinite(value) and (error is None or _is_number(error))
        ):
            return Score(float(value), math.nan if error is None else float(error), _terms(json.dumps(terms)))
    raise ValueError("it is no score")


def plain_json(text: str, what: str) -> Any:
    """What the JSON in ``text`` stands for.

    Raises:
        ValueError: it is no JSON, or nested too deep; the message calls it ``what``.
    """
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON: {error}") from error


def _genome(text: str) -> Genome:
    genome = plain_json(text, "its genome")
    if not isinstance(genome, list) or not all(type(index) is int and index >= 0 for index in genome):
        raise ValueError("its genome is no list of indices")
    return tuple(genome)


def _terms(text: str) -> Mapping[str, float]:
    terms = plain_json(text, "what its score is made of")
    if not isinstance(terms, dict) or not all(map(_is_number, terms.values())):
        raise ValueError("what its score is made of are no named numbers")
    "".join(terms).encode()  # half of a character would be found only when it is written to a file
    return terms


def _is_number(value: object) -> bool:
    """Whether JSON has a number there that a float can hold, at least roughly."""
    return type(value) is float or (type(value) is int and abs(value) < sys.float_info.max)


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
