from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vkdnw_search.racing.schedule import Rung, schedule, trained_epochs


def test_the_schedules_of_hand_worked_examples() -> None:
    assert schedule(8, epochs=12) == (Rung(8, 1), Rung(3, 4), Rung(2, 12))
    assert trained_epochs(schedule(8, epochs=12)) == 8 + 3 * 3 + 2 * 8
    assert schedule(8, epochs=3) == (Rung(8, 1), Rung(3, 3))
    assert schedule(8, epochs=1) == (Rung(8, 1),)
    assert schedule(16, epochs=8, rungs=4, keep=0.5) == (Rung(16, 1), Rung(8, 2), Rung(4, 4), Rung(2, 8))
    assert schedule(5, epochs=9, rungs=2, keep=1) == (Rung(5, 9),)
    assert schedule(2, epochs=27, rungs=4) == (Rung(2, 1), Rung(2, 3), Rung(2, 9), Rung(2, 27))


@given(st.integers(2, 40), st.integers(1, 300), st.integers(1, 6), st.floats(0.05, 1))
def test_rungs_get_longer_and_emptier_and_the_last_ends_with_the_epochs(
    networks: int, epochs: int, rungs: int, keep: float
) -> None:
    parts = schedule(networks, epochs=epochs, rungs=rungs, keep=keep)
    ends, sizes = [part.epochs for part in parts], [part.networks for part in parts]
    assert len(parts) <= rungs and ends[-1] == epochs and sizes[0] == networks
    assert ends == sorted(set(ends)) and ends[0] >= 1
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] >= 2
    assert trained_epochs(parts) <= networks * epochs
