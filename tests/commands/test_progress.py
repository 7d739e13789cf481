"""progress: what the bar says of the best candidate, and the table at the end of it."""

import logging
import re
from dataclasses import replace

from tests.support.quick import Quick
from vkdnw_search import search
from vkdnw_search.commands.progress import _finalists, _second_opinion, closing_table
from vkdnw_search.cost.limits import Limits, Range
from vkdnw_search.output.progress import STEPS, Progress
from vkdnw_search.records import Cost, Evaluation, Score, Status
from vkdnw_search.runs.judgement import Finalist, Judgement, SecondOpinion, Standing


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


def test_where_there_is_no_terminal_a_line_a_minute_says_how_far_the_search_is(capsys):
    cost = Cost(300_000_000, 0, 2_000_000, 10, 50, 40)
    best = Evaluation(0, 0, (0,), "a", cost, 0.0, Status.SCORED, "", Score(51.5))
    seconds = iter([0.0, 30.0, 59.0, 60.0, 90.0, 130.0])
    with Progress(100, Limits(), shown=True, steps=True, now=lambda: next(seconds)) as progress:
        for _ in range(5):
            progress.update(best)
    assert capsys.readouterr().err.splitlines() == [
        "3 of 100 candidates, best 51.500 at 300 MFLOPs, feasible 100%, about 32 min left",  # 97 at 3 a minute
        "5 of 100 candidates, best 51.500 at 300 MFLOPs, feasible 100%, about 55 min left",  # 95 at 2 in 70 s
    ]
    with Progress(100, Limits(), shown=False, steps=False, now=lambda: 0.0) as silent:
        silent.update(best)
    assert capsys.readouterr().err == ""


def test_a_search_from_python_shows_its_progress_if_asked_and_leaves_logging_alone(capsys, caplog):
    recipe = {"space": "nasbench201", "executor": "inline", "finalists": 0, "stop": {"evaluations": 3}}
    caplog.set_level(logging.WARNING, "vkdnw_search")  # which commands lower
    logger = logging.getLogger(STEPS)
    before = logger.level, list(logger.filters)
    for progress in (False, True):
        heard = []
        with search(recipe, proxy=Quick(), listener=heard.append, progress=progress) as result:
            assert len(heard) == result.visited == 3
        told = capsys.readouterr().err.splitlines()
        assert told[:1] == ["begins in memory"] * progress and bool(told) == progress
        assert (logger.level, logger.filters) == before and not caplog.records


def test_large_and_exact_scores_are_told_in_digits_that_say_something():
    recipe = {"space": "nasbench201", "executor": "inline", "score": "flops", "stop": {"evaluations": 2}}
    with search(recipe, ["finalists=0"]) as result:
        (score,) = (line for line in closing_table(result).splitlines() if line.startswith("score "))
    assert re.fullmatch(r"score +[0-9]{1,3}(,[0-9]{3})+ \(flops .*\)", score)
    lone = Finalist("finalist", 1, "a", (2e8, 2e8))
    rows = dict(_finalists(Judgement(1, (lone,), (), (), {}, ())))
    assert rows["rescored"] == "200,000,000 over 2 fresh initializations" and "rank corr." not in rows


def test_percentiles_take_a_row_of_sizes_and_one_of_measures():
    sizes = (Standing("FLOPs", 5e8, 12.4, 1496), Standing("parameters", 8e6, 60.0, 1496))
    measures = (Standing("Jacov", -16.0, 96.9, 32), Standing("trainability", 0.1, 19.9, 31))  # which is below 20
    assert _second_opinion(SecondOpinion(sizes, measures)) == [
        ("percentile", "FLOPs 12, parameters 60 (of the winner among 1496 others)"),
        ("", "Jacov 96, trainability 19 of 31 (of the winner among 32 others)"),
    ]
    assert _second_opinion(SecondOpinion((), measures))[0][0] == "percentile"
    assert _second_opinion(None) == _second_opinion(SecondOpinion()) == []


def test_the_table_says_what_p_is_about_and_warns_without_finalists_too():
    recipe = {"space": "nasbench201", "executor": "inline", "limits": {"flops": "10G"}, "stop": {"evaluations": 12}}
    with search(recipe, ["finalists=0"], proxy=Quick()) as result:
        table = closing_table(result).splitlines()
    assert not any(line.startswith("compared") for line in table)
    assert any(line.startswith("percentile  FLOPs ") for line in table)
    (warning,) = (line for line in table if "limits.flops.max = 10,000,000,000" in line)
    assert warning.startswith("warning ")


def test_a_network_of_several_roles_is_compared_once():
    best, second, third = (Finalist("finalist", number, "key", (float(number), number + 0.5)) for number in (9, 8, 3))
    baselines = tuple(replace(f, role=role) for role, f in [("most FLOPs", second), ("deepest", third), ("any", third)])
    rows = dict(_finalists(Judgement(9, (best, second), baselines, (), {}, ())))
    assert rows["next"].startswith("8.2500") and rows["most FLOPs"] == "the same network as next"
    assert rows["deepest"].startswith("3.2500") and rows["any"] == "the same network as deepest"
