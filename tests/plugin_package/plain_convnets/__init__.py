"""A search space as an installed package: its entry point alone makes it known."""

from __future__ import annotations

from tests.support.tiny_space import Tiny


class PlainConvnets(Tiny):
    """Networks of one or two convolutions, from a package of its own."""

    name = "plain_convnets"
