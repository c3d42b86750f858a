"""The status page and metrics of a running worker: counts, times and drift, nothing that names a patient."""

from __future__ import annotations

import html
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pocketcxr.addresses import is_loopback
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pocketcxr.pacs.drift import Change
    from pocketcxr.pacs.settings import StatusSettings
    from pocketcxr.pacs.worker import Progress

_STYLE = """
:root { color-scheme: light dark; --ground: #eef2f5; --panel: #fff; --text: #15202b; --muted: #485663; --edge: #cfd8df;
  --decided: #0b5a88; --failed: #9a1b1b; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f151b; --panel: #182129; --text: #e7edf2; --muted: #abb8c4;
  --edge: #33414d; --decided: #82c7f1; --failed: #ff9d9d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 1.2rem; }
section { background: var(--panel); border: 1px solid var(--edge); border-radius: 10px; padding: .9rem 1rem;
  margin: .9rem 0; overflow-x: auto; }
h1 { font-size: 1.2rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .4rem; } p { margin: .3rem 0; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem .25rem 0; }
th { color: var(--muted); font-weight: 500; } td:last-child, th:last-child { text-align: right; }
button { font: inherit; color: var(--text); background: var(--ground); border: 1px solid var(--edge);
  border-radius: 8px; padding: .3rem .9rem; }
svg { display: block; } polyline { fill: none; stroke: var(--decided); stroke-width: 1.5; }
circle { fill: var(--decided); } circle.alarm { fill: var(--failed); }
.good { color: var(--decided); } .bad { color: var(--failed); font-weight: 600; } footer { color: var(--muted); }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_MINUTE_S = 60.0
_SHOWN = 20
_TITLE = "pocketcxr beside the archive"
_WIDTH, _HEIGHT, _EDGE = 160, 32, 4  # of a line of weeks, in pixels
_ALARM, _NO_ALARM = 'r="3" class="alarm"', 'r="1.5"'


def page(progress: Progress, bundle: str) -> str:
    """The page: whether the archive answers, what waits, what was done, what failed and is tried again, drift."""
    now = time.monotonic()
    reachable = '<p class="good">The archive answers.</p>' if progress.reachable else _UNREACHABLE
    outcomes = [(name, count) for name, count in sorted(progress.outcomes.items())]
    counts = [
        ("waiting or in hand", progress.waiting),
        ("stored in the last minute", _last_minute(progress)),
        *outcomes,
    ]
    failures = Counter(one.reason for one in list(progress.failures.values()))
    soonest = min((one.next_try - now for one in list(progress.failures.values())), default=0.0)
    last = [
        (f"{time.strftime('%H:%M:%S', time.localtime(at))} {what}", f"{seconds:.1f} s")
        for at, what, seconds in list(progress.last)[:-_SHOWN:-1]
    ]
    retry = f"Next try in {max(0.0, soonest):.0f} s. {_RETRY}" if failures else "None."
    reasons = _table(("reason", "images"), failures.most_common())
    parts = [
        f"<section>{reachable}{_table(('since the start', 'images'), counts)}</section>",
        f"<section><h2>Without a result yet</h2>{reasons}<div>{retry}</div></section>",
        f"<section><h2>Drift by device and week</h2>{_drift(progress.drift)}</section>",
        f"<section><h2>Last results</h2>{_table(('at', 'from retrieval to storage'), last)}</section>",
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLE}</title>"
        f"<style>{_STYLE}</style></head><body><main><h1>{_TITLE}</h1>{''.join(parts)}"
        f"<footer>{html.escape(bundle)}. For research only; not a medical device.</footer></main></body></html>"
    )


def metrics(progress: Progress) -> str:
    """Counts in Prometheus' text format."""
    lines = ["# TYPE pocketcxr_pacs_images_total counter"]
    lines += [
        f'pocketcxr_pacs_images_total{{outcome="{name}"}} {progress.outcomes[name]}'
        for name in ("scored", "not applicable", "failed")
    ]
    gauges = {
        "waiting": progress.waiting,
        "without_result": len(progress.failures),
        "archive_reachable": int(progress.reachable),
        "stored_last_minute": _last_minute(progress),
        "drift_alarms": sum(one.alarm for one in progress.drift),
    }
    for name, value in gauges.items():
        lines += [f"# TYPE pocketcxr_pacs_{name} gauge", f"pocketcxr_pacs_{name} {value}"]
    return "\n".join(lines) + "\n"


@contextmanager
def served(settings: StatusSettings, progress: Progress, bundle: str) -> Iterator[str]:
    """Serve ``/``, ``/metrics`` and ``POST /retry`` while the block runs; gives the address, "" where none is served.

    Raises:
        ConfigError: somebody else listens on the port.
    """
    if not settings.port:
        yield ""
        return
    bodies: dict[str, tuple[str, Callable[[], str]]] = {
        "/": ("text/html; charset=utf-8", lambda: page(progress, bundle)),
        "/metrics": ("text/plain; version=0.0.4; charset=utf-8", lambda: metrics(progress)),
    }
    try:
        server = ThreadingHTTPServer((settings.host, settings.port), _handler(bodies, progress.retry))
    except OSError as error:
        raise ConfigError(f"status.port: cannot listen on {settings.port} ({error.strerror})") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
    thread.start()
    try:
        yield f"http://{settings.host}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


_UNREACHABLE = '<p class="bad">The archive cannot be reached; it is asked again until it answers.</p>'
_RETRY = '<form method="post" action="/retry"><button>Try all again now</button></form>'


def _handler(bodies: dict[str, tuple[str, Callable[[], str]]], retry: Callable[[], None]) -> type:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            kind, body = bodies.get(self.path, ("", str)) if self._is_ours("Host") else ("", str)
            self._answer(200 if kind else 404, body(), kind or "text/plain")

        def do_POST(self) -> None:
            asked = self.path == "/retry" and self._is_ours("Host") and self._is_ours("Origin")
            if asked:
                retry()
            self._answer(303 if asked else 404)

        def _is_ours(self, header: str) -> bool:
            """Whether a header names this computer: another site's page must neither read nor ask."""
            host = self.headers.get(header, "")
            return is_loopback(urlsplit(host if "//" in host else f"//{host}").hostname or "")

        def _answer(self, status: int, body: str = "", kind: str = "text/plain") -> None:
            data = body.encode()
            self.send_response(status)
            headers = {"Content-Type": kind, "Content-Length": str(len(data)), "Cache-Control": "no-store"}
            for name, value in {**headers, "Content-Security-Policy": _POLICY, "Location": "/"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it has in the class above
            """Log nothing: requests of a page that reloads itself tell nothing."""

    return Handler


def _last_minute(progress: Progress) -> int:
    since = time.time() - _MINUTE_S
    return sum(at > since for at in list(progress.stored_at))


def _drift(found: Sequence[Change]) -> str:
    """A table with a line chart for each value of each device; weeks that differ are marked and named."""
    if not found:
        return "<p>Not computed yet, or no results in the archive.</p>"
    series: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for one in found:
        series[one.device, one.name].append(one)
    rows = []
    for (device, name), weeks in series.items():
        alarms = [one.week for one in weeks if one.alarm]
        told = f'<span class="bad">{", ".join(alarms)}</span>' if alarms else "none"
        texts = (html.escape(device), html.escape(name), _line(weeks), f"{weeks[-1].value:.3f}", told)
        rows.append("<tr>" + "".join(f"<td>{text}</td>" for text in texts) + "</tr>")
    spoken = f"{found[0].week} to {max(one.week for one in found)}"
    head = "".join(f"<th>{name}</th>" for name in ("device", "value", spoken, "last week", "alarm in"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _line(weeks: Sequence[Change]) -> str:
    """Line chart of one value, each week a point; its height is the range of the values, at least 0.05."""
    values = [one.value for one in weeks]
    low, span = min(values), max(0.05, max(values) - min(values))
    step = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    points = [
        (_EDGE + number * step, _HEIGHT - _EDGE - (value - low) / span * (_HEIGHT - 2 * _EDGE))
        for number, value in enumerate(values)
    ]
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" {_ALARM if one.alarm else _NO_ALARM}>'
        f"<title>{one.week}: {one.value:.3f} of {one.images} images</title></circle>"
        for (x, y), one in zip(points, weeks, strict=True)
    )
    line = f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    text = f"{len(values)} weeks, {low:.3f} to {max(values):.3f}"
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{text}">{line}{dots}</svg>'


def _table(head: tuple[str, str], rows: Sequence[tuple[str, object]]) -> str:
    lines = [(html.escape(str(one)), html.escape(str(other))) for one, other in rows]
    cells = "".join(f"<tr><td>{one}</td><td>{other}</td></tr>" for one, other in lines)
    return f"<table><tr><th>{head[0]}</th><th>{head[1]}</th></tr>{cells}</table>" if rows else ""
