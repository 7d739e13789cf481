"""``python -m vkdnw_search``."""

import sys

from vkdnw_search.cli import main

if __name__ == "__main__":
    sys.exit(main())
