"""Training-free neural architecture search by the spectrum of the Fisher information (VKDNW).

The flow, and the files it can be read from:

    recipe      recipe.py, sections.py     YAML → frozen Recipe
    space       ../search_spaces/          genes, decode, build, source
    candidate   contracts.py, records.py   Genome → Architecture
    cost        budget.py                  FLOPs by fvcore, limits
    score       fisher.py, proxies/        VKDNW_single and the baselines of the field
    optimizer   optimizers.py              ask, tell
    evaluate    evaluate.py, executors.py  each architecture once, on any number of workers
    search      search.py, session.py      ask → evaluate → tell
    store       store.py, run_folder.py    one SQLite file, results.csv
    export      result.py, export.py       model.py, checked against the searched network
"""

from __future__ import annotations

from vkdnw_search.errors import VkdnwSearchError
from vkdnw_search.output.module import export
from vkdnw_search.proxies.model_score import score
from vkdnw_search.recipe.recipe import Recipe, load_recipe
from vkdnw_search.run import search
from vkdnw_search.runs.result import FoundNetwork, Result, build

__all__ = ["FoundNetwork", "Recipe", "Result", "VkdnwSearchError", "build", "export", "load_recipe", "score", "search"]
