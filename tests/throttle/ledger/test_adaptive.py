"""Locks that find their own number of slots."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from resprout import throttle
from resprout.actors import CallTimeout, ConfigError, NotHeld, Pid, QueueFull, telemetry
from resprout.supervision import Application
from resprout.throttle.ledger.adaptive import Adaptive, Aimd, Gradient, adaptive_of
from resprout.throttle.ledger.adaptive_limits import Limit, judge, limit_of
from resprout.throttle.ledger.holds import Hold
from resprout.throttle.ledger.ledger import Ledger
from resprout.throttle.ledger.values import Outcome
from resprout.throttle.lock.callers import Caller

SLOW, QUICK = 5.0, 0.1


def feed(limit: Limit, outcome: Outcome, held: float, used: int, now: float = 0.0) -> int:
    """Have a hold end that was granted after everything that the limit knows of."""
    return limit.released(now, now + held, used, outcome)


def test_aimd_grows_by_one_for_each_round_while_it_is_used_and_shrinks_by_a_factor() -> None:
    limit = limit_of(Aimd(min=2, max=12, timeout=1.0), 10)
    assert {feed(limit, "success", QUICK, 1) for _ in range(50)} == {10}
    assert [feed(limit, "success", QUICK, 8) for _ in range(10)] == [10] * 9 + [11]
    assert feed(limit, "success", SLOW, 8) == 9
    for now in range(10, 50, 10):
        slots = feed(limit, "dropped", QUICK, 8, now)
    assert slots == 2
    for now in range(100):
        slots = feed(limit, "success", QUICK, slots, 100 + now)
    assert slots == 12


def test_aimd_grows_faster_the_longer_all_goes_well() -> None:
    limit = limit_of(Aimd(max=1000), 50)
    steps = []
    for _ in range(4):
        before = slots = feed(limit, "ignored", QUICK, 50)
        while slots == before:
            slots = feed(limit, "success", QUICK, slots)
        steps.append(slots - before)
    assert steps == [1, 1, 2, 2]


@pytest.mark.parametrize("adaptive", [Aimd(max=100), Gradient(max=100)])
class TestDrops:
    """What both ways do with what was dropped and what is to be ignored."""

    def test_drops_of_work_granted_before_the_shrink_are_one_signal(self, adaptive: Adaptive) -> None:
        limit = limit_of(adaptive, 50)
        assert [limit.released(0.0, 1.0, 50 - nth, "dropped") for nth in range(40)] == [45] * 40
        assert limit.released(0.5, 2.0, 10, "dropped") == 45
        assert limit.released(1.5, 2.0, 10, "dropped") < 45

    def test_each_drop_takes_at_least_one_slot_down_to_min(self, adaptive: Adaptive) -> None:
        limit = limit_of(attrs.evolve(adaptive, min=2), 4)
        assert [limit.released(now, now + 0.5, 1, "dropped") for now in range(4)] == [3, 2, 2, 2]

    def test_an_outage_is_noticed_within_a_few_requests(self, adaptive: Adaptive) -> None:
        limit = limit_of(adaptive, 100)
        assert [limit.released(now, now + 0.5, 1, "dropped") for now in range(15)][-1] == 1

    def test_what_is_ignored_teaches_nothing(self, adaptive: Adaptive) -> None:
        limit = limit_of(adaptive, 10)
        assert {limit.released(now, now + 50.0, 10, "ignored") for now in range(1000)} == {10}

    def test_a_slot_held_for_long_in_a_lock_that_is_hardly_used_teaches_nothing(
        self, adaptive: Adaptive
    ) -> None:
        limit = limit_of(adaptive, 10)
        assert {limit.released(now, now + 3600.0, 2, "success") for now in range(1000)} == {10}
        assert {limit.released(now, now + 0.001, 2, "success") for now in range(1000)} == {10}

    def test_a_number_that_somebody_sets_is_where_it_goes_on(self, adaptive: Adaptive) -> None:
        limit = limit_of(adaptive, 50)
        limit.resized(20, 0.0)
        assert limit.released(1.0, 2.0, 20, "dropped") == 18
        limit.resized(500, 3.0)
        assert limit.released(4.0, 5.0, 100, "ignored") == 100


class Probed:
    """A gradient lock that is always full, before a service with a latency that depends on the number."""

    def __init__(self, slots: int) -> None:
        self.limit = limit_of(Gradient(max=1000), slots)
        self.slots = slots
        self.now = 0.0

    def work(self, latency: Callable[[int], float], samples: int) -> list[int]:
        seen = []
        for _ in range(samples):
            self.now += 100.0
            self.slots = feed(self.limit, "success", latency(self.slots), self.slots, self.now)
            seen.append(self.slots)
        return seen


def test_the_gradient_probes_before_it_believes_that_a_service_has_become_slower() -> None:
    lock = Probed(10)
    assert lock.work(lambda slots: max(1.0, slots / 10), 1000)[-1] in range(8, 13)
    slots = lock.slots
    seen = lock.work(lambda slots: 5.0 * max(1.0, slots / 10), 300)
    assert min(seen) < slots
    assert seen[-1] in range(8, 13)
    assert lock.work(lambda slots: 5.0 * max(1.0, slots / 3), 300)[-1] <= 4


def test_only_work_that_was_granted_after_the_number_came_down_counts_in_a_probe() -> None:
    lock = Probed(10)
    lock.work(lambda slots: 1.0, 61)
    assert lock.slots == 5
    # The ten of before, still held, then those that were granted meanwhile.
    for used in range(10, 4, -1):
        assert lock.limit.released(lock.now, lock.now + 500.0, used, "success") == 5
    begun = lock.now + 500.0
    assert {lock.limit.released(begun - 1, begun + 50.0, 5, "success") for _ in range(200)} == {5}
    seen = [lock.limit.released(begun + 1, begun + 2, 5, "success") for _ in range(60)]
    assert seen == [5] * 59 + [10]


def test_one_request_that_takes_for_ever_moves_nothing() -> None:
    lock = Probed(10)
    usual = set(range(7, 14))
    assert set(lock.work(lambda slots: max(1.0, slots / 10), 800)[-300:]) <= usual
    for _ in range(10):
        assert set(lock.work(lambda slots: 1e6, 1)) <= usual
        assert set(lock.work(lambda slots: max(1.0, slots / 10), 97)) <= usual


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(), "dropped"),
        (TimeoutError(), "dropped"),
        (asyncio.TimeoutError(), "dropped"),
        (concurrent.futures.TimeoutError(), "dropped"),
        (CallTimeout("late"), "dropped"),
        (QueueFull("other"), "dropped"),
        (ValueError(), "ignored"),
        (OSError(), "ignored"),
        (KeyboardInterrupt(), "ignored"),
        (asyncio.CancelledError(), "ignored"),
        (GeneratorExit(), "ignored"),
    ],
)
def test_what_an_exception_says(error: BaseException, outcome: str) -> None:
    assert judge(error, Aimd().dropped) == outcome
    assert judge(error, Gradient(dropped=(ValueError,)).dropped) == (
        "dropped" if isinstance(error, ValueError) else "ignored"
    )


def test_a_group_says_what_any_of_its_members_says() -> None:
    class Group(Exception):  # as ExceptionGroup is on Python 3.11
        def __init__(self, *members: Exception) -> None:
            self.exceptions = members

    assert judge(Group(ValueError(), Group(ConnectionError())), Aimd().dropped) == "dropped"
    assert judge(Group(ValueError(), Group()), Aimd().dropped) == "ignored"


@pytest.mark.parametrize(
    "bad",
    [
        "fast",
        5,
        {"aimd": {"maximum": 3}},
        {"other": {}},
        {"aimd": {}, "gradient": {}},
        {"aimd": {"dropped": ["NoSuchError"]}},
        {"aimd": {"dropped": ["nowhere:Error"]}},
        {"aimd": {"dropped": ["json:loads"]}},
        {"gradient": {"dropped": 5}},
    ],
)
def test_what_adapts_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        adaptive_of(bad, 2)


@pytest.mark.parametrize("options", [{"min": 0}, {"max": True}, {"timeout": 0}, {"backoff": 1.0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Aimd(**options)


@pytest.mark.parametrize(
    "options", [{"tolerance": 1}, {"window": 0}, {"dropped": [int]}, {"dropped": "open"}]
)
def test_options_of_the_gradient_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Gradient(**options)


def test_classes_are_given_by_name_too() -> None:
    found = adaptive_of({"aimd": {"dropped": ["OSError", "json:JSONDecodeError"]}}, 2)
    assert found == Aimd(dropped=(OSError, json.JSONDecodeError))
    assert Gradient(dropped=OSError) == Gradient(dropped=("OSError",))
    assert Aimd(dropped=()).dropped == ()


def test_a_tree_file_tells_a_lock_what_a_drop_is(tmp_path: Path) -> None:
    file = tmp_path / "tree.yaml"

    def load(dropped: str) -> Application:
        options = f"{{aimd: {{max: 9, dropped: {dropped}}}}}"
        child = f"{{throttle: adaptive from yaml, num_slots: 4, adaptive: {options}}}"
        file.write_text(f"name: small\nchildren:\n  - {child}\n", encoding="utf-8")
        return Application.load(str(file))

    tree = load("[KeyError, 'json:JSONDecodeError']")
    tree.start()
    try:
        for error, slots in ((KeyError, 3), (ConnectionError, 3)):
            with pytest.raises(error):
                with throttle.slot("adaptive from yaml"):
                    raise error
            assert throttle.lock_info("adaptive from yaml").num_slots == slots
    finally:
        tree.stop()
    with pytest.raises(ConfigError, match="nowhere:Error"):
        load("['nowhere:Error']")


def test_num_slots_must_be_between_min_and_max() -> None:
    with pytest.raises(ValueError, match="between the min 5 and the max 10"):
        throttle.new("bad", 2, adaptive=Aimd(min=5, max=10))
    assert adaptive_of({"gradient": {"max": 50}}, 2) == Gradient(max=50)
    assert adaptive_of("aimd", 2) == Aimd()


def test_a_lock_follows_its_limit_and_tells(lock: Callable[..., str]) -> None:
    name = lock(2, adaptive=Aimd(min=1, max=4, timeout=10.0))
    heard: list[int] = []
    telemetry.attach(
        "adapted", ("resprout", "throttle", "adapted"), lambda e, m, _: heard.append(m["num_slots"])
    )
    try:
        for _ in range(10):
            with throttle.slot(name):
                pass
    finally:
        telemetry.detach("adapted")
    assert throttle.lock_info(name).num_slots == 3
    assert heard == [3]


def test_a_waiter_heavier_than_what_is_left_of_the_slots_is_let_in_alone(lock: Callable[..., str]) -> None:
    ledger = Ledger("lock", 4)
    ledger.limit = limit_of(Aimd(max=4, timeout=1.0), 4)
    ledger.adopt(0.0)
    nobody: Any = None
    hold = ledger.take(nobody, 1, 4, 0.0)
    assert hold is not None
    ledger.release(hold, 5.0)
    assert ledger.num_slots == 3
    name = lock(2, adaptive=Aimd(max=4))
    assert throttle.acquire(name, weight=4).token > 0
    throttle.release(name)
    with pytest.raises(ValueError, match="expected weight to be at most"):
        throttle.acquire(name, weight=5)


# -- what a lock hears of the work that is done under it ---------------------------


class Outcomes:
    """Hears how holds end, in their order."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        self._changed = threading.Condition()
        telemetry.attach(self, ("resprout", "throttle", "hold"), self._hear)

    def _hear(self, event: Any, measurements: Any, metadata: Any) -> None:
        with self._changed:
            self._heard.append(metadata.get("outcome", "not asked"))
            self._changed.notify_all()

    def are(self, *expected: str) -> bool:
        """Wait until so many have been heard, and compare."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._heard) >= len(expected), 30.0), self._heard
            return self._heard == list(expected)


@pytest.fixture
def outcomes(lock: Callable[..., str]) -> Iterator[Outcomes]:
    """How the holds of all locks end."""
    heard = Outcomes()
    yield heard
    telemetry.detach(heard)


def ends(how: str) -> str:
    """Work that ends in some way."""
    match how:
        case "dropped":
            raise ConnectionResetError(how)
        case "ignored":
            raise LookupError(how)
        case _:
            return how


async def ends_later(how: str) -> str:
    await asyncio.sleep(0)
    return ends(how)


def in_slot(name: str, how: str) -> None:
    with throttle.slot(name):
        ends(how)


def in_limited(name: str, how: str) -> None:
    throttle.limited(name)(ends)(how)


async def in_slot_async(name: str, how: str) -> None:
    async with throttle.slot(name):
        await ends_later(how)


WAYS: dict[str, Callable[[str, str], object]] = {
    "slot": in_slot,
    "limited": in_limited,
    "run": lambda name, how: throttle.run(name, ends, how),
    "async slot": lambda name, how: asyncio.run(in_slot_async(name, how)),
    "arun": lambda name, how: asyncio.run(throttle.arun(name, ends_later, how)),
    "limited coroutine": lambda name, how: asyncio.run(throttle.limited(name)(ends_later)(how)),
    "execute": lambda name, how: throttle.execute(name, ends, how).result(30.0),
    "execute of a coroutine function": lambda name, how: throttle.execute(name, ends_later, how).result(30.0),
    "aexecute": lambda name, how: asyncio.run(throttle.aexecute(name, ends, how)),
}


@pytest.mark.parametrize("how", ["success", "dropped", "ignored"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_working_tells_how_it_ended(
    lock: Callable[..., str], outcomes: Outcomes, way: str, how: str
) -> None:
    name = lock(4, adaptive="aimd")
    try:
        WAYS[way](name, how)
    except (ConnectionResetError, LookupError):
        assert how != "success"
    assert outcomes.are(how)
    assert throttle.lock_info(name).num_slots == (3 if how == "dropped" else 4)


def test_what_is_said_by_hand_counts_whatever_follows(lock: Callable[..., str], outcomes: Outcomes) -> None:
    name = lock(4, adaptive="gradient")
    with throttle.slot(name) as grant:
        grant.dropped()
    with pytest.raises(ConnectionError):
        with throttle.slot(name) as grant:
            grant.ignored()
            raise ConnectionError
    grant = throttle.acquire(name)
    grant.ignored()
    grant.dropped()
    throttle.release(name)
    assert outcomes.are("dropped", "ignored", "dropped")
    with pytest.raises(NotHeld):
        grant.dropped()


def test_a_lock_that_does_not_adapt_does_not_ask(lock: Callable[..., str], outcomes: Outcomes) -> None:
    name = lock(4)
    with throttle.slot(name) as grant:
        grant.dropped()
    with pytest.raises(ConnectionError):
        with throttle.slot(name):
            raise ConnectionError
    assert outcomes.are("not asked", "not asked")
    assert throttle.lock_info(name).num_slots == 4


def test_of_what_a_nested_block_raises_only_a_drop_counts(
    lock: Callable[..., str], outcomes: Outcomes
) -> None:
    name = lock(4, adaptive="aimd")
    for how in ("dropped", "ignored"):
        with throttle.slot(name):
            with pytest.raises((ConnectionError, LookupError)):
                in_slot(name, how)
    assert outcomes.are("dropped", "success")


def test_work_that_runs_under_a_grant_of_execute_can_say_it(
    lock: Callable[..., str], outcomes: Outcomes
) -> None:
    name = lock(4, adaptive="aimd")

    def work() -> None:
        with throttle.slot(name) as grant:
            grant.dropped()

    throttle.execute(name, work).result(30.0)
    assert outcomes.are("dropped")


@pytest.mark.parametrize("on_kill", ["hold", "release"])
def test_the_death_of_a_holder_teaches_nothing(
    lock: Callable[..., str],
    outcomes: Outcomes,
    actor: Callable[..., Pid],
    end: Callable[..., object],
    on_kill: str,
) -> None:
    name = lock(4, adaptive="aimd")
    pid = actor()
    leave = threading.Event()
    entered = threading.Event()
    done = threading.Event()

    def stay() -> None:
        try:
            with throttle.slot(name, on_kill=on_kill):
                entered.set()
                leave.wait(30.0)
                raise ConnectionError
        finally:
            done.set()

    pid.cast(stay)
    assert entered.wait(30.0)
    end(pid)
    leave.set()
    assert done.wait(30.0)
    assert outcomes.are("ignored")
    assert throttle.lock_info(name).num_slots == 4


def test_a_thread_that_ends_without_a_release_teaches_nothing(
    lock: Callable[..., str], outcomes: Outcomes
) -> None:
    name = lock(4, adaptive="aimd")
    thread = threading.Thread(target=throttle.acquire, args=(name,))
    thread.start()
    thread.join(30.0)
    assert outcomes.are("ignored")


def test_a_job_whose_worker_dies_teaches_nothing(lock: Callable[..., str], outcomes: Outcomes) -> None:
    name = lock(4, adaptive="aimd")

    def die() -> None:
        raise SystemExit

    future = throttle.execute(name, die)
    assert future.exception(30.0) is not None
    assert outcomes.are("ignored")


class Late(Caller):
    """Is granted, and gives up before it learns of that."""

    def offer(self, hold: Hold) -> bool:
        return True


def test_a_grant_that_came_too_late_for_a_cancelled_task_teaches_nothing() -> None:
    ledger = Ledger("lock", 4)
    ledger.limit = limit_of(Aimd(max=8), 4)
    ledger.adopt(0.0)
    nobody: Any = None
    claim = Late(nobody, 7)
    claim.core = SimpleNamespace(ledger=ledger)
    ledger.join(claim, 0.0)
    assert ledger.holders[7] is claim
    claim.depth = 0
    claim.leave()
    assert (claim.outcome, ledger.num_slots) == ("ignored", 4)


def test_a_hold_that_was_handed_over_keeps_what_was_said_of_it() -> None:
    ledger = Ledger("lock", 4)
    ledger.limit = limit_of(Aimd(max=8), 4)
    ledger.adopt(0.0)
    nobody: Any = None
    hold = ledger.take(nobody, 1, 1, 0.0)
    assert hold is not None
    hold.dropped()
    ledger.rekey(hold, nobody, 2)
    # The death of whom it was taken by is nothing to it.
    ledger.holder_left(1, 0.5)
    assert ledger.num_slots == 4
    ledger.release(hold, 1.0)
    assert ledger.num_slots == 3


def test_weights_count_as_slots_that_are_used() -> None:
    ledger = Ledger("lock", 4)
    ledger.limit = limit_of(Aimd(max=8), 4)
    ledger.adopt(0.0)
    nobody: Any = None
    for now in range(4):
        hold = ledger.take(nobody, 1, 4, now)
        assert hold is not None
        ledger.release(hold, now + 0.5)
    assert ledger.num_slots == 5


def test_a_resized_lock_goes_on_from_there(lock: Callable[..., str]) -> None:
    name = lock(50, adaptive="aimd")
    throttle.resize(name, 20)
    with throttle.slot(name):
        pass
    assert throttle.lock_info(name).num_slots == 20
    with pytest.raises(ConnectionError):
        in_slot(name, "dropped")
    assert throttle.lock_info(name).num_slots == 18


@pytest.mark.parametrize("adaptive", [Aimd(max=60, timeout=0.5), Gradient(max=60)])
def test_threads_before_a_service_that_refuses_find_what_it_bears(
    lock: Callable[..., str], adaptive: Adaptive
) -> None:
    """Requests that are refused take no time, which is not to be taken for a fast service."""
    capacity = 5
    name = lock(20, adaptive=adaptive)
    places = threading.BoundedSemaphore(capacity)
    left = iter(range(3000))
    seen: list[int] = []

    def request() -> None:
        if not places.acquire(blocking=False):
            raise ConnectionError
        threading.Event().wait(0.002)
        places.release()

    def client() -> None:
        for _ in left:
            try:
                throttle.run(name, request)
            except ConnectionError:
                pass
            seen.append(throttle.lock_info(name).num_slots)

    threads = [threading.Thread(target=client) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    late = sorted(seen[len(seen) // 2 :])
    assert late[len(late) // 2] <= capacity + 1
    assert late[-1] <= 2 * capacity
