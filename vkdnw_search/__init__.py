"""Training-free neural architecture search by the spectrum of the Fisher information (VKDNW).

A search goes through the packages in this order:

    recipe        YAML → frozen Recipe; the plug-ins that it may choose, and their options
    provenance    which code a score comes from: versions, and hashes of sources
    choices       a search space made of any module that asks for choices; others are in ../search_spaces
    cost          FLOPs by fvcore, parameters, peak memory, latency; the limits on them
    optimizers    ask and tell: evolution, aging evolution, random search, NSGA-II
    fisher        the Fisher information of a network, by one backward pass
    proxies       scores at initialization (zero-cost proxies): VKDNW_single and the baselines of the field
    execution     where candidates are scored: this process, worker processes, a Dask cluster
    runs          the run folder, its database, and what a search found
    engine        one session of a search: candidates, finalists, what a run would meet (doctor)
    output        the winner as model.py and in other forms, checked; the report
    run.py        the search from recipe to result: ask → evaluate → tell, then export

Beside it stand ``racing`` (the shortlist of a run, trained a little), ``comparing`` (runs side by side), ``ranking``
(how well proxies rank networks of known accuracy), ``testing`` (conformance tests for plug-ins of your own) and
``commands`` (the command line). What a plug-in has to offer is in ``contracts.py``, what crosses the borders between
packages in ``records.py``, what may go wrong in ``errors.py``.

Importing this package imports nothing else: each name below is fetched when it is first used (PEP 562), since torch
takes seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vkdnw_search.comparing.compare import compare
    from vkdnw_search.comparing.outcome import Comparison
    from vkdnw_search.errors import VkdnwSearchError
    from vkdnw_search.output.module import export
    from vkdnw_search.proxies.model_score import score
    from vkdnw_search.racing.outcome import Race
    from vkdnw_search.racing.race import race
    from vkdnw_search.recipe.recipe import Recipe, load_recipe
    from vkdnw_search.run import search
    from vkdnw_search.runs.result import FoundNetwork, Result, build
else:  # not for type checkers, which would take any name for one of this package
    from importlib import import_module

    _HOMES = {
        "Comparison": "comparing.outcome",
        "FoundNetwork": "runs.result",
        "Race": "racing.outcome",
        "Recipe": "recipe.recipe",
        "Result": "runs.result",
        "VkdnwSearchError": "errors",
        "build": "runs.result",
        "compare": "comparing.compare",
        "export": "output.module",
        "load_recipe": "recipe.recipe",
        "race": "racing.race",
        "score": "proxies.model_score",
        "search": "run",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Comparison",
    "FoundNetwork",
    "Race",
    "Recipe",
    "Result",
    "VkdnwSearchError",
    "build",
    "compare",
    "export",
    "load_recipe",
    "race",
    "score",
    "search",
]
