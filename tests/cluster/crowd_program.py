"""One of several OS processes that fight for a lock: threads that hold it for a moment, again and again.

    crowd_program.py URL FILE THREADS SLOTS TTL HOLD

Each hold is two lines of the file, written in one go each: `begin TOKEN TIME` and `end TOKEN TIME`, in
seconds of the machine's monotonic clock; a grant that is lost is `lost TOKEN TIME`.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from resprout import CallTimeout, LockLost, NotHeld, ResproutError, ServerExit, cluster, process, throttle


def main(url: str, file: str, threads: str, slots: str, ttl: str, hold: str) -> None:
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process.trap_exit(True)
    cluster.Engine.start_link(url, name="shared", ttl=float(ttl))
    throttle.new("db", int(slots), engine="shared")

    def note(what: str, token: int) -> None:
        os.write(out, f"{what} {token} {time.monotonic():.6f}\n".encode())

    def work() -> None:
        while True:
            try:
                grant = throttle.acquire("db", timeout=30)
                token = grant.token
                note("begin", token)
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
    sys.stdin.read()
    os._exit(0)


main(*sys.argv[1:])
