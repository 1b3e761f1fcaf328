"""Carries out a command: asks the running system, and writes what it answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...actors import ConfigError
from ...actors.engine import printable
from ...supervision import Application
from ..client import Client, NoSystem
from ..errors import Refusal
from . import showing
from .completion import script
from .doctor import findings
from .meant import meant
from .new_project import make_project
from .observing import observe

__all__ = ["REFUSED", "UNREACHABLE", "WRONG", "run_command"]

REFUSED = 1
"""The exit status when the system says no."""
WRONG = 2
"""When the command line, or the file that it names, is wrong."""
UNREACHABLE = 3
"""When there is no system to ask."""
_LONG = 3_600.0 * 25


def run_command(options: argparse.Namespace) -> int:
    """Carries out one of the commands of this room.

    Args:
        options: As the parser gives them.

    Returns:
        The exit status: see `resprout ps --help`.
    """
    try:
        return _COMMANDS[options.command](options)
    except Refusal as refused:
        print(f"resprout: {refused.message}", file=sys.stderr)
        return REFUSED
    except NoSystem as error:
        print(f"resprout: {error}", file=sys.stderr)
        return UNREACHABLE
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"resprout: {error}", file=sys.stderr)
        return REFUSED


def _client(options: argparse.Namespace, timeout: float | None = 60.0) -> Client:
    return Client(meant(options), timeout)


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _write_json(told: object) -> None:
    print(json.dumps(told, ensure_ascii=False))


def _shown(do: str, show: Callable[[Any], Iterator[str]]) -> Callable[[argparse.Namespace], int]:
    """A command that makes one request without arguments and shows the answer."""

    def command(options: argparse.Namespace) -> int:
        with _client(options) as client:
            told = client.ask(do)
        _write_json(told) if options.json else _write(show(told))
        return 0

    return command


def _ps(options: argparse.Namespace) -> int:
    wanted = {name: getattr(options, name) for name in ("under", "sort", "match", "state")}
    with _client(options) as client:
        rows = client.pages("ps", wanted)
        if options.json:
            _write_json(list(rows))
        elif options.paths:
            _write(printable(row["path"]) for row in rows)
        else:
            _write(showing.ps(list(rows)))
    return 0


def _top(options: argparse.Namespace) -> int:
    try:
        from .top import top
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        raise Refusal("no_rich", "`resprout top` needs rich: pip install 'resprout[cli]'") from None
    return top(options)


def _tree(options: argparse.Namespace) -> int:
    if options.tree is None:
        with _client(options) as client:
            rows = list(client.pages("ps"))
    else:
        application = Application.load(options.tree, dict(options.settings))
        try:
            rows = list(_rows_of_file(application))
        finally:
            application.tree.close()
    _write_json(rows) if options.json else _write(showing.tree(rows))
    return 0


def _rows_of_file(application: Application) -> Iterator[dict[str, Any]]:
    """The children that a file lists, as rows like those of a running system."""
    tree = application.tree
    yield _row_of_file(("",), "supervisor", tree.strategy)

    def below(entries: Iterable[Any], path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            kind = {"throttle": "lock", "asgi": "api"}.get(entry.kind, entry.kind)
            for spec in entry.specs:
                here = (*path, str(spec.id))
                strategy = spec.start[2].get("strategy") if spec.type == "supervisor" else None
                yield _row_of_file(here, kind, strategy)
                yield from below(entry.children, here)

    yield from below(tree.entries, ())


def _row_of_file(path: tuple[str, ...], kind: str, strategy: str | None) -> dict[str, Any]:
    label = "/".join(path) or "/"
    depth = 0 if label == "/" else len(path)
    return {"path": label, "depth": depth, "kind": kind, "strategy": strategy, "state": None, "restarts": 0}


def _info(options: argparse.Namespace) -> int:
    with _client(options) as client:
        told = client.ask("info", {"process": options.process})
    _write_json(told) if options.json else _write(showing.info(told))
    return 0


def _act(options: argparse.Namespace) -> int:
    """A command whose request is named like it, and takes a process."""
    with _client(options, _LONG) as client:
        told = client.ask(options.command, {"process": options.process})
    if options.json:
        _write_json(told)
    else:
        pid = f" as {told['pid']}" if options.command in ("restart", "start") and told["pid"] else ""
        print(f"{printable(told['path'])}: {_DONE[options.command]}{pid}")
    return 0


_DONE = {
    "restart": "restarted",
    "terminate": "terminated",
    "start": "started",
    "suspend": "suspended",
    "resume": "goes on",
}


def _call(options: argparse.Namespace) -> int:
    asked = {"process": options.process, "timeout": options.timeout, "tuples": options.tuples}
    with _client(options, options.timeout + 30.0) as client:
        # None is a message, too, which an argument that is None is not.
        told = client.ask("call", asked, message=options.message)
    if options.json:
        _write_json(told)
    else:
        print(json.dumps(told["value"], ensure_ascii=False) if told["json"] else told["text"])
    return 0


def _send(options: argparse.Namespace) -> int:
    asked = {"process": options.process, "cast": options.cast, "tuples": options.tuples}
    with _client(options) as client:
        told = client.ask("send", asked, message=options.message)
    _write_json(told) if options.json else print(f"sent to {told['pid']}")
    return 0


def _locks(options: argparse.Namespace) -> int:
    with _client(options) as client:
        told = client.ask("locks", {"lock": options.lock})
    if options.json:
        _write_json(told)
    else:
        _write(showing.locks(told) if options.lock is None else showing.lock(told[0]))
    return 0


def _resize(options: argparse.Namespace) -> int:
    with _client(options) as client:
        told = client.ask("resize", {"lock": options.lock, "num_slots": options.num_slots})
    _write_json(told) if options.json else print(f"{options.lock}: {told['num_slots']} slots")
    return 0


def _pause(options: argparse.Namespace) -> int:
    with _client(options) as client:
        told = client.ask("pause", {"lock": options.lock, "off": options.command == "unpause"})
    said = "paused" if told["paused"] else "goes on"
    _write_json(told) if options.json else print(f"{options.lock}: {said}")
    return 0


def _registry(options: argparse.Namespace) -> int:
    with _client(options) as client:
        if options.registry is None:
            told = client.ask("registries")
        elif options.key is None:
            told = list(client.pages("registry", {"registry": options.registry}))
        else:
            told = client.ask("registry", {"registry": options.registry, "key": options.key, "limit": 1_000})[
                "rows"
            ]
    if options.json:
        _write_json(told)
    else:
        _write(showing.registries(told) if options.registry is None else showing.registry(told))
    return 0


def _logs(options: argparse.Namespace) -> int:
    def write(records: list[Any]) -> None:
        for each in records:
            _write_json(each) if options.json else _write(showing.records([each]))
        sys.stdout.flush()

    asked = {"child": options.child, "limit": min(options.lines, 1_000), "follow": options.follow}
    with _client(options) as client:
        write(client.ask("logs", asked))
        if options.follow:
            for record in client.more():
                write([record])
    return 0


def _crashes(options: argparse.Namespace) -> int:
    with _client(options) as client:
        told = client.ask("crashes", {"limit": min(options.lines, 1_000)})
    _write_json(told) if options.json else _write(showing.crashes(told))
    return 0


def _reload(options: argparse.Namespace) -> int:
    with _client(options, _LONG) as client:
        told = client.ask("reload", {"dry_run": options.dry_run})
    _write_json(told) if options.json else _write(showing.reloaded(told))
    return REFUSED if told["failed"] else 0


def _stop(options: argparse.Namespace) -> int:
    with _client(options) as client:
        told = client.ask("stop")
        if not options.no_wait:
            for _ in client.more():
                pass
            told = {**told, "stopping": False}
    said = "stops" if told["stopping"] else "has stopped"
    _write_json(told) if options.json else print(f"{printable(told['name'])} {said}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    told = list(findings())
    if options.json:
        _write_json([{"ok": each.ok, "what": each.what, "advice": each.advice} for each in told])
    else:
        _write(showing.findings(told))
    return 0 if all(each.ok for each in told) else REFUSED


def _completion(options: argparse.Namespace) -> int:
    sys.stdout.write(script(options.shell, options.words))
    return 0


def _new(options: argparse.Namespace) -> int:
    made = make_project(options.folder)
    _write(["made " + str(path) for path in made])
    print(f"try it:  cd {options.folder} && resprout run tree.yaml    and in another terminal:  resprout ps")
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "status": _shown("status", showing.status),
    "ps": _ps,
    "top": _top,
    "tree": _tree,
    "info": _info,
    "restart": _act,
    "terminate": _act,
    "start": _act,
    "suspend": _act,
    "resume": _act,
    "call": _call,
    "send": _send,
    "locks": _locks,
    "resize": _resize,
    "pause": _pause,
    "unpause": _pause,
    "registry": _registry,
    "logs": _logs,
    "crashes": _crashes,
    "reload": _reload,
    "observe": observe,
    "stop": _stop,
    "doctor": _doctor,
    "completion": _completion,
    "new": _new,
}
