"""The arguments of each command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..processes import SORTS, STATES
from ..tcp import read_address
from .completion import SHELLS

__all__ = ["COMMANDS", "add_commands", "add_socket"]

Parser = argparse.ArgumentParser
Commands = argparse._SubParsersAction

_EPILOG = """\
PROCESS is a path in the tree (services/api, as ps shows it; / is the root), a Pid (0.42) or a registered
name. Without --name and --socket the one system is meant that runs of this user.

exit status:
  0    it is done
  1    the system says no, as the line on stderr tells: it has no such process, or what was wanted failed
  2    the command line is wrong
  3    there is no system to ask, there are several, or it does not answer
"""


def add_commands(commands: Commands[Parser]) -> None:
    """Adds every command to a parser's."""
    for name, (help, add) in _COMMANDS.items():
        parser = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=None if name in _WITHOUT_SYSTEM else _EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(parser)
        if name not in ("completion", "new"):
            parser.add_argument("--json", action="store_true", help="write JSON")
        if name not in _WITHOUT_SYSTEM:
            parser.add_argument("--name", metavar="NAME", help="of the system, or NAME-PID")
            parser.add_argument(
                "--socket", metavar="PATH", type=Path, help="of the system, in place of its name"
            )
            parser.add_argument(
                "--tcp", metavar="HOST:PORT", type=_port, help="of the system, where no socket leads to it"
            )
            parser.add_argument("--token-file", metavar="PATH", type=Path, help="has the token for --tcp")


def add_socket(run: Parser) -> None:
    """Adds to `run` where the tree answers."""
    group = run.add_argument_group("control socket", "where the commands find the running tree")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--socket", metavar="PATH", type=Path, help="listen there (default: in the runtime directory)"
    )
    where.add_argument("--no-socket", dest="socket", action="store_const", const=False, help="listen nowhere")
    group.add_argument(
        "--control-tcp",
        metavar="PORT",
        type=_port,
        help="listen at this port of 127.0.0.1 as well (0: any), for who knows the token beside the socket",
    )


def _process(parser: Parser) -> None:
    parser.add_argument("process", metavar="PROCESS", help="a path, a Pid or a name")


def _ps(parser: Parser) -> None:
    parser.add_argument("under", metavar="PROCESS", nargs="?", help="only this one and what is below it")
    _which(parser)
    parser.add_argument("--paths", action="store_true", help="write the paths alone, one a line")


def _which(parser: Parser) -> None:
    parser.add_argument("--sort", choices=tuple(SORTS), help="the most, or of uptime the least, first")
    parser.add_argument("--match", metavar="TEXT", help="only those with TEXT in path, name or class")
    parser.add_argument("--state", choices=STATES, help="only those in this state")


def _top(parser: Parser) -> None:
    _which(parser)
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_interval, default=1.0, help="between two looks (default: 1)"
    )


def _tree(parser: Parser) -> None:
    parser.add_argument(
        "tree",
        metavar="TREE.yaml",
        nargs="?",
        type=Path,
        help="the tree of this file, which is not started (default: of the running system)",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="the value of ${NAME} in the tree file; may be repeated",
    )


def _call(parser: Parser) -> None:
    _message(parser)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=5.0, help="for the reply (default: 5)"
    )


def _send(parser: Parser) -> None:
    _message(parser)
    parser.add_argument("--cast", action="store_true", help="for handle_cast (default: for handle_info)")


def _message(parser: Parser) -> None:
    _process(parser)
    parser.add_argument(
        "message", metavar="JSON", type=_json, help="the message, as in '\"flush\"'; - reads standard input"
    )
    parser.add_argument("--tuples", action="store_true", help="arrays are given as tuples")


def _locks(parser: Parser) -> None:
    parser.add_argument("lock", metavar="LOCK", nargs="?", help="only this one, with holders and waiters")


def _resize(parser: Parser) -> None:
    parser.add_argument("lock", metavar="LOCK")
    parser.add_argument("num_slots", metavar="N", type=_count, help="how many may hold it at once")


def _pause(parser: Parser) -> None:
    parser.add_argument("lock", metavar="LOCK")


def _registry(parser: Parser) -> None:
    parser.add_argument("registry", metavar="NAME", nargs="?", help="its entries (default: all registries)")
    parser.add_argument("key", metavar="KEY", nargs="?", help="only those with this key")


def _logs(parser: Parser) -> None:
    parser.add_argument("child", metavar="CHILD", nargs="?", help="only what it and those below have logged")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is logged from now on")
    parser.add_argument(
        "-n", "--lines", metavar="N", type=_count_or_none, default=100, help="the last N (default: 100)"
    )


def _crashes(parser: Parser) -> None:
    parser.add_argument("-n", "--lines", metavar="N", type=_count, default=20, help="the last N kinds")


def _reload(parser: Parser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _stop(parser: Parser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it has stopped")


def _completion(parser: Parser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def _new(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="must not exist, or be empty")


def _observe(parser: Parser) -> None:
    parser.add_argument(
        "--port", metavar="PORT", type=_count_or_none, default=None, help="of 127.0.0.1 (default: a free one)"
    )
    parser.add_argument("--allow-actions", action="store_true", help="the page may restart, stop, ...")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def _nothing(parser: Parser) -> None:
    pass


_COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "status": ("say what runs, and how its children are, in numbers", _nothing),
    "ps": ("list the processes of the tree", _ps),
    "top": ("show the processes over and over; t m r u sort, arrows scroll, q quits", _top),
    "tree": ("show the tree of a running system, or of a file", _tree),
    "info": ("tell all that is known of a process", _process),
    "restart": ("stop a child in order and start it again", _process),
    "terminate": ("stop a child in order; it stays down", _process),
    "start": ("start a child that is down", _process),
    "suspend": ("have a process leave its messages alone", _process),
    "resume": ("have a suspended process go on", _process),
    "call": ("call a server and write its reply", _call),
    "send": ("send a process a message", _send),
    "locks": ("show the locks, who holds them and who waits", _locks),
    "resize": ("change how many may hold a lock at once", _resize),
    "pause": ("let nobody into a lock any more", _pause),
    "unpause": ("let them in again", _pause),
    "registry": ("show the registries, or the entries of one", _registry),
    "logs": ("show what was logged of late", _logs),
    "crashes": ("show the crashes of late, those of a kind as one", _crashes),
    "reload": ("read the tree file again and apply what has changed", _reload),
    "observe": ("open a page for the browser, and keep it open", _observe),
    "stop": ("stop the whole system in order", _stop),
    "doctor": ("look for what is wrong around resprout", _nothing),
    "completion": ("write the script that completes commands in a shell", _completion),
    "new": ("make a project that runs, with a test", _new),
}
_WITHOUT_SYSTEM = ("doctor", "completion", "new")
COMMANDS = tuple(_COMMANDS)
"""The names of all."""


def _json(text: str) -> Any:
    text = sys.stdin.read() if text == "-" else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        quoted = json.dumps(text)
        raise argparse.ArgumentTypeError(
            f"expected JSON, got: {text!r}; a text has quotes of its own: '{quoted}'"
        ) from None


def _number(text: str, least: int) -> int:
    try:
        count = int(text)
    except ValueError:
        count = least - 1
    if count < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got: {text!r}")
    return count


def _count(text: str) -> int:
    return _number(text, 1)


def _count_or_none(text: str) -> int:
    return _number(text, 0)


def _port(text: str) -> int:
    try:
        return read_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3_600:
        raise argparse.ArgumentTypeError(f"expected a number of seconds from 0 to 3600, got: {text!r}")
    return seconds


def _interval(text: str) -> float:
    seconds = _seconds(text)
    if seconds < 0.1:
        raise argparse.ArgumentTypeError(f"expected at least 0.1 seconds, got: {text!r}")
    return seconds


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got: {text!r}")
    return name, value
