from __future__ import annotations

import io

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from resprout.observer.display import (
    Row,
    clock,
    fitted,
    fitted_locks,
    plain_line,
    progress_text,
    restarts_text,
    rows,
    start_text,
    stopping_text,
    summary_rows,
)
from resprout.observer.job import Progress
from resprout.observer.report import Chaos, CrashReport, Outcome
from resprout.observer.screen import PlainScreen, QuietScreen, screen_for
from resprout.observer.snapshot import Child, ChildState, Lock, Snapshot, Starting, Stopping


def consumer(number: int, state: ChildState = "running", restarts: int = 0) -> Child:
    return Child(
        ("consumers", f"consumer-{number}"),
        state=state,
        process=number if state == "running" else None,
        restarts=restarts,
        group=("consumers", "consumer"),
        replicas=16,
    )


def snapshot(*consumers: Child) -> Snapshot:
    api = Child(("services", "api"), "api", process=7, restarts=1, group=("services", "api"))
    return Snapshot(
        "orders",
        4.04,
        (
            Child(("services",), "supervisor", children=(api,), group=("services",)),
            Child(("consumers",), "supervisor", children=consumers, group=("consumers",)),
        ),
        (Lock("kafka", 2, 14, 2),),
        Progress(1234, 3196, "events"),
        restarts=3,
    )


OUTCOME = Outcome("orders", seconds=12.34, restarts=1200, exit_status=0, reason="finished")


def test_many_replicas_share_a_row_with_their_states_and_restarts_counted() -> None:
    many = [consumer(n, restarts=1) for n in range(14)] + [consumer(n, "restarting") for n in (14, 15)]
    shown = rows(snapshot(*many).children)
    assert [(row.depth, row.label, row.state, row.restarts) for row in shown] == [
        (0, "services", "running", 0),
        (1, "api", "running", 1),
        (0, "consumers", "running", 0),
        (1, "consumer x16", "14 running, 2 restarting", 14),
    ]
    assert not shown[-1].healthy


def test_a_few_replicas_have_a_row_each() -> None:
    shown = rows(snapshot(consumer(0), consumer(1, "down")).children)
    assert [(row.label, row.state) for row in shown[-2:]] == [
        ("consumer-0", "running"),
        ("consumer-1", "down"),
    ]


def row(label: str, depth: int = 0, state: str = "running", restarts: int = 0) -> Row:
    return Row(depth, label, "worker", ((state, 1),), restarts)


def shape(shown: list[Row]) -> list[tuple[str, str]]:
    return [(each.label, each.state) for each in shown]


def test_rows_that_fit_stay_as_they_are() -> None:
    shown = [row("a"), row("b", state="down"), row("c")]
    assert fitted(shown, 3) == shown


def test_more_rows_than_fit_are_folded_around_what_does_not_run() -> None:
    shown = [row("top")] + [row(f"w{n}", 1, "backing off" if n == 50 else "running") for n in range(100)]
    assert shape(fitted(shown, 6)) == [
        ("top", "running"),
        ("w0", "running"),
        ("w1", "running"),
        ("... 48 more", "48 running"),
        ("w50", "backing off"),
        ("... 49 more", "49 running"),
    ]


def test_what_does_not_run_is_shown_with_those_above_it() -> None:
    shown = [row(f"s{n}") for n in range(9)] + [row("up"), row("mid", 1), row("ill", 2, "down")]
    assert shape(fitted(shown, 4)) == [
        ("... 9 more", "9 running"),
        ("up", "running"),
        ("mid", "running"),
        ("ill", "down"),
    ]


def test_what_was_restarted_comes_before_what_never_was() -> None:
    shown = [*(row(f"a{n}") for n in range(9)), row("again", restarts=2), *(row(f"b{n}") for n in range(9))]
    folded = fitted(shown, 3)
    assert [each.label for each in folded] == ["... 9 more", "again", "... 9 more"]
    assert [each.restarts for each in folded] == [0, 2, 0]


def test_more_that_does_not_run_than_fits_is_counted() -> None:
    shown = [row(f"w{n}", state="down" if n % 2 else "restarting") for n in range(1000)]
    folded = fitted(shown, 4)
    assert shape(folded)[:3] == [("w0", "restarting"), ("w1", "down"), ("w2", "restarting")]
    assert shape(folded)[3] == ("... 997 more", "498 restarting, 499 down")


rows_of_a_tree = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["running", "down", "restarting"]), st.integers(0, 2))
).map(
    lambda drawn: [
        row(str(at), min(depth, at), state, restarts) for at, (depth, state, restarts) in enumerate(drawn)
    ]
)


@given(rows_of_a_tree, st.integers(1, 12))
def test_a_folded_tree_fits_is_in_order_and_counts_everybody(shown: list[Row], most: int) -> None:
    folded = fitted(shown, most)
    assert len(folded) <= max(most, 1)
    assert sum(count for each in folded for _, count in each.states) == len(shown)
    assert sum(each.restarts for each in folded) == sum(each.restarts for each in shown)
    kept = [each.label for each in folded if not each.label.startswith("...")]
    assert kept == sorted(kept, key=int)


def test_the_locks_that_are_waited_for_most_are_shown_and_the_rest_is_counted() -> None:
    locks = [Lock(f"l{n}", 1, n % 5, 1) for n in range(10)]
    assert fitted_locks(locks, 10) == (locks, "")
    shown, rest = fitted_locks(locks, 3)
    assert [lock.name for lock in shown] == ["l4", "l9"]
    assert rest == "... 8 more locks, 12 waiting"


def test_a_plain_line_names_the_first_of_many_that_are_away() -> None:
    line = plain_line(snapshot(*(consumer(n, "restarting") for n in range(12))))
    assert line.endswith("consumers/consumer-3, consumers/consumer-4 and 7 more")


@pytest.mark.parametrize(
    ("stopping", "text"),
    [
        (None, ""),
        (Stopping(0.4, ("a",), "SIGINT"), ""),
        (Stopping(0.5, ("a/b",), "SIGINT"), "stopping (Ctrl-C again stops at once): waits for a/b"),
        (Stopping(9.0, ("a",), "SIGHUP"), "stopping (another SIGHUP stops at once): waits for a"),
        (Stopping(9.0, ("a",)), "stopping (Ctrl-C twice stops at once): waits for a"),
        (
            Stopping(9.0, tuple("abcdefg"), "SIGTERM"),
            "stopping (another SIGTERM stops at once): waits for a, b, c, d, e and 2 more",
        ),
    ],
)
def test_a_slow_stop_names_whom_it_waits_for_and_what_ends_it(stopping: Stopping | None, text: str) -> None:
    assert stopping_text(stopping) == text


def test_a_tree_that_stops_restarts_nobody() -> None:
    stops = attrs.evolve(snapshot(consumer(0, "restarting")), stopping=Stopping(1.0, ("services/api",)))
    assert plain_line(stops).endswith("; stopping (Ctrl-C twice stops at once): waits for services/api")
    assert "restarting" not in plain_line(stops)


def test_the_plain_line_has_the_backlog_the_locks_the_restarts_and_who_is_away() -> None:
    assert plain_line(snapshot(consumer(0), consumer(1, "restarting", 2))) == (
        "1,234 of 3,196 events (38%); kafka: 2 of 2 running, 14 waiting; 2 of 3 children running; "
        "3 restarts; restarting: consumers/consumer-1"
    )


def test_a_run_that_has_not_started_yet_can_be_shown() -> None:
    assert plain_line(Snapshot("orders")) == "starting"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 restarts"), (1, "1 restart"), (2, "2 restarts"), (1200, "1,200 restarts")]
)
def test_one_restart_is_one(count: int, text: str) -> None:
    assert restarts_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (4.04, "4.0 s"), (59.94, "59.9 s"), (187.9, "3:07 min"), (7500.0, "2:05 h")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(0, 3196, "events"), "0 of 3,196 events (0%)"),
        (Progress(3195, 3196, "events"), "3,195 of 3,196 events (99%)"),
        (Progress(9, 0, "calls"), "9 calls"),
    ],
)
def test_progress_is_never_rounded_up_to_done(progress: Progress, text: str) -> None:
    assert progress_text(progress) == text


def test_the_summary_has_the_run_the_chaos_and_the_fields_of_the_job() -> None:
    crashes = tuple(CrashReport("a", "api", "kill", 0.0, seconds) for seconds in (0.001, 0.004, 0.1, None))
    fields = {"processed": 3196, "api_p50_ms": 1.236, "by_partition": {"0": 1}, "exact": True}
    shown = summary_rows(evolve(OUTCOME, crashes=crashes, chaos=Chaos(5, 42), fields=fields))
    assert shown == [
        ("ended", "finished"),
        ("time", "12.3 s"),
        ("restarts", "1,200"),
        ("taken down", "4 of 5, seed 42"),
        ("back after", "4.0 ms in the middle, 100.0 ms at most"),
        ("not seen back", "1 (the run ended first)"),
        ("processed", "3,196"),
        ("api p50 ms", "1.24"),
        ("by partition", "1 entries"),
        ("exact", "True"),
    ]


def test_the_plain_screen_says_nothing_twice() -> None:
    stream = io.StringIO()
    screen = PlainScreen(stream)
    screen.show(snapshot(consumer(0)))
    screen.show(snapshot(consumer(0)))
    assert len(stream.getvalue().splitlines()) == 1
    screen.show(snapshot(consumer(0, "down")))
    assert len(stream.getvalue().splitlines()) == 2
    assert stream.getvalue().startswith("orders 4.0 s: 1,234 of")


def test_the_plain_summary_is_aligned_and_ends_with_the_words_of_the_job() -> None:
    stream = io.StringIO()
    PlainScreen(stream).summary(OUTCOME, "3,196 of 3,196 orders")
    assert stream.getvalue().splitlines() == [
        "orders:",
        "  ended     finished",
        "  time      12.3 s",
        "  restarts  1,200",
        "3,196 of 3,196 orders",
    ]


def test_the_picture_is_for_terminals_only() -> None:
    assert isinstance(screen_for("auto", io.StringIO()), PlainScreen)
    assert isinstance(screen_for("plain", io.StringIO()), PlainScreen)
    assert isinstance(screen_for("quiet", io.StringIO()), QuietScreen)


def test_a_start_that_takes_long_is_told_with_the_child_and_what_was_probably_meant() -> None:
    begins = Snapshot("app", 5.0, starting=(Starting("s/t", 2.9, function=True),))
    assert plain_line(begins) == "starting"
    begins = evolve(begins, starting=(Starting("s/t", 3.0, function=True), Starting("u", 0.1)))
    hint = "did you mean run: instead of start:?"
    assert plain_line(begins) == f"still waits for the start of s/t ({hint})"
    assert plain_line(evolve(begins, starting=(Starting("u", 3.0),))) == "still waits for the start of u"
    stopping = Stopping(0.6, (start_text(Starting("s/t", 3.6, function=True)),), "SIGINT")
    assert plain_line(evolve(begins, stopping=stopping)) == (
        f"stopping (Ctrl-C again stops at once): waits for the start of s/t ({hint})"
    )


def test_a_function_that_started_nothing_is_told() -> None:
    empty = Child(("w",), state="down", by_mistake=True)
    assert plain_line(Snapshot("app", children=(empty,))) == (
        "0 of 1 children running; 0 restarts; without a process, as what starts it returned None: w "
        "(did you mean run: instead of start:?)"
    )


def test_web_applications_are_shown_with_where_they_listen() -> None:
    api = Child(("services", "api"), "api", process=7, address="127.0.0.1:8080")
    assert [row.kind for row in rows([api])] == ["api at 127.0.0.1:8080"]
    assert plain_line(Snapshot("app", children=(api,))) == (
        "1 of 1 children running; 0 restarts; listening: services/api at 127.0.0.1:8080"
    )
    ended = evolve(OUTCOME, addresses={"api": "127.0.0.1:8080", "admin": "[::1]:8081"})
    assert ("listened", "api at 127.0.0.1:8080, admin at [::1]:8081") in summary_rows(ended)
