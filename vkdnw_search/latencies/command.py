"""Latencies from a command of the user's, which is given an ONNX file and prints milliseconds.

A recipe can say that a command times the parts, and how long it may take; which command is said on the command line
(``--latency-command``) or in Python alone, so that a recipe of a stranger's runs nothing.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from annotated_types import Interval

from vkdnw_search.contracts import LatencyContext, Make
from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import LatencyError, LatencyUnknown, shortened
from vkdnw_search.latencies.onnx_files import must_have_extra, write_part
from vkdnw_search.options import check_options
from vkdnw_search.records import Timing

__all__ = ["CommandLatency", "GivenCommand"]

PLACE = "{}"
"""The word of a command, or part of one, that the path of the ONNX file takes the place of."""

MOST_READ = 100_000
"""Bytes of a command's output that are read, from its end."""


@dataclass(frozen=True)
class GivenCommand:
    """A command that times ONNX files.

    Attributes:
        words: are run without a shell; ``{}`` in one of them is the path of the file, which else comes last.
        seconds: that it may take for one file.
        whole: whether it is given whole networks, not parts.
        correction: number of whole networks that sums of parts are fitted to.
    """

    words: tuple[str, ...]
    seconds: float = 60.0
    whole: bool = False
    correction: int = 0

    def __post_init__(self) -> None:
        must_have_extra()

    def timing(self, name: str, make: Make) -> Timing:
        """The number of milliseconds on the last line that the command prints."""
        with tempfile.TemporaryDirectory() as folder, forked_generators():
            path = Path(folder) / "part.onnx"
            write_part(*make(), path)
            with (Path(folder) / "printed").open("w+b") as printed, (Path(folder) / "said").open("w+b") as said:
                code = self._run(path, printed, said)
                if code:
                    raise LatencyUnknown(f"the command ended with exit code {code}{_told(said)}")
                return _timing(_end_of(printed))

    def _run(self, path: Path, printed: IO[bytes], said: IO[bytes]) -> int:
        """Run the command for one file. Where it takes too long, it is ended with all that it started."""
        words = [word.replace(PLACE, str(path)) for word in self.words]
        words += [] if any(PLACE in word for word in self.words) else [str(path)]
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=printed, stderr=said, start_new_session=True
            )
        except OSError as error:
            raise LatencyUnknown(f"the command {self.words[0]!r} cannot be run: {error.strerror or error}") from error
        try:
            return process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            raise LatencyUnknown(f"the command took more than {self.seconds:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own, so nobody else's process
                process.wait()


@dataclass(frozen=True, kw_only=True)
class CommandLatency:
    """A command given by --latency-command, which prints the milliseconds of an ONNX file; needs the extra onnx."""

    seconds: Annotated[float, Interval(gt=0, le=10**5), "the command may take for one file"] = 60.0
    whole: Annotated[bool, "give it whole networks, not parts"] = False
    correction: Annotated[
        int, Interval(ge=0, le=1000), "whole networks that the sums of parts are fitted to; 0: none"
    ] = 0

    def __post_init__(self) -> None:
        check_options(self)

    def within(self, context: LatencyContext) -> GivenCommand:
        """The command of the user. Raises LatencyError if there is none."""
        if not context.command:
            raise LatencyError(
                "a recipe never names a command: give it on the command line, such as "
                "--latency-command 'python time_one.py {}', where {} is the ONNX file"
            )
        return GivenCommand(context.command, self.seconds, self.whole, self.correction)


def _timing(printed: str) -> Timing:
    line = next(iter(reversed(printed.split("\n"))), "")
    try:
        milliseconds = float(line)
    except ValueError:
        milliseconds = math.nan
    if not (math.isfinite(milliseconds) and milliseconds >= 0):
        what = f"{shortened(line)!r}" if line else "nothing"
        raise LatencyUnknown(f"the command must print milliseconds on its last line, but printed {what}")
    return Timing(milliseconds / 1000)


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(file.seek(0, os.SEEK_END) - MOST_READ, 0))
    return file.read().decode("utf-8", errors="replace").strip()


def _told(said: IO[bytes]) -> str:
    last = _end_of(said).rpartition("\n")[2]
    return f": {shortened(last)}" if last else ""
