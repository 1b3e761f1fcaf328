"""What an engine keeps in PostgreSQL: a few tables, what is done with sessions, and one function a step (see
postgres_locks, postgres_rates and postgres_keys).

Version 3 sees that the clock was set. Version 2 had the keys of registries, rates, and grants with several
tokens, which version 1 had not.
"""

from __future__ import annotations

from .postgres_keys import FUNCTIONS as KEY_FUNCTIONS
from .postgres_keys import TABLE as KEYS
from .postgres_locks import BLOCK
from .postgres_locks import FUNCTIONS as LOCK_FUNCTIONS
from .postgres_rates import FUNCTIONS as RATE_FUNCTIONS

VERSION = 3
LIVENESS = 0x7265  # "re": the class of the advisory locks that sessions hold for as long as they live
MEMBERS = 0x7266
"""Of those that a member holds while it begins a session, and others while they take what it had."""

_TABLES = """\
do $$ begin
    -- One that somebody has made for a role may be used by it, where it may make none.
    if to_regnamespace('$schema$') is null then
        create schema $schema$;
    end if;
end $$;

create table $schema$.server (
    only_row boolean primary key default true check (only_row),
    version integer not null,
    identity text,                                              -- of the server that was here last
    quiet_until timestamptz not null default 'epoch');      -- nothing is granted, nobody reaped until then
insert into $schema$.server (version) values ($version$);

create sequence $schema$.session_numbers as integer cycle;
create sequence $schema$.places;

create table $schema$.sessions (
    session integer primary key,
    member bigint not null,
    node text not null,
    ttl double precision not null,
    grace double precision not null,
    free_since timestamptz);                                    -- nobody has its advisory lock

create table $schema$.locks (
    name text primary key check (length(name) between 1 and 200),
    num_slots bigint not null,
    declared bigint not null,                                   -- by the start before
    paused boolean not null,
    token bigint not null default 0,
    created_at timestamptz not null default now(),
    used_at timestamptz not null default now()) with (fillfactor = 50);

create table $schema$.claims (
    member bigint not null,
    ref bigint not null,
    session integer not null,
    lock text not null,
    waiting boolean not null,
    rank bigint not null,                                       -- the negated priority
    place bigint not null,
    weight bigint not null,
    token bigint,
    who text not null,
    since timestamptz not null default clock_timestamp(),
    primary key (member, ref)) with (
        fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
create index claims_in_order on $schema$.claims (lock, waiting, rank, place);
"""

_ANEW = """\
-- What was not in version 1.
alter table $schema$.server
    -- Until then, whoever has no session is believed to have had one in a schema that was removed.
    add column if not exists anew_until timestamptz not null default 'epoch',
    -- When quiet_until was looked at.
    add column if not exists quiet_seen timestamptz not null default clock_timestamp();

alter table $schema$.sessions
    add column if not exists anew boolean not null default false,       -- it is to begin anew
    add column if not exists doubted boolean not null default false;    -- the grace was over, and began anew

alter table $schema$.locks
    add column if not exists rate double precision,                    -- grants a second; null for any number
    add column if not exists burst bigint,
    add column if not exists due double precision not null default 0;  -- when all granted would have been

-- So many tokens belong to a grant, of which the row has the first.
alter table $schema$.claims add column if not exists block bigint not null default 1;
"""

_FUNCTIONS = """\
-- Whether a session has ended, as far as is known this instant. Never to be asked of one's own.
create or replace function $schema$.is_free(p_session integer) returns boolean language sql as
    'select pg_try_advisory_xact_lock_shared($class$, p_session)';

-- In how many seconds a session is known to have ended: null if it lives, 0 or less if it has. Where somebody
-- has set the clock since the last look, its grace begins anew: once, if it is over for longer than a look is
-- late, as nobody may have looked for so long.
create or replace function $schema$.seconds_left(p_session $schema$.sessions) returns double precision
language plpgsql as $$
declare
    v_left double precision;
    v_late boolean;
begin
    if not $schema$.is_free(p_session.session) then
        if p_session.free_since is not null then
            update $schema$.sessions set free_since = null, doubted = false where session in (select session
                from $schema$.sessions where session = p_session.session for no key update skip locked);
        end if;
        return null;
    end if;
    v_left := p_session.grace - extract(epoch from clock_timestamp() - p_session.free_since);
    v_late := v_left < -least(1, p_session.grace / 3) and not p_session.doubted;
    if v_left is null or v_left > p_session.grace or v_late then
        update $schema$.sessions set free_since = clock_timestamp(), doubted = coalesce(v_late, false)
            where session in (select session from $schema$.sessions
                where session = p_session.session for no key update skip locked);
        return p_session.grace;
    end if;
    return v_left;
end $$;

-- For how long nothing is granted: never longer than anybody may need to come back. Whoever is here looks
-- every third of a ttl. Where the clock has gone on by more than that between two looks, or back, somebody
-- may have set it: that is no time at all, and the silence ends so much later.
create or replace function $schema$.quiet_seconds() returns double precision language plpgsql as $$
declare
    v_server $schema$.server;
    v_passed double precision;
    v_counted double precision;
    v_quiet double precision;
    v_longest double precision;
begin
    select * into v_server from $schema$.server;
    if v_server.quiet_until = 'epoch' then
        return 0;
    end if;
    select max(ttl) into v_longest from $schema$.sessions;
    v_passed := extract(epoch from clock_timestamp() - v_server.quiet_seen);
    v_counted := case when v_passed between 0 and 0.4 * v_longest then v_passed else 0 end;
    v_quiet := extract(epoch from v_server.quiet_until - v_server.quiet_seen) - v_counted;
    v_quiet := greatest(least(v_quiet, v_longest), 0);
    if v_quiet = 0 or v_passed not between 0 and v_longest / 50 then
        -- Whoever has the row is beginning a session, and does this as well.
        update $schema$.server set quiet_seen = clock_timestamp(), quiet_until = case when v_quiet = 0
                then 'epoch' else clock_timestamp() + make_interval(secs => v_quiet) end,
            anew_until = anew_until + make_interval(secs => v_passed - v_counted)
            where only_row in (select only_row from $schema$.server for update skip locked);
    end if;
    return v_quiet;
end $$;

-- A session begins, with all the claims that the former one of the same process had.
create or replace function $schema$.hello(
    p_member bigint, p_node text, p_ttl double precision, p_grace double precision, p_again boolean)
returns jsonb language plpgsql as $$
declare
    v_server $schema$.server;
    v_session integer;
    v_identity text := pg_postmaster_start_time()::text
        || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
        || ' ' || coalesce((select stats_reset::text from pg_stat_archiver), '');
    v_rows jsonb;
    v_keys jsonb;
    v_ended boolean;
    v_quiet double precision;
begin
    -- Who has no row here was found to have ended: no crash may lose that there is one.
    perform set_config('synchronous_commit', 'on', true);
    -- Nobody takes its keys from now on.
    perform pg_advisory_xact_lock($members$, hashint8(p_member));
    select * into v_server from $schema$.server for update;
    if v_server.identity is distinct from v_identity then
        update $schema$.server set identity = v_identity, quiet_seen = clock_timestamp(), quiet_until = case
            when v_server.identity is null and not p_again then quiet_until
            else clock_timestamp() + make_interval(secs =>
                greatest(p_ttl, (select max(ttl) from $schema$.sessions))) end,
            anew_until = case when v_server.identity is null then clock_timestamp()
                + make_interval(secs => p_ttl) else anew_until end
        returning * into v_server;
    end if;
    -- A number may be that of a session which lives on from a schema that was removed.
    loop
        v_session := nextval('$schema$.session_numbers');
        exit when pg_try_advisory_lock($class$, v_session);
    end loop;
    -- Before anything of it is looked at: this waits for what the former session is saying just now.
    delete from $schema$.sessions where member = p_member;
    v_ended := p_again and not found;
    perform 1 from $schema$.locks where name in (select lock from $schema$.claims where member = p_member)
        order by name for no key update;
    update $schema$.claims set session = v_session where member = p_member;
    insert into $schema$.sessions (session, member, node, ttl, grace)
        values (v_session, p_member, p_node, p_ttl, p_grace);
    v_quiet := $schema$.quiet_seconds();
    v_ended := v_ended and clock_timestamp() >= (select anew_until from $schema$.server);
    delete from $schema$.locks where used_at < now() - interval '30 days'
        and not exists (select from $schema$.claims where lock = name);
    select coalesce(jsonb_agg(jsonb_build_array(lock, ref, token, place)), '[]') into v_rows
        from $schema$.claims where member = p_member;
    if v_ended and v_quiet > 0 then
        -- A crash may have lost that others have them.
        delete from $schema$.keys where member = p_member;
    end if;
    v_keys := $schema$.keys_of(p_member);
    if v_quiet <= 0 then
        perform $schema$.sweep_keys(v_session);
    end if;
    return jsonb_build_array(v_session, v_quiet, v_rows, v_keys, v_ended);
end $$;

-- Whoever goes on as if nothing had been has to begin anew: its claims went with the schema that was removed,
-- or some of its grants were too many after a crash.
create or replace function $schema$.check_session(p_session integer, p_member bigint) returns void
language plpgsql as $$
begin
    -- Kept until the end, so that the next session of this member begins with all that was done in this one.
    perform 1 from $schema$.sessions where session = p_session and member = p_member and not anew
        for key share;
    if not found then
        raise exception 'the session % is over here, or not known', p_session
            using errcode = 'RS002';
    end if;
end $$;
"""

_ALL_FUNCTIONS = (_FUNCTIONS, RATE_FUNCTIONS, LOCK_FUNCTIONS, KEY_FUNCTIONS)

_STATUS = """\
select 'version ' || version || case when quiet_until > clock_timestamp()
    then ', quiet until ' || quiet_until else '' end from $schema$.server
union all select 'session ' || session || ' of ' || node from $schema$.sessions
union all select 'lock ' || l.name || ': '
    || coalesce(sum(c.weight) filter (where not c.waiting), 0) || ' of ' || l.num_slots
    || ' slots used, ' || count(c.ref) filter (where c.waiting) || ' waiting'
    || case when l.paused then ', paused' else '' end
    from $schema$.locks l left join $schema$.claims c on c.lock = l.name group by l.name
union all select 'registry ' || registry || ': ' || count(*) || ' keys' from $schema$.keys group by registry;
"""
_GRANT = """\
grant usage on schema $schema$ to $role$;
grant select, insert, update, delete on all tables in schema $schema$ to $role$;
grant usage on all sequences in schema $schema$ to $role$;
grant execute on all functions in schema $schema$ to $role$;
"""
_REMOVE = "drop schema if exists $schema$ cascade;\n"


def install_sql(schema: str) -> str:
    """The statements that make the schema."""
    return _for("\n".join([_TABLES, _ANEW, KEYS, *_ALL_FUNCTIONS]), schema)


def upgrade_sql(schema: str, version: int) -> str | None:
    """The statements that make this version of a former one; None where there is no way."""
    if version not in (1, 2):
        return None
    # A step of a process of the former version goes on as it did.
    done = "update $schema$.server set version = $version$;\n"
    return _for("\n".join([_ANEW, KEYS, *_ALL_FUNCTIONS, done]), schema)


def grant_sql(schema: str, role: str) -> str:
    """The statements by which a role may have an engine there."""
    name = role.replace('"', '""')
    return _for(_GRANT, schema).replace("$role$", f'"{name}"')


def remove_sql(schema: str) -> str:
    """The statement that ends it, with all that it keeps."""
    return _for(_REMOVE, schema)


def status_sql(schema: str) -> str:
    """The statement that says who is there, and which locks."""
    return _for(_STATUS, schema)


def _for(text: str, schema: str) -> str:
    marks = {
        "schema": schema,
        "version": VERSION,
        "class": LIVENESS,
        "members": MEMBERS,
        "block": BLOCK,
    }
    for mark, value in marks.items():
        text = text.replace(f"${mark}$", str(value))
    return text
