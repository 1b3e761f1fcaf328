"""One of several OS processes that fight for a lock: threads that hold it for a moment, again and again.

    crowd_program.py URL FILE THREADS SLOTS TTL HOLD GRACE

Each hold is two lines of the file, written in one go each: `begin TOKEN TIME ASKED` and `end TOKEN TIME`, in
seconds of the machine's monotonic clock; a grant that is lost is `lost TOKEN TIME`. What comes on the
standard input is `kill NAME`: of a process here, which a supervisor starts again.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from resprout import (
    CallTimeout,
    LockLost,
    NotHeld,
    ResproutError,
    ServerExit,
    Supervisor,
    cluster,
    process,
    throttle,
)


def main(url: str, file: str, threads: str, slots: str, ttl: str, hold: str, grace: str) -> None:
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process.trap_exit(True)
    children = [
        cluster.Engine.child_spec(url, name="shared", ttl=float(ttl), grace=float(grace)),
        throttle.child_spec("db", int(slots), engine="shared"),
    ]
    Supervisor.start_link(children, strategy="one_for_one", max_restarts=1000, max_seconds=1.0)

    def note(what: str, token: int, *more: float) -> None:
        times = " ".join(f"{at:.6f}" for at in (time.monotonic(), *more))
        os.write(out, f"{what} {token} {times}\n".encode())

    def work() -> None:
        while True:
            asked = time.monotonic()
            try:
                grant = throttle.acquire("db", timeout=30)
                token = grant.token
                note("begin", token, asked)
                try:
                    # The work itself, which is to take so long; it waits for nothing.
                    time.sleep(float(hold))
                finally:
                    note("end" if grant.held else "lost", token)
                grant.release()
            except (LockLost, NotHeld, ServerExit, CallTimeout):
                continue
            except ResproutError as error:
                sys.stderr.write(f"{error}\n")
                raise

    for _ in range(int(threads)):
        threading.Thread(target=work, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = process.whereis(line.split()[1])
        if pid is not None:
            process.exit(pid, "kill")
    os._exit(0)


main(*sys.argv[1:])
