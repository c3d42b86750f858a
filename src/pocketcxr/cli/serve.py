"""The command ``serve``: predictions over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_bundle_option, add_command, path_argument

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the command of this module."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        needs=("serve",),
        summary="serve predictions over HTTP; needs no training framework",
        examples="  pocketcxr serve\n"
        "  pocketcxr serve --bundle runs/mine/bundle/covid-3class.onnx --port 8080\n"
        "  pocketcxr serve --host 0.0.0.0 --token-file token.txt      reachable by others: a token is needed",
        exits={0: "stopped by SIGTERM or Ctrl-C, what was accepted answered", 2: "it could not start"},
    )
    add_bundle_option(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer only)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one and says which (default 8000)")
    parser.add_argument("--workers", type=int, help="processes that score (default: one per processor)")
    parser.add_argument(
        "--token-file",
        type=path_argument,
        metavar="FILE",
        help="token that clients must send (default: $POCKETCXR_TOKEN)",
    )
    parser.add_argument("--max-file-mb", type=int, default=64, metavar="N", help="largest file (default 64)")
    parser.add_argument("--max-files", type=int, default=16, metavar="N", help="files in one request (default 16)")
    parser.add_argument(
        "--max-megapixels", type=float, default=64, metavar="N", help="largest image (default 64, which is the most)"
    )
    parser.add_argument(
        "--max-wait", type=float, default=2, metavar="S", help="expected wait beyond which to say 503 (default 2 s)"
    )
    parser.add_argument("--queue", type=int, metavar="N", help="images that may wait (default: 64 per worker)")
    parser.add_argument("--timeout", type=float, default=20, metavar="S", help="for one image (default 20 s)")


def _serve(options: argparse.Namespace) -> None:
    from pocketcxr.serving.command import run_serve
    from pocketcxr.serving.settings import settings_from

    run_serve(settings_from(options))
