"""What the order of signals leaves open in a trace: all that real Erlang may do, and no more.

Erlang promises that the signals of one process to another arrive in the order in which they were sent, and
nothing else. An exit signal takes effect on arrival, not behind the messages that wait in the mailbox. So
when a step makes a server send things to another and then brings that one down, how many of them it has
handled before its death depends on when a processor had time for it:

- of what the same sender sent before its exit signal, any number, the oldest first (a call that was answered
  has been handled, and so has what came before it);
- of what the same sender sent after its exit signal, nothing;
- of notices of others' deaths in the same step, any, as those come from other senders.

Everything else in a trace has one outcome. Nothing here is open for a server that ended by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Event = list[Any]
Events = Mapping[str, list[Event]]

_SENDS = {"send": "info", "cast": "cast"}


class Orders:
    """Follows a scenario step by step, as what is open depends on who traps exits.

    Args:
        servers: the ``procs`` of the scenario.
    """

    def __init__(self, servers: Iterable[Mapping[str, Any]]) -> None:
        self._traps = {server["name"]: bool(server["opts"].get("trap")) for server in servers}

    def same(self, step: Mapping[str, Any], expected: Events, actual: Events) -> bool:
        """Whether Erlang may do both in this step.

        Args:
            step: the step, as in the scenario.
            expected, actual: the events of each server, its notices at the end.
        """
        sender = step["to"]
        actions = step.get("do", ())
        done = list(_done(sender, actions, expected.get(sender, ())))
        for kind, *arguments in done:
            if kind in ("spawn", "start"):
                self._traps[arguments[0]] = bool(arguments[1].get("trap"))
        same = all(self._same_of(name, sender, done, expected, actual) for name in {*expected, *actual})
        for kind, *arguments in done:
            if kind == "trap":
                self._traps[sender] = arguments[0]
        return same

    def _same_of(
        self, name: str, sender: str, actions: Sequence[Event], expected: Events, actual: Events
    ) -> bool:
        want, got = expected.get(name, []), actual.get(name, [])
        if want == got:
            return True
        if name == sender or not (_killed(want) and _killed(got)):
            return False
        sent, notices, ended = self._before_the_end(name, sender, actions)
        for event in (*want, *got):
            if _is_notice(event):
                *_, dead, reason = event
                # The sender's own end comes after all that it did, so after its exit signal.
                if ["exit", reason] in expected.get(dead, ()) and not (ended and dead == sender):
                    notices.append(event)
        return bool(_cores(want, sent, notices) & _cores(got, sent, notices))

    def _before_the_end(
        self, name: str, sender: str, actions: Sequence[Event]
    ) -> tuple[list[Event], list[Event], bool]:
        """What the sender sends to a server before its exit signal, if it sends one.

        Returns:
            What that server logs of it, as long as it lives; the notices among it; whether there is an exit
            signal that ends it.
        """
        sent: list[Event] = []
        notices: list[Event] = []
        for kind, *arguments in actions:
            if arguments[:1] != [name]:
                continue
            match kind:
                case "spawn" | "start":
                    token = arguments[1].get("continue")
                    sent = [["continue", token]] if token else []
                case "send" | "cast":
                    sent.append([_SENDS[kind], arguments[1]])
                case "call" | "callmsg" | "call!":
                    sent = []
                case "exit" if self._traps.get(name) and arguments[1] != "kill":
                    notices.append(["~exited", sender, arguments[1]])
                case "exit" if arguments[1] != "normal":
                    return sent, notices, True
        return sent, notices, False


def _done(sender: str, actions: Sequence[Event], events: Sequence[Event]) -> Iterable[Event]:
    """The actions that the sender has come to before its own end."""
    ended = next((event for event in events if event[0] == "exit"), None)
    for action in actions:
        if ended is not None and action[:2] == ["exit", sender] and action[2] in ("kill", ended[1]):
            return
        if ended is not None and action[0] == "call!" and ended[1][:1] == ["call_exit"]:
            return
        yield action


def _is_notice(event: Event) -> bool:
    return bool(event[0].startswith("~"))


def _killed(events: Sequence[Event]) -> bool:
    kinds = [event[0] for event in events]
    return "exit" in kinds and "terminate" not in kinds


def _cores(events: Sequence[Event], sent: Sequence[Event], notices: Sequence[Event]) -> set[str]:
    """What is left of a server's events without what is open, in each way of taking that out."""
    fixed = [event for event in events if event not in notices]
    end = next(index for index, event in enumerate(fixed) if event[0] == "exit")
    return {
        repr(fixed[: end - count] + fixed[end:])
        for count in range(min(len(sent), end) + 1)
        if fixed[end - count : end] == list(sent[:count])
    }
