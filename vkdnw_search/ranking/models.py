"""Rankings by a model that was trained on networks of known accuracy (needs the extra ``model``).

The protocol of the model-driven rows of VKDNW, arXiv 2502.04975, Table 1: standardised features, a random forest of
300 trees, 1,024 training networks, metrics on all the others, five repeats. What costs them dear is the accuracies:
these rows are no training-free rankings, and stand apart in the table.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vkdnw_search.determinism import seed_from
from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.features import graph_features
from vkdnw_search.ranking.plan import VALUE, Plan, Terms
from vkdnw_search.ranking.published import TRAINING

__all__ = ["REPEATS", "check_training", "forest_predictions", "model_features"]

TREES = 300
REPEATS = 5

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def model_features(plan: Plan, parts: Mapping[str, Terms], keys: Sequence[str], *, space: str) -> dict[str, Matrix]:
    """Model-driven row → its features, (n, features), for one seed; only rows whose features are there.

    * ``VKDNW_m``: the nine deciles, ℵ and FLOPs; needs the proxies ``vkdnw_single`` and ``flops``.
    * ``(VKDNW+ZCS)_m``: these and every other single proxy of the study; needs at least one.
    * ``GRAF``: graph features of NAS-Bench-201 cells.
    * ``(VKDNW+ZCS+GRAF)_m``: all of them.
    """
    rows: dict[str, list[Vector]] = {}
    singles = {row.name: row.values(parts) for row in plan.rows if row.kind == "single"}
    vkdnw = _vkdnw(plan, parts)
    others = [values for name, values in singles.items() if name not in ("vkdnw_single", "flops")]
    if vkdnw and "flops" in singles:
        rows["VKDNW_m"] = [*vkdnw, singles["flops"]]
        if others:
            rows["(VKDNW+ZCS)_m"] = rows["VKDNW_m"] + others
    if space == "nasbench201":
        table = np.array([list(graph_features(key).values()) for key in keys])
        rows["GRAF"] = list(table.T)
        if "(VKDNW+ZCS)_m" in rows:
            rows["(VKDNW+ZCS+GRAF)_m"] = rows["(VKDNW+ZCS)_m"] + rows["GRAF"]
    return {name: np.stack(columns, axis=1) for name, columns in rows.items()}


def _vkdnw(plan: Plan, parts: Mapping[str, Terms]) -> list[Vector]:
    """ℵ and the nine deciles, if VKDNW_single is in the study."""
    for row in plan.rows:
        if row.name == "vkdnw_single":
            ((part, _),) = row.sources.values()
            return [values for term, values in parts[part].items() if term not in (VALUE, "entropy")]
    return []


def forest_predictions(
    features: Matrix, accuracies: Vector, *, training: int = TRAINING, repeat: int = 0
) -> tuple[NDArray[np.intp], Vector]:
    """The networks left out of training, and the accuracies predicted for them. Shapes (n − training,), twice.

    Which are left out follows from ``repeat`` and n alone, so all rows of a repeat are compared on the same networks.

    Args:
        features: (n, features); what is not finite takes the smallest finite value of its column.
        accuracies: (n,), in percent.
        training: networks whose accuracy the model may see.
        repeat: number of the repetition: another training set, another forest.

    Raises:
        RankingError: fewer than two networks would be left, or scikit-learn is not installed.
    """
    n = len(accuracies)
    check_training(training, n)
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seed = seed_from("forest", repeat)
    order = np.random.default_rng(seed).permutation(n)
    seen, left = order[:training], np.sort(order[training:])
    usable = np.stack(list(_finite(features.T)), axis=1)
    model = make_pipeline(StandardScaler(), RandomForestRegressor(TREES, random_state=seed % 2**32))
    model.fit(usable[seen], accuracies[seen])
    return left, np.asarray(model.predict(usable[left]), dtype=np.float64)


def check_training(training: int, n: int) -> None:
    """Raises RankingError if a forest cannot be trained on ``training`` of ``n`` networks and rank the others."""
    if importlib.util.find_spec("sklearn") is None:
        raise RankingError("model-driven rows need the package scikit-learn: pip install 'vkdnw-search[model]'")
    if not 1 <= training <= n - 2:
        raise RankingError(
            f"model-driven rows: training networks must be from 1 to {max(n - 2, 1)}, so that at least two of the {n} "
            f"are left to be ranked, but are {training}. Raise the sample or lower --models"
        )


def _finite(columns: Matrix) -> Iterator[Vector]:
    for column in columns:
        finite = np.isfinite(column)
        yield np.where(finite, column, column[finite].min() if finite.any() else 0.0)
