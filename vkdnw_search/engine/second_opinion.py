"""A second opinion on the winner: where it stands by other measures than the score that chose it, in words.

A score is not accuracy, and who takes the highest of many scores also takes what the score overrates: networks that
leave most of their budget unused, or squeeze their signal through a few channels. So the winner is held against other
visited networks by its size and by scores of another kind. That changes no choice; it tells a user where to look.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vkdnw_search.contracts import Probe, Proxy
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.budget import SIZES, is_spent, unspent
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.rescoring import Rescorer
from vkdnw_search.engine.single_positions import in_network
from vkdnw_search.engine.tasks import is_lack_of_memory
from vkdnw_search.errors import DegenerateNetwork, told
from vkdnw_search.proxies.az_nas import AzNasTerms, Expressivity
from vkdnw_search.proxies.jacov import Jacov
from vkdnw_search.proxies.probing import placed, random_images
from vkdnw_search.proxies.stages import stage_features
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.records import Evaluation, Score
from vkdnw_search.runs.judgement import Judgement, SecondOpinion, Standing
from vkdnw_search.runs.store import Store

SAMPLE = 32
"""Number of visited networks that the winner is held against: a percentile is then known to within some 9."""
MEASURED = SAMPLE + 1
"""Number of networks that are measured, the winner included."""
IMAGES = 16
"""Number of random images, a quarter of the published: places among networks ask for less than values."""
PIXELS = 64
"""Height and width of the images at most, where networks accept it: 224 pixels take twelve times as long."""
LOW = 20
"""The percentile below which a user is warned."""
FEWEST = 10
"""Number of other networks below which a percentile is not warned of: it would be that of one or two networks."""
NARROW = 0.5
"""A stage with less than this share of the channels before it and of those after it is a waist. No winner of
`tests/golden/mobilenet_published.json` has one."""

MEASURES = {"expressivity": "expressivity", "trainability": "trainability", "jacov": "Jacov"}
"""Term → what it is called, of the scores that give the second opinion (proxies/az_nas.py, proxies/jacov.py)."""


@dataclass(frozen=True, kw_only=True)
class OtherMeasures:
    """The terms of MEASURES, each where it can be had; the value is 0, since they are compared one by one.

    A network that a measure was not made for, such as one without stages, goes without it: what is asked for advice
    must not end a run that has found its winner.

    Attributes:
        resolution: height and width of the images; None: the space's own.
    """

    resolution: int | None

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """Measure ``model``.

        Raises:
            DegenerateNetwork: it has none of the terms.
        """
        features = AzNasTerms(images=IMAGES, resolution=self.resolution)
        forward_alone = Expressivity(images=IMAGES, resolution=self.resolution)
        terms = _terms(features, model, probe) or _terms(forward_alone, model, probe)
        terms |= _terms(Jacov(images=IMAGES, resolution=self.resolution), model, probe)
        if not terms:
            raise DegenerateNetwork(f"none of {', '.join(MEASURES)} can be computed")
        return Score(0.0, terms=terms)


@dataclass(frozen=True, kw_only=True)
class StageChannels:
    """Channels of the successive stages of a network, as terms in order of execution; the value is their number.

    Attributes:
        resolution: height and width of the images; None: the space's own.
    """

    resolution: int | None

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        """Find the stages of ``model`` and their channels.

        Raises:
            DegenerateNetwork: it has no stages that could be found.
        """
        x = random_images(probe, 2, resolution=self.resolution)
        try:
            with torch.no_grad():
                features = stage_features(placed(model, probe.device).eval(), x)
        except Exception as error:
            raise DegenerateNetwork(f"its stages are not known: {told(error)}") from error
        return Score(float(len(features)), terms={f"stage {i}": float(f.shape[1]) for i, f in enumerate(features, 1)})


def _terms(proxy: Proxy, model: nn.Module, probe: Probe) -> dict[str, float]:
    """The terms of MEASURES that ``proxy`` gives; none where it fails, for whatever reason but a lack of memory."""
    try:
        score = proxy(copy.deepcopy(model), probe)
    except Exception as error:
        if is_lack_of_memory(error):
            raise
        return {}
    return {name: value for name, value in score.terms.items() if name in MEASURES}


def by_sizes(judgement: Judgement, winner: Evaluation, store: Store, recipe: Recipe) -> Judgement:
    """Add where ``winner`` stands by FLOPs and parameters among all visited networks within the limits, for nothing.

    Warns where a limit with a maximum is hardly used; of few FLOPs only where candidates may leave much of the budget.
    """
    rows = ([getattr(e.cost, name) for name in SIZES] for e in _others(store, winner))
    table = np.fromiter(rows, dtype=np.dtype((float, len(SIZES))))  # there may be millions
    columns = dict(zip(SIZES, table.T, strict=True))
    named = (("FLOPs", "flops"), ("parameters", "parameters"))
    sizes = tuple(_standing(name, getattr(winner.cost, field), columns[field]) for name, field in named if len(table))
    opinion = replace(judgement.second_opinion or SecondOpinion(), sizes=sizes)
    telling = [size for size in sizes if size.measure != "FLOPs" or not is_spent(recipe)]
    return _with(judgement, opinion, [*_low(telling), *unspent(winner.cost, columns, recipe)])


def by_measures(
    judgement: Judgement, winner: Evaluation, evaluator: Evaluator, store: Store, rescorer: Rescorer
) -> Judgement:
    """Add where ``winner`` stands by MEASURES among a sample of the visited networks, and the channels of its stages.

    The sample depends on the run's seed and on what was visited. A longer run draws mostly the same networks, so that
    few are measured again.

    Raises:
        Interrupted: the run must end. What was measured so far is kept in the store.
    """
    seed, shape = evaluator.seed, evaluator.space.input_shape
    sample = nsmallest(SAMPLE, _others(store, winner), key=lambda e: seed_from(seed, "sample", e.key))
    for resolution in _resolutions(shape):
        measured = rescorer.with_proxy(OtherMeasures(resolution=resolution))
        with_seed = _seed(seed, "measures", resolution)
        (own,) = measured.scores([(winner.genome, with_seed)])
        if own is not None:
            break
    scores = measured.scores([(e.genome, with_seed) for e in sample])
    channels = rescorer.with_proxy(StageChannels(resolution=resolution))
    (stages,) = channels.scores([(winner.genome, _seed(seed, "stages", resolution))])
    measures, missing = _compared(own, [score for score in scores if score is not None])
    widths = () if stages is None else tuple(map(int, stages.terms.values()))
    opinion = replace(judgement.second_opinion or SecondOpinion(), measures=measures, channels=widths)
    single = in_network(evaluator.space, evaluator.space.decode(winner.genome))
    strides = [f"the winner's {single.in_words()}"] if single else []
    return _with(judgement, opinion, [*_low(measures), *missing, *_waist(widths), *strides])


def _with(judgement: Judgement, opinion: SecondOpinion, warnings: Sequence[str]) -> Judgement:
    return replace(judgement, second_opinion=opinion, warnings=(*judgement.warnings, *warnings))


def _others(store: Store, winner: Evaluation) -> Iterator[Evaluation]:
    """The other visited networks within the limits, without those that have no usable score."""
    return (e for e in store.evaluations() if e.status.is_usable and e.number != winner.number)


def _resolutions(shape: Sequence[int]) -> tuple[int | None, ...]:
    """Height and width of images to be tried, in this order: some networks accept only those they are made for."""
    return (PIXELS, None) if len(shape) == 3 and min(shape[1:]) > PIXELS else (None,)


def _seed(seed: int, what: str, resolution: int | None) -> int:
    """A seed under which no other score of the run is kept."""
    return seed_from(seed, "second opinion", what, resolution or 0)


def _compared(own: Score | None, others: Sequence[Score]) -> tuple[tuple[Standing, ...], list[str]]:
    """The winner's standing by each term that it has, and warnings of those that it lacks and most others have."""
    standings, warnings = [], []
    for term, name in MEASURES.items():
        values = np.array([score.terms[term] for score in others if term in score.terms])
        if own is not None and term in own.terms:
            standings += [_standing(name, own.terms[term], values)] if len(values) else []
        elif len(values) >= FEWEST and 2 * len(values) > len(others):
            warnings.append(
                f"{name} cannot be computed for the winner, but for {len(values)} of {len(others)} other visited "
                "networks: its gradients or features may vanish, or some of its stages change nothing"
            )
    return tuple(standings), warnings


def _standing(measure: str, value: float, others: NDArray[np.float64]) -> Standing:
    """Mid-rank percentile: 100 (below + equal / 2) / others."""
    below, equal = int((others < value).sum()), int((others == value).sum())
    return Standing(measure, float(value), 100 * (below + equal / 2) / len(others), len(others))


def _low(standings: Sequence[Standing]) -> Iterator[str]:
    """A sentence about all measures by which the winner is low."""
    low = [s for s in standings if s.percentile < LOW and s.others >= FEWEST]
    if low:
        named = ", ".join(f"{s.measure} (percentile {s.whole})" for s in low)
        yield (
            f"the winner is low among {low[0].others} other visited networks by {named}: its score may overrate it, so "
            "train another network beside it"
        )


def _waist(channels: Sequence[int]) -> Iterator[str]:
    """A sentence about the narrowest stage that has much fewer channels than some before it and some after it.

    A stage is narrow with less than half of both. Most networks end with a wide convolution for their classifier, so
    one that has more channels after it there alone is narrow with less than a quarter.
    """
    before = [0, *accumulate(channels, max)]  # before[i]: the most of stages 0 … i − 1
    after = [0, *accumulate(reversed(channels), max)][::-1]  # after[i + 1]: the most of stages i + 1 …
    inner = [0, 0, *accumulate(reversed(channels[:-1]), max)][::-1]  # the same without the last stage

    def share(i: int) -> float:
        around = max(min(before[i], inner[i + 1]), NARROW * min(before[i], after[i + 1]))
        return channels[i] / around if around else math.inf

    stages = [i for i in range(len(channels)) if share(i) < NARROW]
    if stages:
        place = min(stages, key=share)
        others = f" ({len(stages)} stages are narrow)" if len(stages) > 1 else ""
        yield (
            f"the winner has a waist: stage {place + 1} of {len(channels)} has {channels[place]} channels, between "
            f"{before[place]} before and {after[place + 1]} after it{others}. All that a network knows of an image "
            "must pass there; look for one of more even widths among the finalists, or bound the widths of the space"
        )
