"""run.log: what the library tells while a run lasts, whether or not the caller has set logging up."""

from __future__ import annotations

import logging
from pathlib import Path

from vkdnw_search.contained_files import open_to_append

LOGGER = logging.getLogger("vkdnw_search")


class RunLog:
    """Appends the library's messages to a file until it is closed.

    Messages of level INFO have to be let through for that. Whoever set logging up sees none besides those that would
    have come without: the library's logger hands on only what reached its level before, and is left as it was.

    Args:
        file: made if it is not there.

    Raises:
        RunFolderError: it is a link or something else.
    """

    def __init__(self, file: Path) -> None:
        self._before = LOGGER.level, LOGGER.propagate
        self._file = open_to_append(file)
        written = logging.StreamHandler(self._file)
        written.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers: list[logging.Handler] = [written]
        if LOGGER.propagate:
            handlers.append(_HandedOn(LOGGER.getEffectiveLevel()))
        self._handlers = handlers
        for handler in self._handlers:
            LOGGER.addHandler(handler)
        LOGGER.setLevel(min(logging.INFO, LOGGER.getEffectiveLevel()))
        LOGGER.propagate = False

    def close(self) -> None:
        """End the log and leave the logger as it was."""
        level, LOGGER.propagate = self._before
        LOGGER.setLevel(level)
        for handler in self._handlers:
            LOGGER.removeHandler(handler)
            handler.close()
        self._file.close()


class _HandedOn(logging.Handler):
    """Hands messages from a level on to the loggers above, as the library's logger did before."""

    def emit(self, record: logging.LogRecord) -> None:
        above = LOGGER.parent
        if above is not None and record.levelno >= self.level:
            above.handle(record)
