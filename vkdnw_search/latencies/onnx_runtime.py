"""Latencies timed in ONNX Runtime on this machine."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, Len

from vkdnw_search.contracts import Make
from vkdnw_search.determinism import forked_generators
from vkdnw_search.errors import LatencyError, LatencyUnknown, shortened
from vkdnw_search.latencies.onnx_files import inputs_of, must_have_extra, nothing, quantize, write_part
from vkdnw_search.latencies.repeated_runs import timed
from vkdnw_search.options import check_options
from vkdnw_search.records import Timing

__all__ = ["OnnxRuntimeLatency"]

LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
ERRORS_ALONE = 3


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeLatency:
    """ONNX Runtime on this machine, in float32 or int8; needs the extra onnx."""

    providers: Annotated[
        tuple[str, ...], Len(1, 16), "execution providers by name, the first that can run an operator does"
    ] = ("CPUExecutionProvider",)
    threads: Annotated[int, Interval(ge=1, le=1024), "threads within an operator"] = 1
    optimization: Annotated[Literal["none", "basic", "extended", "all"], "of the graph"] = "all"
    precision: Annotated[Literal["float32", "int8"], "int8: quantized statically, calibrated on random inputs"] = (
        "float32"
    )
    whole: Annotated[bool, "time each network whole, not by parts"] = False
    correction: Annotated[
        int, Interval(ge=0, le=1000), "whole networks that the sums of parts are fitted to; 0: none"
    ] = 24

    def __post_init__(self) -> None:
        check_options(self)
        must_have_extra()
        import onnxruntime

        there = onnxruntime.get_available_providers()
        if missing := [name for name in self.providers if name not in there]:
            raise LatencyError(
                f"providers: must be among those of the installed onnxruntime ({', '.join(there)}), but "
                f"{', '.join(map(repr, missing))} is not"
            )

    def timing(self, name: str, make: Make) -> Timing:
        """The median seconds of a run of the module's ONNX file, without what a run of nothing takes."""
        with tempfile.TemporaryDirectory() as folder, forked_generators():
            path = Path(folder) / "part.onnx"
            write_part(*make(), path)
            found = timed(self.runner(path))
        return Timing(max(found.seconds - self._seconds_of_a_call, 0.0), found.spread)

    def runner(self, path: Path) -> Callable[[], object]:
        """What runs an ONNX file in float32, which is quantized before if that is asked for, on a random input.

        Raises:
            LatencyUnknown: ONNX Runtime cannot run it.
        """
        if self.precision == "int8":
            quantize(path, path := path.with_suffix(".int8.onnx"))
        try:
            session = self._session(path)
            run: Callable[[], object] = partial(session.run, None, inputs_of(session, np.random.default_rng(0)))
            run()
        except Exception as error:  # whatever the runtime raises for this graph
            raise LatencyUnknown(f"ONNX Runtime cannot run it: {type(error).__name__}: {shortened(error)}") from error
        return run

    @cached_property
    def _seconds_of_a_call(self) -> float:
        """What a run takes that computes nothing, once for each part but only once for a whole network."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "nothing.onnx"
            write_part(*nothing(), path)
            return timed(dataclasses.replace(self, precision="float32").runner(path)).seconds

    def _session(self, path: Path) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[self.optimization])
        options.log_severity_level = ERRORS_ALONE
        return onnxruntime.InferenceSession(str(path), options, providers=list(self.providers))
