"""progress: what the bar says of the best candidate."""

from vkdnw_search.commands.progress import Progress
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.records import Cost, Evaluation, Score, Status


def test_the_bar_says_how_much_of_each_limit_the_best_candidate_takes():
    cost = Cost(300_000_000, 0, 2_000_000, 10, 50, 40)
    best = Evaluation(0, 0, (0,), "a", cost, 0.0, Status.SCORED, "", Score(51.5))
    outside = Evaluation(1, 0, (1,), "b", cost, 0.2, Status.INFEASIBLE, "flops 1")
    limits = Limits(flops=Range(maximum=400_000_000), layers=Range(maximum=20))
    with Progress(2, limits, shown=False, steps=False) as progress:
        progress.update(best)
        progress.update(outside)
        assert progress._summary() == "best 51.500 at 75% of flops, 50% of layers, feasible 50%"
    with Progress(2, Limits(), shown=False, steps=False) as progress:
        progress.update(best)
        assert progress._summary() == "best 51.500 at 300 MFLOPs, feasible 100%"
