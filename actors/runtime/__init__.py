"""What code runs on, and how it waits: threads, the loop, timers, futures. One file tames Pykka."""
