"""Reference of the command line, from the argument parsers."""

from __future__ import annotations

import argparse
import re

from markdown import code, sentence, table

from pocketcxr.cli import build_parser


def page() -> str:
    """Every command with its usage, its options and its examples."""
    parsers = subcommands()
    names = ", ".join(f"[`{name}`](#pocketcxr-{name})" for name in parsers)
    return "\n\n".join([f"Commands: {names}.", *(_section(name, parser) for name, parser in parsers.items())])


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """Name to parser of every command that `pocketcxr --help` shows."""
    commands = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {choice.dest: commands.choices[choice.dest] for choice in commands._choices_actions}


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    visible = [
        action
        for action in parser._actions
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]
    parts = [f"## `pocketcxr {name}`", sentence(parser.description or "")]
    parts.append(f"```text\n{_usage(parser)}\n```")
    if visible:
        parts.append(table(("option", "meaning", "default"), (_row(parser, action) for action in visible)))
    parts += _epilog(parser.epilog or "")
    return "\n\n".join(parts)


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=96, max_help_position=30)
    visible = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    formatter.add_usage(None, visible, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str, str]:
    metavar = action.metavar or (action.dest.upper() if action.nargs != 0 and action.option_strings else "")
    metavar = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    if action.choices and not action.metavar:
        metavar = ""
    names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    shown = f"{names} {metavar}".strip() if action.option_strings else names
    meaning = parser._get_formatter()._expand_help(action) if action.help else ""
    meaning = sentence(re.sub(r"\s*\(default:? [^()]*\)\s*$", "", meaning) or meaning)
    if action.choices:
        meaning = f"{meaning} One of {', '.join(code(str(choice)) for choice in action.choices)}.".strip()
    return f"`{shown}`", meaning, _default(parser, action)


def _default(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    told = re.search(r"\(default:? ([^()]*)\)", (action.help or "") % vars(action) if action.help else "")
    if told:
        return told.group(1)
    if not action.option_strings:
        return "required" if action.nargs not in ("?", "*") else "–"
    if action.required:
        return "required"
    if action.nargs == 0:
        return "off"
    default = parser.get_default(action.dest)
    if default is None or default in ([], ()):
        return "–"
    return code(" ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default))


def _epilog(text: str) -> list[str]:
    """Examples as a block of shell lines, whatever follows them as text."""
    if not text.startswith("examples:"):
        return [sentence(text)] if text else []
    examples, _, rest = text.removeprefix("examples:").strip("\n").partition("\n\n")
    shown = []
    for line in examples.splitlines():
        command, *comment = re.split(r"\s{3,}", line.strip(), maxsplit=1)
        shown += [*(f"# {one}" for one in comment), command]
    block = "```sh\n" + "\n".join(shown) + "\n```"
    return [block, *([sentence(rest)] if rest.strip() else [])]
