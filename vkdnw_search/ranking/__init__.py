"""How well a proxy ranks networks whose accuracy is known."""
