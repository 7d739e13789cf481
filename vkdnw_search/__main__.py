"""``python -m vkdnw_search``."""

import sys

from vkdnw_search.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
