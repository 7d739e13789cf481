"""What a genome would score, judged by genomes that were scored: kriging, also known as Gaussian process regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from vkdnw_search.records import Gene, Genome

__all__ = ["predict"]

NOISE = 0.1
"""Variance of the noise in a value, in units of the variance of the Gaussian process (the nugget of kriging)."""

Array = NDArray[np.float64]


def predict(
    genes: Sequence[Gene], known: Sequence[Genome], values: Sequence[float], genomes: Sequence[Genome]
) -> Array:
    """Predict the place of each genome among ``known``, from 0 (worst) to 1: only the order means something.

    The prediction is the mean of a Gaussian process (kriging; Rasmussen & Williams 2006, eq. 2.25) with covariance
    exp(−d/ℓ), d the distance of
    Gower (1971, doi 10.2307/2528823): an ordered gene counts |i − j| / (choices − 1), another 1 where it differs. ℓ is
    the median distance among ``known``. Values enter by their ranks, so that a few very bad ones do not matter.

    Args:
        genes: what the genomes choose.
        known: at least one genome.
        values: of the known genomes, higher is better; shape (known,).
        genomes: what is to be predicted.

    Returns:
        Shape (genomes,).
    """
    points, questions = _points(genes, known), _points(genes, genomes)
    distances = cdist(points, points, "cityblock")
    length = float(np.median(distances)) or 1.0
    places = rankdata(values) / len(values)
    covariance = np.exp(-distances / length) + NOISE * np.eye(len(points))
    weights = solve(covariance, places - places.mean(), assume_a="pos")
    predicted: Array = places.mean() + np.exp(-cdist(questions, points, "cityblock") / length) @ weights
    return predicted


def _points(genes: Sequence[Gene], genomes: Sequence[Genome]) -> Array:
    """Genomes as points whose city-block distance is Gower's distance. Shape (genomes, …)."""
    columns = np.array(genomes, dtype=float).reshape(len(genomes), len(genes)).T
    axes = [
        column[:, None] / max(len(gene.choices) - 1, 1)
        if gene.ordered
        else (column[:, None] == np.arange(len(gene.choices))) / 2
        for gene, column in zip(genes, columns, strict=True)
    ]
    return np.concatenate(axes, axis=1)
