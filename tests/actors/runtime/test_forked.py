"""What a forked child starts anew on first use, and what it says of what it has not."""

from __future__ import annotations

import pytest

from resprout import LockNotFound, NoProcess, Via, after_fork

ADVICE = (
    "start what you need in the child, after the fork (resprout.after_fork(fn) has that done on first use)"
)
PARENTS = f"was started before this process was forked: it runs in the parent only; {ADVICE}"

# -- after_fork ------------------------------------------------------------------------------


def test_functions_are_called_once_a_child_in_their_order_and_never_in_the_parent(forking):
    assert forking(
        """
        after_fork(lambda: print("first", os.getpid() != parent))
        @after_fork
        def second():
            print("second", os.getpid() != parent)
        parent = os.getpid()
        Agent.start(dict, name="before")
        def child():
            process.current(); process.current(); process.whereis("nobody")
            print("used")
        forked(child)
        forked(child)
        process.current(); process.whereis("nobody")
        print("parent", second.__name__)
        """
    ) == ["first True", "second True", "used"] * 2 + ["parent second"]


def test_a_child_that_does_not_use_resprout_calls_nothing(forking):
    assert forking(
        """
        process.current()
        after_fork(lambda: print("called"))
        forked(lambda: print("worked"))
        """
    ) == ["worked"]


def test_a_fork_before_any_use_calls_them_as_well(forking):
    assert forking(
        """
        after_fork(lambda: print("called", threading.active_count() > 1))
        forked(lambda: Agent.start(dict).call(len, 5) if 0 else print(process.alive(Agent.start(dict))))
        """
    ) == ["called True", "True"]


@pytest.mark.parametrize(
    "use",
    [
        "process.current()",
        "process.whereis('settings')",
        "Agent.get('settings', len)",
        "Agent.start(dict)",
        "Registry.lookup('users', 1)",
        "throttle.run('db', int)",
        "throttle.locks()",
        "Task.await_(Task.async_(int))",
        "asyncio.run(throttle.arun('db', int))",
    ],
)
def test_every_first_use_calls_them(forking, use):
    assert forking(
        f"""
        @after_fork
        def begin():
            print("called")
            Agent.start(dict, name="settings")
            Registry.start_link(keys="unique", name="users")
            throttle.new("db", 1)
        def child():
            {use}
            print("done")
        forked(child)
        """
    ) == ["called", "done"]


def test_a_function_sees_no_later_one_begin_before_it_is_over(forking):
    assert forking(
        """
        @after_fork
        def first():
            print("first begins")
            print(said(Agent.get, "second", len), process.whereis("second"))
            Agent.start(dict, name="first")
            print("first ends")
        @after_fork
        def second():
            print("second finds", Agent.get("first", len))
            Agent.start(dict, name="second")
        forked(lambda: print(Agent.get("second", len)))
        """
    ) == [
        "first begins",
        _no_process("second") + " None",
        "first ends",
        "second finds 0",
        "0",
    ]


def test_in_an_event_loop_they_run_in_a_thread_that_may_block(forking):
    assert forking(
        """
        @after_fork
        def begin():
            throttle.new("db", 1)
            throttle.run("db", print, "called")
            asyncio.run(throttle.arun("db", print, "in a loop of its own"))
        async def main():
            async with throttle.slot("db"):
                print("in the block")
        forked(lambda: asyncio.run(main()))
        """
    ) == ["called", "in a loop of its own", "in the block"]


def test_what_the_first_one_raises_is_raised_where_it_was_needed_when_all_have_been_called(forking):
    assert forking(
        """
        import logging
        @after_fork
        def wrong():
            print("wrong")
            raise OSError("no database")
        @after_fork
        def wrong_as_well():
            raise OSError("no cache")
        after_fork(lambda: print("right"))
        logging.getLogger("resprout").addFilter(lambda record: print(record.getMessage()))
        def child():
            print(said(process.current))
            print(said(process.current) is process.current())
        forked(child)
        async def main():
            process.current()
        forked(lambda: print(said(asyncio.run, main())))
        """
    ) == [
        *(first := ["wrong", *_logged("wrong_as_well"), "right", "OSError: no database"]),
        "True",
        *first,
    ]


def test_an_interrupt_of_one_is_raised_at_once_and_the_others_are_called_when_the_next_name_is_missed(
    forking,
):
    assert forking(
        """
        @after_fork
        def interrupted():
            raise KeyboardInterrupt
        after_fork(lambda: print("right"))
        def child():
            try:
                process.current()
            except KeyboardInterrupt:
                print("interrupted")
            print(process.whereis("nobody"))
        forked(child)
        """
    ) == ["interrupted", "right", "None"]


def test_a_thread_that_misses_a_name_meanwhile_waits_until_all_are_over(forking):
    assert forking(
        """
        @after_fork
        def slow():
            begun.set()
            # Nothing tells that the others wait: look at what they are doing.
            while not all(where(each) == "_call_all" for each in others):
                assert all(each.is_alive() for each in others), "did not wait"
                time.sleep(0)
        @after_fork
        def begin():
            Agent.start(dict, name="settings")
            Registry.start_link(keys="unique", name="users")
            throttle.new("db", 1)
        def where(thread):
            frame = sys._current_frames().get(thread.ident)
            return frame and frame.f_code.co_name
        def in_thread(*use):
            begun.wait()
            answers.append(said(*use))
        def child():
            others.extend(threading.Thread(target=in_thread, args=use) for use in uses)
            for each in others: each.start()
            process.current()
            for each in others: each.join()
            print(answers)
        begun = threading.Event()
        others, answers = [], []
        uses = [(Agent.get, "settings", len), (Registry.count, "users"), (throttle.run, "db", int)]
        forked(child)
        """
    ) == ["[0, 0, 0]"]


def test_what_a_function_starts_may_miss_names_itself(forking):
    """It gets its error at once, and does not wait for the function that waits for it."""
    assert forking(
        """
        throttle.new("db", 1)
        class Server(GenServer):
            def init(self, arg):
                throttle.run("db", print, type(self).__name__, "begins")
                return Ok(said(Agent.get, "nobody", len))
        class Quick(Server):
            blocking = False
        class OnLoop(Server):
            async def init(self, arg):
                async with throttle.slot("db"):
                    return Ok(said(throttle.lock_state, "nothing"))
        async def main():
            print(await throttle.arun("db", asyncio.to_thread, said, Agent.get, "nobody", len))
        @after_fork
        def begin():
            for kind in (Server, Quick, OnLoop):
                print(sys_state(kind.start()))
            asyncio.run(main())
            Supervisor.start_link([(Agent, dict)], strategy="one_for_one")
            print(Task.await_(Task.async_(said, Agent.get, "nobody", len)))
        def sys_state(pid):
            from resprout import sys
            return sys.get_state(pid)
        forked(process.current)
        """
    ) == [
        "Server begins",
        _no_process("nobody"),
        "Quick begins",
        _no_process("nobody"),
        _no_lock("nothing"),
        _no_process("nobody"),
        _no_process("nobody"),
    ]


def test_children_of_children_call_them_too(forking):
    assert forking(
        """
        after_fork(lambda: print("called by", generation))
        generation = "parent"
        Agent.start(dict, name="settings")
        def child():
            global generation
            generation = "child"
            process.current()
            forked(grandchild)
        def grandchild():
            global generation
            generation = "grandchild"
            print(said(Agent.get, "settings", len))
        forked(child)
        """
    ) == ["called by child", "called by grandchild", f"StalePid: settings {PARENTS}"]


def test_a_child_that_a_function_forks_itself_calls_none(forking):
    """Otherwise it would fork, and its child, and so on."""
    assert forking(
        """
        @after_fork
        def begin():
            print("called")
            forked(lambda: print(process.whereis("nobody")))
            class Server(GenServer):
                def init(self, arg):
                    forked(lambda: print("by a server", process.whereis("nobody")))
                    return Ok(None)
            Server.start()
        after_fork(lambda: print("the next"))
        forked(process.current)
        """
    ) == ["called", "None", "by a server None", "the next"]


def test_a_child_that_returns_from_the_fork_inside_a_function_goes_on(forking):
    assert forking(
        """
        me = []
        @after_fork
        def begin():
            sys.stdout.flush()
            me.append(os.fork())
            if me[0]: os.waitpid(me[0], 0)
        after_fork(lambda: print("the next"))
        def child():
            process.current()
            print("inner" if me == [0] else "outer", Agent.get(Agent.start(dict), len))
        forked(child)
        """
    ) == ["inner 0", "the next", "outer 0"]


def test_a_child_of_multiprocessing_calls_them(forking):
    assert forking(
        """
        import multiprocessing
        @after_fork
        def begin():
            Agent.start(lambda: "of " + multiprocessing.current_process().name, name="settings")
        def work(number):
            return Agent.get("settings", str), number
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.map(work, [1, 2]))
        """
    ) == ["[('of ForkPoolWorker-1', 1), ('of ForkPoolWorker-1', 2)]"]


@pytest.mark.parametrize("wrong", [None, 1, "fn"])
def test_what_cannot_be_called_is_refused(wrong):
    with pytest.raises(TypeError, match="expected fn to be callable, got: "):
        after_fork(wrong)


# -- what was there --------------------------------------------------------------------------


def test_a_name_of_the_parents_says_that_it_was_started_before_the_fork(forking):
    assert forking(
        """
        Agent.start(dict, name="agent")
        process.register(process.current(), "me")
        DynamicSupervisor.start_link(name="dynamic")
        TaskSupervisor.start_link(name="tasks")
        PartitionSupervisor.start_link(child_spec=(Agent, dict), name="parts", partitions=2)
        def child():
            for use in (
                lambda: GenServer.call("me", 1),
                lambda: GenServer.stop("agent"),
                lambda: Agent.get("agent", len),
                lambda: DynamicSupervisor.count_children("dynamic"),
                lambda: TaskSupervisor.async_("tasks", int),
                lambda: PartitionSupervisor.partitions("parts"),
                lambda: GenServer.call(Via(PartitionSupervisor, ("parts", 1)), 1),
                lambda: supervision.tree("dynamic"),
                lambda: process.unregister("me"),
            ):
                print(said(use))
            print(process.whereis("agent"), process.registered(), process.send("agent", "lost"))
            Agent.start(lambda: [1], name="agent")
            print(Agent.get("agent", len))
        forked(child)
        """
    ) == [
        f"StalePid: {name} {PARENTS}"
        for name in ("me", "agent", "agent", "dynamic", "tasks", "parts", "parts", "dynamic", "me")
    ] + ["None [] None", "1"]


def test_a_name_that_nobody_had_before_the_fork_is_unknown_as_ever(forking):
    assert forking(
        """
        Agent.start(dict, name="agent")
        Agent.stop("agent")
        forked(lambda: print(said(Agent.get, "agent", len), said(Agent.get, "other", len), sep="\\n"))
        """
    ) == [_no_process("agent"), _no_process("other")]


def test_a_registry_of_the_parents_says_that_it_was_started_before_the_fork(forking):
    text = f"was started before this process was forked: it runs in the parent only; {ADVICE}"
    lines = forking(
        """
        registry = Registry.start_link(keys="unique", name="users")
        Agent.start(dict, name=Via("users", 7))
        def child():
            print(said(Registry.register, "users", 1))
            print(said(Registry.lookup, registry, 1) .replace(repr(registry), "PID"))
            print(said(Agent.get, Via("users", 7), len))
            print(said(Agent.get, Via("users", [7]), len))
            print(said(Via("users", 8).register_name, process.current()))
            print(said(Registry.lookup, "user", 1))
            Registry.start_link(keys="unique", name="users")
            print(Registry.lookup("users", 7))
            print(said(Agent.get, Via("users", 7), len))
        forked(child)
        print(Registry.count("users"))
        """
    )
    assert lines[:5] == [
        f"UnknownRegistry: registry 'users' {text}",
        f"UnknownRegistry: registry PID {text}",
        f"UnknownRegistry: registry 'users' {text}",
        f"UnknownRegistry: registry 'users' {text}",
        f"UnknownRegistry: registry 'users' {text}",
    ]
    assert "fork" not in lines[5]
    assert lines[6:] == ["[]", _no_process(Via("users", 7)), "1"]


def test_telemetry_handlers_stay(forking):
    assert forking(
        """
        telemetry.attach("mine", ("app",), lambda event, *rest: print(event[1], os.getpid() == parent))
        parent = os.getpid()
        telemetry.emit(("app", "parent"), {}, {})
        forked(lambda: telemetry.emit(("app", "child"), {}, {}))
        """
    ) == ["parent True", "child False"]


def _no_process(name: object) -> str:
    return f"NoProcess: {NoProcess(name)}"


def _logged(name: str) -> list[str]:
    return [f"the function {name} of after_fork raised"]


def _no_lock(name: str) -> str:
    return f"LockNotFound: {LockNotFound(name)}"
