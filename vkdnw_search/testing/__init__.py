"""Conformance tests for plug-ins, to be called from the tests of whoever writes one.

Each check raises ConformanceError with a sentence for everything that is wrong: where, what must hold, what came and
how to mend it. A check that passes returns None::

    def test_my_space():
        check_search_space(MySpace())
"""

from vkdnw_search.errors import ConformanceError
from vkdnw_search.testing.executor import check_executor
from vkdnw_search.testing.optimizer import check_optimizer
from vkdnw_search.testing.proxy import check_proxy
from vkdnw_search.testing.space import check_search_space

__all__ = ["ConformanceError", "check_executor", "check_optimizer", "check_proxy", "check_search_space"]
