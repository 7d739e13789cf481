from __future__ import annotations

import math

import pytest

from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.regret.budgets import Budget, read_budgets


def test_shares_and_numbers_are_read_in_their_order_each_once():
    found = read_budgets("35%, 150M,100%,35.0%,2e8,1.5G,150000000")
    assert [str(budget) for budget in found] == ["35%", "150M", "100%", "200M", "1.5G"]
    assert [budget.flops(80e6) for budget in found] == [28e6, 150e6, 80e6, 200e6, 1.5e9]


def test_all_of_the_largest_is_the_largest():
    for flops in (182_905_226.0, 7.0, 1e15 + 1):
        assert Budget(100, is_share=True).flops(flops) == flops


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("25", "one is '25'. Did you mean '25%'?"),
        ("35%,150MB", "one is '150MB'. Did you mean '150M'?"),
        ("", "one is ''."),
        ("25%,", "one is ''."),
        ("0%", "one is '0%'"),
        ("100.5%", "one is '100.5%'"),
        ("nan%", "one is 'nan%'"),
        ("inf", "one is 'inf'"),
        ("-5%", "one is '-5%'"),
        ("999", "one is '999'"),
        ("12k%", "one is '12k%'"),
    ],
)
def test_what_is_no_budget_is_refused_in_words(text, words):
    with pytest.raises(RankingError) as error:
        read_budgets(text)
    assert words in str(error.value) and "such as 35%, or FLOPs such as 150M" in str(error.value)


@pytest.mark.parametrize("amount", [0, -1, math.nan, math.inf])
def test_no_budget_is_made_that_no_network_could_keep(amount):
    with pytest.raises(RankingError):
        Budget(amount)
    with pytest.raises(RankingError):
        Budget(amount, is_share=True)
