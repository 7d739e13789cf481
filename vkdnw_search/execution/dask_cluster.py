"""Candidates scored on a Dask cluster, on this machine or on many, behind ``concurrent.futures.Executor``.

Dask sends a call whose worker died to another worker, and takes in workers that join; nothing survives its scheduler.
That is enough, since a score is a function of its task alone and the run folder is the only memory of a run.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import pickle
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Annotated, Any, Literal, ParamSpec, TypeVar
from urllib.parse import SplitResult, urlsplit

from annotated_types import Interval

from vkdnw_search.errors import CandidateLost, PluginError, told
from vkdnw_search.execution.safe_path import SAFE_PATH, safe_import_path
from vkdnw_search.options import strict_options
from vkdnw_search.recipe.registry import load_plugins, plugin_paths

P = ParamSpec("P")
T = TypeVar("T")

RECOUNT = 1.0
"""Seconds for which the number of worker threads is taken to be what it was."""

WORKERS = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in SAFE_PATH.items()},
}
"""Settings of the workers of a local cluster. Dask makes them give memory back at once, which doubles the time of
scores, since they take it again each time; and they must not import from the working directory."""

CERTIFICATES = {
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "ca-file",
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "client.cert",
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": "client.key",
}
"""Variable of the environment → Dask's own name of what it sets."""

PATIENCE = 30.0
"""Seconds to wait for a scheduler to answer."""


@strict_options()
def dask(
    *,
    address: Annotated[str | None, "of a scheduler, tcp://HOST:PORT or tls://HOST:PORT; none: a local cluster"] = None,
    workers: Annotated[
        int | Literal["auto"], Interval(ge=1, le=1024), "processes of the local cluster; auto: one a core"
    ] = "auto",
    insecure: Annotated[bool, "allow tcp:// to other machines: whoever reaches the port can run code there"] = False,
) -> Executor:
    """A Dask cluster (needs the extra ``vkdnw-search[dask]``). Results do not depend on how many workers there are."""
    if address is not None:
        _must_be_safe(address, insecure=insecure)
    try:
        from dask import config
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise PluginError(f"needs `pip install vkdnw-search[dask]`: {told(error)}") from error
    if address is not None and address.startswith("tls:"):
        missing = [
            name for name, key in CERTIFICATES.items() if config.get(f"distributed.comm.tls.{key}", None) is None
        ]
        if missing:
            raise ValueError(f"address: {address} needs certificates; set {', '.join(missing)} in the environment")
    cluster = None
    if address is None:
        with config.set(WORKERS), safe_import_path():
            cluster = LocalCluster(  # type: ignore[no-untyped-call]  # distributed has types for some of its API only
                n_workers=None if workers == "auto" else workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # None would ask for port 8787, which another cluster may have
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.ERROR,
            )
    try:
        client = Client(cluster or address, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except OSError as error:
        if cluster is not None:
            cluster.close(timeout=PATIENCE)
        raise ValueError(f"address: no scheduler answers at {address}: {error}") from error
    return Dask(client, cluster)


def _must_be_safe(address: str, *, insecure: bool) -> None:
    """Dask runs whatever code it is sent: only over TLS, or where no other machine can connect."""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"address: must be tcp://HOST:PORT or tls://HOST:PORT, but is {address!r}")
    if parts.scheme == "tcp" and not insecure and not _is_loopback(parts.hostname):
        raise ValueError(
            f"address: must be tls://… for another machine, but is {address!r}. On a network where everybody may run "
            "code on your machines, say insecure: true"
        )


def _has_port(parts: SplitResult) -> bool:
    try:
        return parts.port is not None
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Dask(Executor):
    """The workers of a Dask client.

    Args:
        client: connected.
        cluster: to be closed with it, if it was made for it.
    """

    def __init__(self, client: Any, cluster: Any = None) -> None:
        self._client, self._cluster = client, cluster
        self._executor = client.get_executor(pure=False, retries=0)
        self._threads, self._counted = 1, -RECOUNT

    @property
    def capacity(self) -> int:
        """One call for each worker thread that is there now, so that a death concerns the call under way alone."""
        if time.monotonic() - self._counted >= RECOUNT and self._client.status == "running":
            with contextlib.suppress(OSError):  # a scheduler that is lost just now cancels what is under way
                self._threads = max(1, sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._threads

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn`` on a worker.

        The future raises CandidateLost when the call ended several workers, CancelledError when the scheduler is lost.
        """
        given: Future[Any] = self._executor.submit(_call, plugin_paths(), pickle.dumps((fn, args, kwargs)))
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        given.add_done_callback(lambda done: _pass_on(done, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of the cluster; a local one ends."""
        self._executor.shutdown(wait=wait and not cancel_futures and self._client.status == "running")
        self._client.close(timeout=PATIENCE)
        if self._cluster is not None:
            self._cluster.close(timeout=PATIENCE)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None)


def _pass_on(done: Future[Any], future: Future[Any]) -> None:
    """Dask's outcome as ours."""
    from distributed.scheduler import KilledWorker

    try:
        future.set_result(done.result())
    except KilledWorker:
        future.set_exception(CandidateLost("scoring it ended several Dask workers; out of memory is a common cause"))
    except BaseException as error:
        future.set_exception(error)


def _call(plugins: tuple[str, ...], order: bytes) -> Any:
    """Make a call on a worker. Pickled once more, since plug-ins must have joined before it can be read."""
    load_plugins(plugins)
    fn, args, kwargs = pickle.loads(order)
    return fn(*args, **kwargs)
