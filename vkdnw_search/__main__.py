"""``python -m vkdnw_search``: the command line."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()] and not os.path.isdir("vkdnw_search"):  # noqa: PTH109, PTH112
    del sys.path[0]  # nothing is imported from the working directory, which may be a stranger's run folder

from vkdnw_search.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
