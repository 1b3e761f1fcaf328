"""Locks in a forked child: made anew on first use, with nobody in them; the parent's are not touched."""

from __future__ import annotations

import pytest

from resprout import LockNotFound

USES = {
    "run": "throttle.run('db', int)",
    "limited": "throttle.limited('db')(int)()",
    "slot": "with_slot()",
    "acquire": "throttle.acquire('db').token > 0",
    "attempt": "throttle.attempt('db').held",
    "execute": "throttle.execute('db', int).result(20)",
    "lock_state": "throttle.lock_state('db').running",
    "lock_info": "throttle.lock_info('db').num_slots",
    "holders": "throttle.holders('db')",
    "waiters": "throttle.waiters('db')",
    "resize": "throttle.resize('db', 5)",
    "pause": "throttle.pause('db')",
    "drain": "throttle.drain('db', 5).done",
    "release": "said(throttle.release, 'db')",
    "arun": "asyncio.run(throttle.arun('db', asyncio.sleep, 0, 7))",
    "aexecute": "asyncio.run(throttle.aexecute('db', int))",
    "async with": "asyncio.run(with_async_slot())",
    "in a loop": "asyncio.run(looks())",
    "in a thread": "in_thread(throttle.run, 'db', int)",
    "in an actor": "Agent.get(Agent.start(dict), lambda state: throttle.run('db', int))",
}
GIVES = {
    "acquire": "True",
    "attempt": "True",
    "lock_info": "2",
    "holders": "[]",
    "waiters": "[]",
    "resize": "None",
    "pause": "None",
    "release": "NotHeld: lock 'db' is not held",
    "arun": "7",
    "in a loop": "(0, 2)",
}
BLOCKS = """
def with_slot():
    with throttle.slot("db") as grant:
        return len(throttle.holders("db")) - 1
async def with_async_slot():
    async with throttle.slot("db") as grant:
        return len(throttle.holders("db")) - 1
async def looks():
    return throttle.lock_state("db").running, throttle.lock_info("db").num_slots
def in_thread(fn, *args):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(said(fn, *args)))
    thread.start()
    thread.join()
    return answers[0]
"""


def test_every_use_makes_a_lock_anew_each_in_a_child_of_its_own(forking):
    lines = forking(
        BLOCKS
        + "throttle.new('db', 2)\n"
        + "".join(f"forked(lambda: print({way!r}, {use}, sep=': '))\n" for way, use in USES.items())
        + "print(throttle.lock_state('db').running, throttle.lock_info('db').num_slots)\n"
    )
    assert [line.split(" by ")[0] for line in lines[:-1]] == [f"{way}: {GIVES.get(way, 0)}" for way in USES]
    assert lines[-1] == "0 2"


def test_a_lock_that_the_parent_used_before_is_made_anew_with_nobody_in_it(forking):
    assert forking(
        """
        throttle.new("db", 1)
        throttle.execute("db", int).result(20)
        held = throttle.acquire("db")
        def child():
            print(throttle.lock_state("db").running, throttle.run("db", int, timeout=0))
            print(said(throttle.release, "db").split(":")[0], held.held, said(held.release).split(":")[0])
            print(throttle.execute("db", int).result(20))
            print(throttle.acquire("db").token > held.token)
        forked(child)
        print(throttle.lock_state("db").running, held.held)
        throttle.release("db")
        """
    ) == ["0 0", "NotHeld False NotHeld", "0", "True", "1 True"]


def test_each_child_has_a_lock_of_its_own(forking):
    assert (
        forking(
            """
        throttle.new("db", 1)
        held = throttle.acquire("db")
        def child():
            mine = throttle.acquire("db", timeout=0)
            forked(lambda: print("grandchild", throttle.run("db", int, timeout=0)))
            print("child", mine.held)
        forked(child)
        forked(child)
        """
        )
        == ["grandchild 0", "child True"] * 2
    )


def test_two_threads_at_once_make_one_lock(forking):
    assert (
        forking(
            """
        throttle.new("db", 2)
        def child():
            number = 8
            at_once, tokens = threading.Barrier(number), []
            def use():
                at_once.wait()
                with throttle.slot("db") as grant:
                    tokens.append(grant.token)
            threads = [threading.Thread(target=use) for _ in range(number)]
            for each in threads: each.start()
            for each in threads: each.join()
            return len(set(tokens)) == number
        for _ in range(10):
            forked(lambda: print(child()))
        """
        )
        == ["True"] * 10
    )


def test_with_error_it_says_that_it_was_made_before_the_fork(forking):
    lines = forking(
        """
        throttle.new("db", 1, fork="error")
        def child():
            print(said(throttle.run, "db", int), said(throttle.lock_state, "db"), throttle.locks(), sep="\\n")
            throttle.new("db", 1)
            print(throttle.run("db", int), throttle.locks())
        forked(child)
        """
    )
    error = (
        "LockNotFound: lock 'db' was made before this process was forked, with fork='error'; make it in the "
        "child, after the fork, or with fork='renew'"
    )
    assert lines == [error, error, "[]", "0 ['db']"]


def test_a_lock_of_a_tree_says_that_its_tree_runs_in_the_parent_until_it_is_started_in_the_child(forking):
    lines = forking(
        """
        def start():
            Supervisor.start_link([throttle.child_spec("db", 3)], strategy="one_for_one")
        start()
        def child():
            print(said(throttle.run, "db", int), throttle.locks(), sep="\\n")
            start()
            print(throttle.lock_info("db").num_slots, throttle.locks())
            throttle.stop_lock("db")
            print(said(throttle.run, "db", int))
        forked(child)
        """
    )
    assert lines[0].startswith(
        "LockNotFound: lock 'db' was declared in a tree that was started before this process was forked, and "
        "that runs in the parent only; start what you need in the child"
    )
    assert lines[1:] == ["[]", "3 ['db']", f"LockNotFound: {LockNotFound('db')}"]


def test_a_lock_is_made_anew_as_it_was_declared(forking):
    assert forking(
        """
        throttle.new("paused later", 1)
        throttle.pause("paused later")
        throttle.new("paused", 1, paused=True)
        throttle.resume("paused")
        throttle.new("rated", 5, rate="1/h")
        throttle.run("rated", int)
        throttle.new("adaptive", 4, adaptive="aimd")
        throttle.new("resized", 2)
        throttle.resize("resized", 9)
        throttle.new("full", 1, max_waiting=0, fairness="eventual")
        def child():
            print(throttle.attempt("paused later") is None, throttle.attempt("paused") is None)
            throttle.resume("paused")
            print(*[str(said(throttle.run, "rated", int, timeout=0))[:11] for _ in range(2)])
            print(throttle.lock_info("adaptive").num_slots, throttle.lock_info("resized").num_slots)
            info = throttle.lock_info("full")
            print(info.max_waiting, info.fairness, info.num_slots)
        forked(child)
        print(throttle.lock_info("resized").num_slots, throttle.attempt("paused later"))
        """
    ) == ["False True", "0 CallTimeout", "4 2", "0 eventual 1", "9 None"]


@pytest.mark.parametrize("where", ["parent", "child", "child, unused"])
def test_a_lock_that_was_stopped_does_not_come_back(forking, where):
    assert forking(
        f"""
        throttle.new("db", 1)
        held = throttle.acquire("db")
        if {where!r} == "parent":
            throttle.stop_lock("db")
        def child():
            if {where!r} == "child":
                throttle.run("db", int)
            if {where!r} != "parent":
                throttle.stop_lock("db")
            print(said(throttle.run, "db", int), throttle.locks(), sep="\\n")
            throttle.new("db", 1)
            throttle.stop_lock("db")
            print(said(throttle.lock_state, "db"))
            forked(lambda: print(said(throttle.lock_state, "db")))
        forked(child)
        """
    ) == [f"LockNotFound: {LockNotFound('db')}", "[]", *[f"LockNotFound: {LockNotFound('db')}"] * 2]


def test_new_in_the_child_makes_another_one(forking):
    assert forking(
        """
        throttle.new("db", 1)
        def child():
            throttle.new("db", 7)
            print(throttle.lock_info("db").num_slots, said(throttle.new, "db", 1).split(":")[0])
        forked(child)
        """
    ) == ["7 AlreadyStarted"]


def test_a_name_that_something_else_took_in_the_child_is_said(forking):
    (line,) = forking(
        """
        throttle.new("db", 1)
        def child():
            Agent.start(dict, name="db")
            print(said(throttle.run, "db", int))
        forked(child)
        """
    )
    assert line.startswith(
        "LockNotFound: lock 'db' was made before this process was forked, and cannot be made anew here, "
    )
    assert line.endswith(" has its name")


def test_locks_lists_those_that_are_there_on_first_use(forking):
    assert forking(
        """
        for name in "abc":
            throttle.new(name, 1)
        throttle.stop_lock("c")
        forked(lambda: print(throttle.locks(), throttle.run("a", int), throttle.locks()))
        print(throttle.locks())
        """
    ) == ["['a', 'b'] 0 ['a', 'b']", "['a', 'b']"]


def test_holders_and_waiters_of_the_parent_notice_nothing(forking):
    assert forking(
        """
        throttle.new("db", 1)
        held = throttle.acquire("db")
        waiter = threading.Thread(target=throttle.run, args=("db", print, "waiter"))
        waiter.start()
        job = throttle.execute("db", print, "job")
        while throttle.lock_state("db").waiting < 2:
            time.sleep(0)
        def child():
            print(throttle.run("db", int), throttle.waiters("db"))
            throttle.stop_lock("db")
        forked(child)
        tokens = [each.token for each in throttle.holders("db")]
        print(tokens == [held.token], throttle.lock_state("db").waiting)
        sys.stdout.flush()
        throttle.release("db")
        waiter.join()
        job.result(20)
        """
    ) == ["0 []", "True 2", "waiter", "job"]


@pytest.mark.parametrize("way", ["slot", "nested", "acquire", "limited", "async"])
def test_a_fork_inside_a_block_leaves_the_slot_to_the_parent(forking, way):
    """The child comes out of the block as well, and does no work of those who wait in the parent."""
    lines = forking(
        f"""
        way = {way!r}
        throttle.new("db", 1)
        class Left(BaseException):
            pass
        def fork():
            # In one piece, beside what the main thread writes.
            throttle.execute("db", sys.stdout.write, "job\\n")
            sys.stdout.flush()
            return os.fork()
        def block():
            if way == "limited":
                return throttle.limited("db")(fork)()
            if way == "acquire":
                grant = throttle.acquire("db")
                pid = fork()
                sys.stdout.write(f"{{said(grant.release) is None}}\\n")
                return pid
            if way == "async":
                async def main():
                    async with throttle.slot("db"):
                        return fork()
                return asyncio.run(main())
            with throttle.slot("db"):
                if way == "nested":
                    with throttle.slot("db"):
                        return fork()
                return fork()
        pid = block()
        if pid == 0:
            # Were a copy of the job run here, it would be by now, or before these.
            done = [throttle.execute("db", str, number).result(20) for number in range(2)]
            sys.stdout.write(f"{{done}}\\n")
            with throttle.slot("db", timeout=0):
                sys.stdout.write(f"{{throttle.lock_state('db').running}}\\n")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        throttle.drain("db", 20)
        print(throttle.lock_state("db").running)
        """
    )
    # The parent's main thread, its worker and the child write at the same time, each line once.
    released = ["True", "False"] if way == "acquire" else []
    assert sorted(lines) == sorted([*released, "job", "['0', '1']", "1", "0"])


def test_a_block_in_the_child_is_not_nested_in_one_of_the_parents(forking):
    assert forking(
        """
        throttle.new("db", 1)
        def child():
            with throttle.slot("db", timeout=0) as inner:
                print(inner is outer, inner.held, outer.held, len(throttle.holders("db")))
            with throttle.slot("db", timeout=0):
                print(said(within).split(":")[0])
        def within():
            with throttle.slot("db", within=outer):
                pass
        with throttle.slot("db") as outer:
            forked(child)
            print(outer.held, len(throttle.holders("db")))
        print(throttle.lock_state("db").running)
        """
    ) == ["False True False 1", "NotHeld", "True 1", "0"]


def test_a_fork_while_other_threads_are_inside_the_lock_leaves_the_child_a_free_one(forking):
    assert forking(
        """
        throttle.new("db", 2)
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                with throttle.slot("db"):
                    pass
                throttle.execute("db", int).result(20)
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for each in threads: each.start()
        def child():
            with throttle.slot("db", timeout=20), throttle.slot("db"):
                assert len(throttle.holders("db")) == 1
            assert throttle.execute("db", int).result(20) == 0
        with throttle.slot("db"):
            for _ in range(20):
                forked(child)
        stop.set()
        for each in threads: each.join()
        print(throttle.lock_state("db").running, throttle.run("db", int))
        """
    ) == ["0 0"]


def test_a_fork_while_another_thread_is_in_the_middle_of_a_step_leaves_the_child_a_free_lock(forking):
    assert forking(
        """
        throttle.new("db", 1)
        inside, go_on = threading.Event(), threading.Event()
        def trace(frame, event, arg):
            if frame.f_code.co_name == "take" and "throttle" in frame.f_code.co_filename and event == "call":
                def line(frame, event, arg):
                    combiner = frame.f_locals.get("combiner")
                    if combiner is not None and combiner.busy:
                        inside.set()
                        go_on.wait()
                    return line
                return line
        def step():
            sys.settrace(trace)
            throttle.run("db", int)
        with throttle.slot("db") as grant:
            pass
        thread = threading.Thread(target=step)
        thread.start()
        assert inside.wait(20)
        def child():
            print(throttle.run("db", int), throttle.lock_state("db").running, said(grant.release)[:7])
        forked(child)
        go_on.set()
        thread.join()
        """
    ) == ["0 0 NotHeld"]


def test_an_order_of_locks_that_the_parent_saw_is_known_in_the_child(forking):
    assert forking(
        """
        throttle.new("a", 1); throttle.new("b", 1)
        throttle.lock_order("error")
        def both(first, second):
            with throttle.slot(first), throttle.slot(second):
                return "both"
        print(both("a", "b"))
        forked(lambda: print(both("a", "b"), said(both, "b", "a")[:14]))
        """
    ) == ["both", "both LockOrderError"]


def test_what_after_fork_makes_wins_over_what_would_be_made_anew(forking):
    assert forking(
        """
        throttle.new("db", 1)
        after_fork(lambda: throttle.new("db", 5))
        forked(lambda: print(throttle.lock_info("db").num_slots))
        """
    ) == ["5"]
