"""The command line: reads the arguments, and hands them to the observer."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .control.commands import COMMANDS, add_commands, add_socket, run_command
from .observer import (
    LEVELS,
    CheckOptions,
    LogOptions,
    Rules,
    RunOptions,
    check_tree,
    open_streams,
    run_tree,
    to_nobody_if_gone,
)
from .supervision import tree_schema

_COMMANDS = ("run", "check", "schema", "cluster", *COMMANDS)
_SUCH_AS = "a command, such as run, check or ps"

UNWRITABLE = 2  # as if the command line were wrong
INTERRUPTED = 130  # what a shell reports of a program that SIGINT ended

_DESCRIPTION = "Runs supervision trees that are written in YAML, and looks into those that run."

_EPILOG = """\
examples:
  resprout check tree.yaml                     is the tree file right?
  resprout run tree.yaml                       run it until it ends, or until Ctrl-C
  resprout run --help                          everything that can be said about a run
  resprout ps                                  what runs? (from another terminal)
  resprout restart services/api                stop a child and start it again
"""

_RUN_EPILOG = """\
A run ends when the root of the tree ends: when a significant child has ended (auto_shutdown), or when
the children of a supervisor crashed, together, more often than its max_restarts allows.

signals:
  SIGINT (Ctrl-C), SIGTERM      stop the tree in reverse order of its start, each child within its
                                shutdown time; a second one stops at once
  SIGHUP                        the same: the terminal was closed, or a service manager says so;
                                under nohup it stays ignored
  SIGBREAK (Ctrl-Break)         the same, on Windows
  SIGQUIT (Ctrl-\\)              writes to stderr what every process and thread is doing, and goes on

Chaos takes down locks, registries, engines, APIs, replicated workers and the children of dynamic
supervisors, each kind equally often, in turn by an exception inside the process and by a kill. Single
workers are spared unless --chaos-only names them, and so are temporary children, which nobody starts again.

exit status:
  0    the tree ended as it should, or was told to stop
  1    a supervisor gave up, as the crash report on stderr tells; the tree did not start (a port was taken,
       say); or its job could not be made or could not report
  2    the command line or the tree file is wrong; nothing was started
  130  stopped at once, by a second Ctrl-C (143 by a second SIGTERM, 129 by a second SIGHUP)

examples:
  resprout run tree.yaml
  resprout run tree.yaml --set port=8081 --set database=sqlite:///other.db
  resprout run tree.yaml --report report.json --plain
  resprout run tree.yaml --log-level debug --log-file run.log
  resprout run tree.yaml --chaos 200 --seed 7 --chaos-spare api --report report.json
"""

_CHECK_EPILOG = """\
Every mistake is a line `file:line:column: path: what is wrong`, with 0:0 where it has no place in the file.
Nothing is started, but the modules that the file names are imported.

exit status:
  0    the tree is valid
  2    it is not, or it cannot be read

examples:
  resprout check tree.yaml
  resprout check tree.yaml --set port=8081
  resprout check tree.yaml --overlay production
"""

_SCHEMA_EPILOG = """\
It has the kinds of children that are installed here. An editor with the YAML language server completes and
checks a tree by it, if the first line of that is

  # yaml-language-server: $schema=tree.schema.json

exit status:
  0    it is written
  2    the command line is wrong, or the file cannot be written

examples:
  resprout schema --output tree.schema.json
  resprout schema --for-overlays --output overlay.schema.json
"""


_CLUSTER_EPILOG = """\
An engine makes what it needs when it first starts, if its role may. Where it may not, somebody who may runs
install with --grant ROLE, again after an upgrade.

exit status:
  0    it is done
  2    the command line is wrong, or the server says no

examples:
  resprout cluster install postgresql://admin@db/app
  resprout cluster install --grant app postgresql://admin@db/app
  resprout cluster install --grant app --print postgresql://admin@db/app | psql
  resprout cluster status postgresql://app@db/app
  resprout cluster remove postgresql://admin@db/app
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name; by default those of this program.

    Returns:
        The exit status.
    """
    open_streams()
    out = sys.stdout
    try:
        return _command(_parsed(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        # Before the tree runs, or when all is said; while it runs, Ctrl-C is its own affair.
        print("resprout: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        with to_nobody_if_gone(out):  # What --help left in the buffer.
            out.flush()


def _meant(word: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, allowed, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _command(options: argparse.Namespace) -> int:
    match options.command:
        case "run":
            return run_tree(_run_options(options))
        case "cluster":
            return _administer(options)
        case "schema":
            return _write_schema(options.output, overlay=options.for_overlays)
        case "check":
            return check_tree(CheckOptions(options.tree, dict(options.settings), options.overlays))
        case _:
            with to_nobody_if_gone(sys.stdout):  # They write to a pipe like any other program.
                return run_command(options)
            return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, or an exit that says what is wrong with them."""
    parser = _parser()
    if not arguments:
        parser.error(f"expected {_SUCH_AS}; resprout --help says more")
    command = arguments[0]
    if command.startswith("-"):
        if not any(option.startswith(command) for option in ("-h", "--help", "--version")):
            near = _meant(command, ("--help", "--version"))
            parser.error(f"expected {_SUCH_AS}, in front of its options, got: {command}{near}")
    elif command not in _COMMANDS:
        there = f"invalid choice: {command!r} (choose from {', '.join(_COMMANDS)})"
        parser.error(f"argument COMMAND: {there}{_meant(command, (*_COMMANDS, '--help', '--version'))}")
    options, rest = parser.parse_known_args(arguments)
    words = _words(parser)
    if options.command == "completion":
        options.words = words
    # The value of an option that nobody knows is taken for the file, and then the file is left over.
    unknown = [word for word in rest if word.startswith("-") and word != "-"]
    if unknown:
        names = (word.partition("=")[0] for word in unknown)
        near = next((hint for name in names if (hint := _meant(name, words[command]))), "")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
    if rest and command in COMMANDS:
        parser.error(f"expected fewer arguments, got besides: {' '.join(rest)}; resprout {command} --help")
    if rest:
        if command == "schema":
            parser.error(f"expected no file in front of --output FILE, got: {' '.join(rest)}")
        first, what = (options.url, "URL") if command == "cluster" else (str(options.tree), "TREE.yaml")
        parser.error(f"expected one {what}, got: {' '.join([first, *rest])}")
    if options.command == "run" and options.control_tcp is not None and options.socket is False:
        parser.error("expected --control-tcp without --no-socket: its token is written beside the socket")
    if getattr(options, "tcp", None) is not None and options.token_file is None:
        parser.error("expected --token-file PATH together with --tcp HOST:PORT")
    if options.command == "run" and options.chaos is None:
        given = [
            ("--seed", options.seed),
            ("--chaos-spare", options.chaos_spare),
            ("--chaos-only", options.chaos_only),
        ]
        for option, value in given:
            if value not in (None, []):
                parser.error(f"expected {option} only together with --chaos N, got no --chaos")
    return options


def _run_options(options: argparse.Namespace) -> RunOptions:
    return RunOptions(
        tree=options.tree,
        settings=dict(options.settings),
        report=options.report,
        chaos=options.chaos or 0,
        seed=options.seed,
        rules=Rules(frozenset(options.chaos_spare), frozenset(options.chaos_only)),
        look=options.look,
        log=LogOptions(options.log_level, options.log_format, options.log_file),
        overlays=options.overlays,
        socket=options.socket,
        control_tcp=options.control_tcp,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "resprout",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"resprout {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_schema(commands)
    _add_cluster(commands)
    add_commands(commands)
    return parser


def _words(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """The options of each command."""
    commands = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return {
        name: [word for action in each._actions for word in action.option_strings]
        for name, each in commands.choices.items()
    }


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run a tree until it ends",
        description="Starts the tree of a YAML file and shows how it is doing until it ends.",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_tree(run)
    run.add_argument(
        "--report", metavar="FILE", type=Path, help="write what the run came to as JSON, however it ends"
    )
    looks = run.add_mutually_exclusive_group()
    looks.add_argument(
        "--plain", dest="look", action="store_const", const="plain", help="lines, also on a terminal"
    )
    looks.add_argument(
        "--quiet",
        dest="look",
        action="store_const",
        const="quiet",
        help="show nothing but warnings and errors",
    )
    run.set_defaults(look="auto")
    log = run.add_argument_group("log", "what the modules of the tree, and resprout itself, log")
    log.add_argument(
        "--log-level",
        metavar="LEVEL",
        type=_one_of(LEVELS),
        help=f"the least that is shown: {', '.join(LEVELS)} (default: info, of resprout itself warning)",
    )
    log.add_argument(
        "--log-format",
        metavar="FORMAT",
        type=_one_of(("text", "json")),
        help="text, lines for people, or json, an object a line (default: text, as the modules configure it)",
    )
    log.add_argument(
        "--log-file", metavar="FILE", type=Path, help="write all of it to the end of this file, too"
    )
    add_socket(run)
    chaos = run.add_argument_group("chaos", "prove that the tree survives its children")
    chaos.add_argument("--chaos", metavar="N", type=_count, help="take children down N times during the run")
    chaos.add_argument(
        "--seed",
        metavar="S",
        type=int,
        help="chooses the same victims again (default: others each time)",
    )
    chaos.add_argument(
        "--chaos-spare",
        metavar="ID",
        action="append",
        default=[],
        help="leave this child alone: its id, its path, or what its replicas share; may be repeated",
    )
    chaos.add_argument(
        "--chaos-only",
        metavar="ID",
        action="append",
        default=[],
        help="take down only this child; may be repeated",
    )


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="say what is wrong with a tree file",
        description="Reads the tree of a YAML file and says everything that is wrong with it.",
        epilog=_CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_tree(check)


def _add_schema(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    schema = commands.add_parser(
        "schema",
        help="write the JSON Schema of tree files, for editors",
        description="Writes the JSON Schema of tree files, by which editors complete and check them.",
        epilog=_SCHEMA_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schema.add_argument("--output", metavar="FILE", type=Path, help="where to (default: standard output)")
    schema.add_argument("--for-overlays", action="store_true", help="that of overlays, which say a part")


def _write_schema(output: Path | None, *, overlay: bool) -> int:
    text = json.dumps(tree_schema(overlay=overlay), indent=2) + "\n"
    if output is None:
        with to_nobody_if_gone(sys.stdout):
            print(text, end="", flush=True)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"resprout: {output} cannot be written: {error}", file=sys.stderr)
        return UNWRITABLE
    return 0


def _add_cluster(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    cluster = commands.add_parser(
        "cluster",
        help="make, look at or end what an engine keeps on a server",
        description="Looks after what engines, which share locks, keep on a server (docs/cluster.md).",
        epilog=_CLUSTER_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cluster.add_argument(
        "action", metavar="ACTION", choices=("install", "status", "remove"), help="what to do"
    )
    cluster.add_argument("url", metavar="URL", help="of the server, as in postgresql://user@host/database")
    cluster.add_argument(
        "--schema", default="resprout", metavar="NAME", help="where it is kept (default: resprout)"
    )
    cluster.add_argument(
        "--print", dest="only_print", action="store_true", help="write the statements, and run none"
    )
    cluster.add_argument(
        "--grant", metavar="ROLE", help="let a role of PostgreSQL have engines on what is installed"
    )


def _administer(options: argparse.Namespace) -> int:
    from .cluster.command import ClusterOptions, administer

    asked = ClusterOptions(options.action, options.url, options.schema, options.only_print, options.grant)
    status, text = administer(asked)
    print(text if status == 0 else f"resprout: {text}", file=sys.stdout if status == 0 else sys.stderr)
    return status


def _add_tree(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tree", metavar="TREE.yaml", type=Path, help="the tree file; - reads it from standard input"
    )
    parser.add_argument(
        "--overlay",
        dest="overlays",
        metavar="NAME",
        action="append",
        default=[],
        help="lay tree.NAME.yaml, or the file of a path, over the tree file; may be repeated",
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


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def word(text: str) -> str:
        if text.lower() in allowed:
            return text.lower()
        there = f"expected one of {', '.join(allowed)}, got: {text!r}"
        raise argparse.ArgumentTypeError(f"{there}{_meant(text.lower(), allowed)}")

    return word


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got: {text!r}")
    return name, value


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = -1
    if count < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got: {text!r}")
    return count


def _version() -> str:
    try:
        return version("resprout")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
