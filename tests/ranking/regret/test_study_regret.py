"""Regret under budgets, from the command's function to the files."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import rankdata

from tests.support.quick import Quick, Recording
from tests.support.studies import PROXIES, SPACE, Chance, lines, table
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.proxies.size import Flops
from vkdnw_search.ranking import study as ranking
from vkdnw_search.ranking.regret.budgets import read_budgets

rank = partial(ranking.rank, figures=False)


def test_regret_under_budgets_is_that_of_the_scores_ranked_within_each(tmp_path):
    """Against scores.csv, with ranks and halves taken anew: a sum ranks the networks of a half within the budget."""
    accuracies = table(60)
    study = rank(
        SPACE, accuracies, PROXIES, out=tmp_path, columns=["good", "other"], seeds=2, budgets=read_budgets("60%,100%")
    )
    assert study is not None and study.regrets is not None
    rows = lines(tmp_path / "scores.csv")
    counter = CostCounter(SPACE)
    flops = np.array([counter.cost(SPACE.parse(key)).flops for key in accuracies.architectures])
    found = {(line["method"], line["column"]): line for line in lines(tmp_path / "table.csv")}
    assert [*dict.fromkeys(method for method, _ in found)] == [*PROXIES, "best", "random"]
    for budget, most in (("60%", 0.6 * flops.max()), ("100%", flops.max())):
        sets = [np.flatnonzero(half & (flops <= most)) for half in study.regrets.subsamples.halves]
        for column in ("good", "other"):
            truth = accuracies.column(column)
            best = np.array([truth[chosen].max() for chosen in sets])
            for method in PROXIES:
                reached = np.mean([first_choices(rows, seed, method, sets, truth) for seed in "01"], axis=0)
                line = found[method, column]
                assert float(line[f"accuracy_{budget}"]) == pytest.approx(reached.mean())
                assert float(line[f"regret_{budget}"]) == pytest.approx((best - reached).mean())
                assert float(line[f"regret_{budget}_std"]) == pytest.approx((best - reached).std(ddof=1))
            assert float(found["best", column][f"accuracy_{budget}"]) == pytest.approx(best.mean())
            mean = np.mean([truth[chosen].mean() for chosen in sets])
            assert float(found["random", column][f"accuracy_{budget}"]) == pytest.approx(mean)
    for line in found.values():
        assert float(line["regret_mean"]) == pytest.approx((float(line["regret_60%"]) + float(line["regret_100%"])) / 2)
        assert (line["kendall"] == "") == (line["type"] == "reference")


def first_choices(rows, seed, method, sets, truth) -> list[float]:
    """Accuracy of the network that comes first in each set; of tied ones their mean."""
    mine = [row for row in rows if row["seed"] == seed]
    quick, chance = (np.array([float(row[name]) for row in mine]) for name in ("quick", "chance"))
    reached = []
    for chosen in sets:
        n = len(chosen)
        ranks = np.log(rankdata(quick[chosen]) / n) + np.log(rankdata(chance[chosen]) / n)
        values = {"quick": quick[chosen], "chance": chance[chosen], "both": ranks}[method]
        reached.append(truth[chosen][values == values.max()].mean())
    return reached


def test_other_budgets_are_judged_without_scoring_again_and_none_leave_the_tables_as_they_were(tmp_path):
    proxies = {"record": Recording(file=str(tmp_path / "calls")), "chance": Chance()}
    rank(SPACE, table(40), proxies, out=tmp_path / "out", columns=["good"])
    calls = (tmp_path / "calls").read_text()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in ("table.csv", "table.md", "scores.csv")}
    rank(SPACE, table(40), proxies, out=tmp_path / "out", columns=["good"], budgets=read_budgets("100%"))
    assert (tmp_path / "calls").read_text() == calls
    assert (tmp_path / "out" / "scores.csv").read_bytes() == before["scores.csv"]
    header, *judged = (tmp_path / "out" / "table.csv").read_text().splitlines()
    old_header, *old = before["table.csv"].decode().splitlines()
    added = ["regret_100%", "regret_100%_std", "accuracy_100%", "accuracy_100%_std", "regret_mean", "regret_mean_std"]
    assert header == ",".join([old_header, *added])
    assert [line.startswith(f"{past},") for line, past in zip(judged, old, strict=False)] == [True] * len(old)
    assert (tmp_path / "out" / "table.md").read_bytes().startswith(before["table.md"])
    rank(SPACE, table(40), proxies, out=tmp_path / "out", columns=["good"])
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before


def test_stored_flops_say_what_counted_ones_say(tmp_path):
    budgets = read_budgets("40%,100%")
    counted = rank(SPACE, table(40), {"chance": Chance()}, out=tmp_path, budgets=budgets)
    stored = rank(SPACE, table(40), {"chance": Chance(), "flops": Flops()}, out=tmp_path, budgets=budgets)
    assert counted is not None and stored is not None and counted.regrets is not None and stored.regrets is not None
    assert (counted.regrets.subsamples.within == stored.regrets.subsamples.within).all()
    assert counted.regrets.methods["chance"] == stored.regrets.methods["chance"]


def test_a_budget_with_few_networks_is_told_and_has_no_numbers(tmp_path):
    study = rank(SPACE, table(40), {"quick": Quick()}, out=tmp_path, columns=["good"], budgets=read_budgets("1k,100%"))
    assert study is not None
    assert "Fewer than 20 networks are within 1000: not judged." in study.markdown
    line = lines(tmp_path / "table.csv")[0]
    assert line["regret_1000"] == line["accuracy_1000_std"] == "" and line["regret_mean"] == line["regret_100%"] != ""
    written = (tmp_path / "table.md").read_text()
    mean, deviation = float(line["regret_100%"]), float(line["regret_100%_std"])
    assert f"| quick | single | – | {mean:.2f} ± {deviation:.2f} | {mean:.2f} ± {deviation:.2f} |" in written


def test_a_model_is_judged_on_the_networks_it_was_not_trained_on(tmp_path):
    pytest.importorskip("sklearn")
    study = rank(
        SPACE, table(60), {"quick": Quick(), "chance": Chance()}, out=tmp_path, columns=["good"], training=30,
        budgets=read_budgets("100%"),
    )  # fmt: skip
    assert study is not None and study.regrets is not None
    loss = study.regrets.methods["GRAF"]["good"].lost[0]
    assert 0 <= loss.mean < study.regrets.references["random"]["good"].lost[0].mean


def test_the_figure_of_regrets_has_lines(tmp_path):
    rank(SPACE, table(40), PROXIES, out=tmp_path, columns=["good"], figures=True, budgets=read_budgets("60%,100%,1k"))
    pixels = imread(tmp_path / "figures" / "good_regret.png")[..., :3]
    assert min(pixels.shape[:2]) > 200 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    rank(SPACE, table(6), PROXIES, out=tmp_path / "few", columns=["good"], figures=True, budgets=read_budgets("100%"))
    assert not (tmp_path / "few" / "figures" / "good_regret.png").exists()  # no budget is judged
