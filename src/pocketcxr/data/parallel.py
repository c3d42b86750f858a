"""One ordered, bounded thread map for reading images: decoding releases Python's lock, and nothing needs pickling."""

from __future__ import annotations

import itertools
import os
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Generator[Result]:
    """Apply a function in threads and yield the results in order.

    Unlike ``Executor.map`` it holds only a few results per thread in memory, and after an error or Ctrl-C it drops
    what is still waiting instead of finishing it first; wrap it in `contextlib.closing` where the caller's own code may
    fail between two results.

    Args:
        function: called in threads; its exceptions reach the caller at their place in the order.
        items: consumed as results are taken.
        workers: threads; None takes one per core this process may use.
    """
    from concurrent.futures import ThreadPoolExecutor  # 5 ms that the first answer need not wait for

    count = workers or default_workers()
    source = iter(items)
    pool = ThreadPoolExecutor(count)
    try:
        waiting: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in itertools.islice(source, 4 * count)
        )
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(source, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """How many of something, one per core that this process may use: in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
