from __future__ import annotations

import contextlib
import math
import sqlite3
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import kendalltau, rankdata, spearmanr
from torch import nn

from search_spaces.nasbench201 import NasBench201
from tests.support.quick import Failing, Quick, Recording
from tests.support.studies import PROXIES, SPACE, Chance, lines, table
from vkdnw_search.contracts import Probe
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.cost.limits import Limits
from vkdnw_search.determinism import seed_from
from vkdnw_search.engine.evaluator import Evaluator
from vkdnw_search.engine.tasks import score_candidate
from vkdnw_search.errors import DegenerateNetwork, ExecutionError, RankingError, RunFolderError, SpaceError
from vkdnw_search.execution.executors import processes
from vkdnw_search.proxies.aggregate import LogRankSum, make_az_nas
from vkdnw_search.proxies.az_nas import AzNasTerms, Expressivity, Trainability
from vkdnw_search.proxies.te_nas import LinearRegions, NtkCondition, TeNasTerms
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.ranking import study as ranking
from vkdnw_search.ranking.plan import VALUE, identity, make_plan
from vkdnw_search.ranking.score_store import ScoreStore
from vkdnw_search.ranking.scoring_jobs import Job, score_network
from vkdnw_search.ranking.study import sampled
from vkdnw_search.ranking.tables import AccuracyTable
from vkdnw_search.records import Score

rank = partial(ranking.rank, figures=False)


def without_forwards(path: Path) -> list[dict[str, str]]:
    """The cost is measured by the clock; everything else is reproducible."""
    return [{name: text for name, text in line.items() if name != "forwards"} for line in lines(path)]


def test_the_tables_say_what_scipy_says_of_the_scores(tmp_path):
    accuracies = table()
    study = rank(SPACE, accuracies, PROXIES, out=tmp_path, columns=["good"], seeds=3)
    assert study is not None and study.P == 1000
    rows = lines(tmp_path / "scores.csv")
    assert len(rows) == 3 * len(accuracies)
    truth = accuracies.column("good")
    found = {line["method"]: line for line in lines(tmp_path / "table.csv")}
    assert list(found) == ["quick", "chance", "both"]
    for method, line in found.items():
        seeds = [np.array([float(r[method]) for r in rows if r["seed"] == str(s)]) for s in range(3)]
        taus = [kendalltau(values, truth).statistic for values in seeds]
        rhos = [spearmanr(values, truth).statistic for values in seeds]
        order = [np.argsort(-values) for values in seeds]
        discounts = 1 / np.log2(2 + np.arange(len(truth)))
        ideal = (2 ** np.sort(truth)[::-1] - 1) @ discounts
        gains = [(2 ** truth[o] - 1) @ discounts / ideal for o in order]
        assert float(line["kendall"]) == pytest.approx(np.mean(taus), abs=1e-12)
        assert float(line["kendall_std"]) == pytest.approx(np.std(taus, ddof=1), abs=1e-12)
        assert float(line["spearman"]) == pytest.approx(np.mean(rhos), abs=1e-12)
        if method == "chance":  # the others have ties, which nDCG averages over
            assert float(line["ndcg"]) == pytest.approx(np.mean(gains), rel=1e-9)
        if method == "chance":
            lost = [truth.max() - truth[o[:10]].max() for o in order]
            assert float(line["regret_10"]) == pytest.approx(np.mean(lost), abs=1e-9)
        assert float(line["precision_100"]) == 1  # there are but 20
        assert line["paper_kendall"] == "" and line["failed"] == "0"
        assert f"{np.mean(taus):.3f} ± {np.std(taus, ddof=1):.3f}" in (tmp_path / "table.md").read_text()


def test_an_aggregate_is_the_sum_of_log_ranks_of_each_seed(tmp_path):
    rank(SPACE, table(), PROXIES, out=tmp_path, seeds=2)
    for seed in "01":
        rows = [row for row in lines(tmp_path / "scores.csv") if row["seed"] == seed]
        shares = [rankdata([float(row[name]) for row in rows]) / len(rows) for name in ("quick", "chance")]
        assert [float(row["both"]) for row in rows] == pytest.approx(sum(np.log(share) for share in shares).tolist())


def test_each_part_is_computed_once_however_many_rows_use_it(tmp_path):
    record = Recording(file=str(tmp_path / "calls"))
    proxies = {
        "alone": record,
        "first": LogRankSum(proxies={"a": record, "q": Quick()}),
        "second": LogRankSum(proxies={"b": Recording(file=str(tmp_path / "calls"))}),
    }
    accuracies = table(10)
    rank(SPACE, accuracies, proxies, out=tmp_path / "out", seeds=2)
    timed = 4  # three, after one that is not counted
    calls = (tmp_path / "calls").read_text().split()[:-timed]
    assert sorted(map(int, calls)) == sorted(seed_from(s, key) for s in range(2) for key in accuracies.architectures)


def test_another_column_or_a_smaller_sample_is_read_from_what_is_there(tmp_path):
    proxies = {"record": Recording(file=str(tmp_path / "calls")), "chance": Chance()}
    rank(SPACE, table(), proxies, out=tmp_path / "out", columns=["good"], seeds=2)
    before, scores = (tmp_path / "calls").read_text(), (tmp_path / "out" / "scores.csv").read_bytes()
    good = lines(tmp_path / "out" / "table.csv")[0]
    rank(SPACE, table(), proxies, out=tmp_path / "out", columns=["other"], seeds=2)
    other = lines(tmp_path / "out" / "table.csv")[0]
    assert float(other["kendall"]) == pytest.approx(-float(good["kendall"]))  # other = 70 − good
    assert other["forwards"] == good["forwards"]
    assert (tmp_path / "out" / "scores.csv").read_bytes() == scores
    rank(SPACE, table(), proxies, out=tmp_path / "out", sample=12)
    assert (tmp_path / "calls").read_text() == before


def test_a_proxy_asked_for_later_is_scored_alone(tmp_path):
    record = Recording(file=str(tmp_path / "calls"))
    rank(SPACE, table(8), {"record": record}, out=tmp_path / "out")
    before = (tmp_path / "calls").read_text()
    study = rank(SPACE, table(8), {"record": record, "chance": Chance()}, out=tmp_path / "out")
    assert study is not None and np.isfinite(study.values["chance"]).all()
    assert (tmp_path / "calls").read_text() == before


def test_a_table_without_an_accuracy_is_refused_before_anything_is_scored(tmp_path):
    sizes = replace(table(8), columns={"flops": np.ones(8)})
    with pytest.raises(RankingError, match="the table must have an accuracy, but has only flops"):
        rank(SPACE, sizes, {"chance": Chance()}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def interrupted(done: int, total: int) -> None:
    if done == 17:
        raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["an exception", "a request"])
def test_a_study_that_was_broken_off_continues_and_ends_the_same(tmp_path, how):
    rank(SPACE, table(), PROXIES, out=tmp_path / "whole", seeds=2)
    seen: list[int] = []
    if how == "an exception":
        with pytest.raises(KeyboardInterrupt):
            rank(SPACE, table(), PROXIES, out=tmp_path / "broken", seeds=2, listener=interrupted)
    else:
        stopped = rank(
            SPACE, table(), PROXIES, out=tmp_path / "broken", seeds=2,
            listener=lambda done, total: seen.append(done), stopped=lambda: len(seen) > 17,
        )  # fmt: skip
        assert stopped is None
    assert not (tmp_path / "broken" / "table.csv").exists()
    seen.clear()
    rank(SPACE, table(), PROXIES, out=tmp_path / "broken", seeds=2, listener=lambda done, total: seen.append(done))
    assert seen == list(range(17, 41))
    assert (tmp_path / "broken" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()
    assert without_forwards(tmp_path / "broken" / "table.csv") == without_forwards(tmp_path / "whole" / "table.csv")


@pytest.mark.slow
def test_two_workers_find_what_one_finds(tmp_path):
    proxies = {"vkdnw_single": VkdnwSingle(images=16, directions=8), "az": AzNasTerms(images=8), "quick": Quick()}
    rank(SPACE, table(10), proxies, out=tmp_path / "one")
    with processes(workers=2) as executor:
        rank(SPACE, table(10), proxies, out=tmp_path / "two", executor=executor)
    assert (tmp_path / "two" / "scores.csv").read_bytes() == (tmp_path / "one" / "scores.csv").read_bytes()


def test_a_failed_score_is_counted_and_ranks_last(tmp_path):
    accuracies = table()
    few = Sometimes()
    proxies = {"few": few, "sum": LogRankSum(proxies={"few": few, "chance": Chance()})}
    study = rank(SPACE, accuracies, proxies, out=tmp_path)
    assert study is not None
    failed = np.isnan(study.values["few"][0])
    assert 0 < failed.sum() < len(failed)
    assert {row.failed for row in study.rows} == {failed.sum()}
    chance = np.array([seed_from(0, key) / 2**63 for key in accuracies.architectures])
    lowest = np.where(failed, np.nanmin(study.values["few"][0]), study.values["few"][0])
    expected = np.log(rankdata(lowest) / len(lowest)) + np.log(rankdata(chance) / len(chance))
    assert study.values["sum"][0] == pytest.approx(expected)


def test_where_every_score_fails_the_row_has_no_numbers(tmp_path):
    always = Never()
    proxies = {"never": always, "sum": LogRankSum(proxies={"never": always, "q": Quick()})}
    study = rank(SPACE, table(6), proxies, out=tmp_path)
    assert study is not None
    assert all(math.isnan(row.qualities["good"]["kendall"].mean) for row in study.rows)
    assert lines(tmp_path / "table.csv")[0]["kendall"] == ""


@dataclass(frozen=True, kw_only=True)
class Sometimes:
    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        if probe.seed % 3 == 0:
            raise DegenerateNetwork("not this one")
        return Score(-probe.seed / 2**63)


@dataclass(frozen=True, kw_only=True)
class Never:
    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        raise DegenerateNetwork("never")


@dataclass(frozen=True, kw_only=True)
class Hungry:
    """Has no memory for the network with the most FLOPs."""

    flops: int

    def __call__(self, model: nn.Module, probe: Probe) -> Score:
        assert probe.cost is not None
        if probe.cost.flops >= self.flops:
            raise MemoryError
        return Score(probe.cost.flops)


def test_a_lack_of_memory_is_a_recorded_failure_of_that_network_alone(tmp_path):
    counter = CostCounter(SPACE)
    most = max(counter.cost(SPACE.parse(key)).flops for key in table(6).architectures)
    study = rank(SPACE, table(6), {"hungry": Hungry(flops=most)}, out=tmp_path)
    assert study is not None and lines(tmp_path / "table.csv")[0]["failed"] != "0"


def test_a_bug_in_a_proxy_names_proxy_and_architecture(tmp_path):
    with pytest.raises(ExecutionError, match=r"\|.*with Failing: RuntimeError: a bug"):
        rank(SPACE, table(6), {"bug": Failing(how="raises")}, out=tmp_path)


def test_a_score_is_that_of_a_search_but_each_network_has_a_seed_of_its_own():
    proxy = VkdnwSingle(images=16, directions=8)
    evaluator = Evaluator(SPACE, limits=Limits(), proxy=proxy, seed=5)
    genome = (3, 1, 2, 3, 4, 3)
    key = SPACE.decode(genome).key
    searched = score_candidate(replace(evaluator.task(genome), seed=seed_from(5, key))).score
    cost = CostCounter(SPACE).cost(SPACE.decode(genome))
    (ranked,) = score_network(Job(SPACE, key, 5, cost, {"it": proxy}))
    assert searched is not None and ranked.terms[""] == searched.value


def test_a_term_that_a_sum_computes_anyway_is_read_there_and_is_the_same():
    terms, kernel = AzNasTerms(images=8), TeNasTerms(images=8, region_images=20)
    proxies = {
        "expressivity": Expressivity(images=8), "trainability": Trainability(images=8),
        "other": Expressivity(images=9), "ntk": NtkCondition(images=8), "regions": LinearRegions(region_images=20),
        "az": LogRankSum(proxies={"features": terms}),
        "part": LogRankSum(proxies={"trainability": Trainability(images=8)}),
        "te": LogRankSum(proxies={"kernel": kernel}),
    }  # fmt: skip
    plan = make_plan(proxies)
    assert set(plan.parts) == {identity(terms), identity(kernel), identity(proxies["other"])}
    architecture = SPACE.decode((3, 1, 2, 3, 4, 3))
    cost = CostCounter(SPACE).cost(architecture)
    alone = {name: proxies[name] for name in ("expressivity", "trainability", "ntk", "regions")}
    by_name = {s.part: s.terms for s in score_network(Job(SPACE, architecture.key, 0, cost, alone))}
    joint = {s.part: s.terms for s in score_network(Job(SPACE, architecture.key, 0, cost, plan.parts))}
    for row in plan.rows:
        if row.name in by_name:
            ((part, term),) = row.sources.values()
            assert joint[part][term] == pytest.approx(by_name[row.name][""], rel=1e-6), row.name


def test_a_part_that_failed_on_every_network_gives_no_values():
    plan = make_plan({"az_nas": make_az_nas(images=8), "trainability": Trainability(images=8)})
    nothing = {part: {VALUE: np.full(3, np.nan)} for part in plan.parts}
    assert all(np.isnan(row.values(nothing)).all() for row in plan.rows)


def test_a_sample_depends_on_the_networks_alone_and_grows():
    accuracies = table()
    small, large = (set(sampled(accuracies, n).architectures) for n in (5, 9))
    assert len(small) == 5 and small < large
    backwards = accuracies.rows(range(len(accuracies))[::-1])
    assert set(sampled(backwards, 5).architectures) == small
    order = [accuracies.architectures.index(key) for key in sampled(accuracies, 9).architectures]
    assert order == sorted(order)
    with pytest.raises(RankingError, match="from 2 to the 20"):
        sampled(accuracies, 25)


def test_in_a_sample_ndcg_counts_the_same_share_of_networks(tmp_path):
    study = rank(SPACE, table(), {"quick": Quick()}, out=tmp_path, sample=12)
    assert study is not None and study.P == 600


def test_figures_are_pictures_with_something_on_them(tmp_path):
    rank(SPACE, table(8), {"chance": Chance()}, out=tmp_path, columns=["good"], figures=True)
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert pictures == ["good_bars.png", "good_chance.png"]
    for name in pictures:
        pixels = imread(tmp_path / "figures" / name)[..., :3]
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # lines, marks and text of several colours


def test_the_folder_of_another_space_or_of_something_else_is_left_alone(tmp_path):
    rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "out")
    with pytest.raises(RunFolderError, match=r"must hold scores of .*cells=2.*but holds"):
        rank(NasBench201(cells=2, channels=2, resolution=8), table(6), {"quick": Quick()}, out=tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all my work")
    with pytest.raises(RunFolderError, match="must be an empty folder"):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "scores.sqlite").write_text("no database " * 100)
    with pytest.raises(RunFolderError, match="must be the database of a ranking study"):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "broken")


@pytest.mark.parametrize("terms", ["", "[]", '{"a": "1"}', "[" * 100_000])
def test_a_damaged_score_is_told_of(tmp_path, terms):
    rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "out")
    with contextlib.closing(sqlite3.connect(tmp_path / "out/scores.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE score SET terms = ?", (terms,))
    with pytest.raises(
        RunFolderError, match=r"scores\.sqlite: scores must be as they were written, but are not: that of"
    ):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "out")


@dataclass(frozen=True)
class Width:
    """A stranger's architecture."""

    channels: int

    @property
    def key(self) -> str:
        return f"w{self.channels}"


@dataclass(frozen=True)
class Widths:
    """A stranger's space, with no more than it must have, and ``parse``."""

    name = "widths"
    genes = ()
    input_shape = (3, 8, 8)
    num_classes = 4

    def decode(self, genome):
        raise AssertionError("ranking needs no genomes")

    def build(self, architecture: Width) -> nn.Module:
        w = architecture.channels
        return nn.Sequential(nn.Conv2d(3, w, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(w, 4))

    def source(self, architecture: Width) -> str:
        return ""

    def parse(self, text: str) -> Width:
        if not text.startswith("w"):
            raise SpaceError(f"widths: must begin with w, but is {text!r}")
        return Width(int(text[1:]))


def test_a_study_that_another_process_has_open_is_refused_in_words(tmp_path):
    with ScoreStore(tmp_path / "study", space="toy"), pytest.raises(RunFolderError, match="is in use by another"):
        ScoreStore(tmp_path / "study", space="toy")


def test_a_strangers_space_is_ranked(tmp_path):
    widths = [2, 9, 4, 7]
    accuracies = AccuracyTable(tuple(f"w{w}" for w in widths), {"acc": np.array([20.0, 90.0, 40.0, 70.0])})
    proxies = {"vkdnw_single": VkdnwSingle(images=8), "quick": Quick()}
    study = rank(Widths(), accuracies, proxies, out=tmp_path)
    assert study is not None and {row.name for row in study.rows} == set(proxies)
    with pytest.raises(RankingError, match=r"must have a method parse"):
        rank(type("Mute", (), {"name": "mute"})(), accuracies, proxies, out=tmp_path / "mute")


def test_a_wrong_column_is_named_before_anything_is_scored(tmp_path):
    with pytest.raises(RankingError, match=r"'god'.*mean 'good'"):
        rank(SPACE, table(6), {"quick": Quick()}, out=tmp_path / "out", columns=["god"])
    assert not (tmp_path / "out").exists()
