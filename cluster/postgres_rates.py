"""What an engine does in PostgreSQL with the rate of a lock, by the clock of the server."""

from __future__ import annotations

FUNCTIONS = """\
-- The generic cell rate algorithm: after how many seconds so much may be granted, now if that is not above 0.
-- A billionth of a second is rounding, not waiting; what is added to the time of day is rounded to more.
create or replace function $schema$.seconds_to_wait(p_rate double precision, p_burst bigint,
    p_due double precision, p_weight bigint) returns double precision language sql as
    'select greatest(p_due - t.now, 0) + (p_weight - greatest(p_burst, p_weight)) / p_rate - 1e-9
        from (select extract(epoch from clock_timestamp())::double precision as now) t';

-- The same: when all that was granted would have been due, with so much more.
create or replace function $schema$.due_after(
    p_rate double precision, p_due double precision, p_weight bigint) returns double precision language sql as
    'select greatest(p_due, extract(epoch from clock_timestamp())::double precision) + p_weight / p_rate';

-- When that is by a clock that was set back since the lock was used, which makes nobody wait for that long.
create or replace function $schema$.due_by_now(p_due double precision, p_used_at timestamptz)
returns double precision language sql as
    'select p_due - greatest(extract(epoch from p_used_at - clock_timestamp()), 0)::double precision';
"""
