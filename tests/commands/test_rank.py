from __future__ import annotations

import csv
from pathlib import Path

import pytest

from search_spaces.nasbench201 import NasBench201
from vkdnw_search.commands.main import main
from vkdnw_search.ranking.published import published_row

SHARED = Path(__file__).parents[3] / "shared"
SMALL = ["space.cells=1", "space.channels=2", "space.resolution=8"]


@pytest.fixture
def accuracies(tmp_path):
    """Accuracies by a formula: each convolution is worth ten percent, a pooling costs three."""
    space = NasBench201()
    lines = ["arch,cifar10,cifar100"]
    for last in range(5):
        for first in range(3):
            key = space.decode((first, 3, 1, 2, 4, last)).key
            good = 20 + 10 * key.count("conv") - 3 * key.count("pool")
            lines.append(f"{key},{good},{good / 2}")
    path = tmp_path / "accuracies.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rank(accuracies: Path, *words: str) -> int:
    out = accuracies.parent / "out"
    return main(
        ["rank", "nasbench201", "--accuracies", str(accuracies), "--out", str(out), "-q", "--no-figures", *words]
    )


def test_the_table_is_printed_beside_the_papers_numbers(accuracies, capsys):
    assert rank(accuracies, "--proxies", "flops,parameters", "--seeds", "2", *SMALL) == 0
    printed = capsys.readouterr().out
    assert "| flops | single |" in printed and "(0.623)" in printed and "15 networks, 2 seeds" in printed
    assert printed.startswith((accuracies.parent / "out" / "table.md").read_text())


def test_columns_and_options_are_chosen(accuracies, capsys):
    words = ["--proxies", "vkdnw_single", "--column", "cifar100", "--sample", "4"]
    assert rank(accuracies, *words, *SMALL, "vkdnw_single.images=8", "vkdnw_single.directions=all") == 0
    with (accuracies.parent / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["column"]) for row in rows] == [("vkdnw_single", "cifar100")]
    assert "4 networks" in capsys.readouterr().out


def test_networks_that_no_search_could_visit_are_left_out_if_asked(accuracies, capsys):
    """None of the table has an identity from input to output, until three such cells are added."""
    words = ["--proxies", "flops", "--searchable", "space.residual=true", *SMALL]
    assert rank(accuracies, *words) == 2
    assert "must be able to visit two networks of the table, but can visit 0" in capsys.readouterr().err
    space = NasBench201(residual=True)
    more = [f"{space.decode((1, 3, 1, 2, last)).key},{50 + last},{last}" for last in range(3)]
    accuracies.write_text(accuracies.read_text() + "\n".join(more) + "\n")
    assert rank(accuracies, *words) == 0
    shown = capsys.readouterr().out
    assert "nasbench201: 3 networks" in shown
    assert "15 of 18 networks of the table are left out" in shown
    assert rank(accuracies, "--proxies", "flops", *SMALL, "--out", str(accuracies.parent / "all")) == 0
    assert "nasbench201: 18 networks" in capsys.readouterr().out


def test_regret_under_budgets_is_added_to_the_tables(accuracies, capsys):
    assert rank(accuracies, "--proxies", "flops", *SMALL) == 0
    without = capsys.readouterr().out
    assert "Regret" not in without
    assert rank(accuracies, "--proxies", "flops", "--budgets", "50%,30M,100%", *SMALL) == 0
    printed = capsys.readouterr().out
    assert "| method | type | 50% | 30M | 100% | mean |" in printed
    assert "Fewer than 20 networks are within 50%, 30M, 100%: not judged." in printed  # there are but 15


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--proxies", "flosp"], 2, "Did you mean 'flops'?"),
        (["--proxies", "flops", "jacov.images=9"], 2, "jacov: settings must begin with 'space' or the name of a proxy"),
        (["--proxies", "jacov", "jacov.image=9"], 2, "jacov.image: is not a known key"),
        (["--proxies", "jacov", "jacov.images=0"], 2, "jacov.images: must be"),
        (["--proxies", "jacov", "images=9"], 2, "must have the form NAME.OPTION=VALUE"),
        (["--proxies", "flops", "--column", "cifar1"], 2, "Did you mean 'cifar10'?"),
        (["--proxies", "flops", "--sample", "16"], 2, "must be from 2 to the 15 networks"),
        (["--proxies", "flops", "--budgets", "25"], 2, "Did you mean '25%'?"),
        (["--proxies", "flops", "--budgets", ""], 2, "must be shares of the largest FLOPs such as 35%"),
        (["--proxies", "flops", "--models", "14"], 2, "must be from 1 to 13"),
        (["--proxies", "flops", "--accuracies", "nowhere.csv"], 2, "nowhere.csv: must be an accuracy table"),
    ],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(accuracies, capsys, words, code, message):
    assert rank(accuracies, *words) == code
    assert message in capsys.readouterr().err
    assert not (accuracies.parent / "out").exists()


def test_the_published_numbers_are_those_of_the_paper():
    file = SHARED / "reference" / "table1.csv"
    if not file.exists():
        pytest.skip("the reference table is not beside the project")
    ours_to_be = {"FLOPs": "flops", "GradNorm": "grad_norm", "ZenNAS": "zen", "TE-NAS": "te_nas", "AZ-NAS": "az_nas"}
    kept = ("GRAF", "VKDNW_single", "VKDNW_agg", "VKDNW_m")
    ours_to_be |= {
        name: name.replace("VKDNW_single", "vkdnw_single").replace("VKDNW_agg", "vkdnw_agg") for name in kept
    }
    ours_to_be |= {"VKDNW+ZCS_m": "(VKDNW+ZCS)_m", "VKDNW+ZCS+GRAF_m": "(VKDNW+ZCS+GRAF)_m"}
    with file.open() as lines:
        for row in csv.DictReader(lines):
            for column in ("cifar10", "cifar100", "imagenet16"):
                method = ours_to_be.get(row["method"], row["method"].lower())
                ours = published_row(space="nasbench201", method=method, column=column)
                there = [row[f"{column}_{metric}"] for metric in ("kt", "spr", "ndcg")]
                assert ours is not None
                assert [f"{x:.3f}" for x in ours] == [x or "nan" for x in there], row["method"]


def test_there_are_no_published_numbers_for_other_spaces_methods_or_columns():
    assert published_row(space="mobilenet", method="flops", column="cifar10") is None
    assert published_row(space="nasbench201", method="parameters", column="cifar10") is None
    assert published_row(space="nasbench201", method="flops", column="params") is None
