"""Regret under FLOPs budgets (``rank --budgets``): the budgets, what is measured, its table and its figure."""
