"""What an engine keeps in PostgreSQL of registries: one row a key, and one function for all that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import assert_never

from .driver import utf8
from .key_operations import (
    ChangeKey,
    ClaimKey,
    FindKey,
    KeepKey,
    KeyClaimed,
    KeyDone,
    KeyFact,
    KeyFree,
    KeyGone,
    KeyOperation,
    KeyOwned,
    KeyRequest,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)

TABLE = """\
create table if not exists $schema$.keys (
    registry text collate "C" not null check (length(registry) between 1 and 200),
    key text collate "C" not null,
    member bigint not null,
    ref bigint not null,
    token bigint not null,
    shown boolean not null default true,                        -- its owner lives
    who text not null,
    value text not null,
    primary key (registry, key)) with (
        fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
"""

FUNCTIONS = """\
-- Whoever takes a key from a member that has ended, and that member when it begins anew, go one by one.
create or replace function $schema$.try_member(p_member bigint) returns boolean language sql as
    'select pg_try_advisory_xact_lock($members$, hashint8(p_member))';

-- In how many seconds a member is known to have ended: null if it lives, 0 if it has.
create or replace function $schema$.seconds_of(p_member bigint) returns double precision
language plpgsql as $$
declare
    v_session $schema$.sessions;
begin
    select * into v_session from $schema$.sessions where member = p_member;
    if not found then
        return 0;
    end if;
    return $schema$.seconds_left(v_session);
end $$;

-- The claims that a member has from its former sessions. What it said in them is over, since its row is gone.
create or replace function $schema$.keys_of(p_member bigint) returns jsonb language sql as
    'select coalesce(jsonb_agg(jsonb_build_array(registry, ref, key, token)), ''[]'')
        from $schema$.keys where member = p_member';

-- Forgets sessions that have ended with nothing left, and the keys of members without a session.
create or replace function $schema$.sweep_keys(p_session integer) returns void language plpgsql as $$
declare
    v_session $schema$.sessions;
    v_member bigint;
begin
    -- In a transaction that is flushed, as one is to be that finds that a member has ended.
    for v_session in select * from $schema$.sessions where session <> p_session loop
        if $schema$.seconds_left(v_session) <= 0 then
            delete from $schema$.sessions where session in (select session from $schema$.sessions
                    where session = v_session.session for update skip locked)
                and not exists (select from $schema$.claims where session = v_session.session);
        end if;
    end loop;
    for v_member in select distinct member from $schema$.keys k
            where not exists (select from $schema$.sessions s where s.member = k.member) loop
        if $schema$.try_member(v_member) then
            delete from $schema$.keys where member = v_member
                and not exists (select from $schema$.sessions where member = v_member);
        end if;
    end loop;
end $$;

-- One operation on a key. Where it looks at others it does so again after each wait.
create or replace function $schema$.step_key(
    p_member bigint, p_registry text, op jsonb, p_quiet double precision)
returns jsonb language plpgsql as $$
declare
    v_kind text := op->>0;
    v_ref bigint := op->1;
    v_key text := op->>2;
    k $schema$.keys;
    v_left double precision;
    v_token bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
begin
    case v_kind
    when 'r' then  -- ref, key
        delete from $schema$.keys
            where registry = p_registry and key = v_key and member = p_member and ref = v_ref;
        return '["done"]';
    when 'x' then  -- ref, key, value, shown
        update $schema$.keys set value = op->>3, shown = (op->4)::boolean
            where registry = p_registry and key = v_key and member = p_member and ref = v_ref;
        return case when found then '["done"]' else '["gone"]' end;
    when 'k' then  -- ref, key, token, value, shown, who
        loop
            select * into k from $schema$.keys where registry = p_registry and key = v_key for update;
            if not found then
                if p_quiet <= 0 then
                    return '["gone"]';
                end if;
                insert into $schema$.keys (registry, key, member, ref, token, value, shown, who)
                    values (p_registry, v_key, p_member, v_ref, (op->3)::bigint, op->>4, (op->5)::boolean,
                        op->>6) on conflict do nothing;
                continue when not found;
                return '["done"]';
            end if;
            if k.member = p_member and k.ref = v_ref and k.token = (op->3)::bigint then
                return '["done"]';
            end if;
            if p_quiet <= 0 or k.token >= (op->3)::bigint then
                return '["gone"]';
            end if;
            update $schema$.keys set member = p_member, ref = v_ref, token = (op->3)::bigint,
                value = op->>4, shown = (op->5)::boolean, who = op->>6
                where registry = p_registry and key = v_key;
            return '["done"]';
        end loop;
    when 'c', 'f' then  -- ref, key; value, who
        loop
            select * into k from $schema$.keys where registry = p_registry and key = v_key;
            if not found then
                if p_quiet > 0 then
                    return jsonb_build_array('undecided', p_quiet);
                end if;
                if v_kind = 'f' then
                    return '["free"]';
                end if;
                insert into $schema$.keys (registry, key, member, ref, token, value, who)
                    values (p_registry, v_key, p_member, v_ref, v_token, op->>3, op->>4)
                    on conflict do nothing;
                continue when not found;
                return jsonb_build_array('claimed', v_token);
            end if;
            if v_kind = 'c' and k.member = p_member and k.ref = v_ref then
                return jsonb_build_array('claimed', k.token);
            end if;
            v_left := case when k.member <> p_member then $schema$.seconds_of(k.member) end;
            if v_left is null then
                if v_kind = 'f' and not k.shown then
                    return '["free"]';
                end if;
                return jsonb_build_array('owned', k.member, k.ref, coalesce((select node
                    from $schema$.sessions where member = k.member), ''), k.who, k.value);
            end if;
            if greatest(v_left, p_quiet) > 0 then
                return jsonb_build_array('undecided', greatest(v_left, p_quiet));
            end if;
            if v_kind = 'f' then
                return '["free"]';
            end if;
            -- It has ended. Unless it begins anew just now, or has, or somebody else was first.
            if not $schema$.try_member(k.member) then
                return '["undecided", 0.02]';
            end if;
            continue when coalesce($schema$.seconds_of(k.member), 1) > 0;
            -- For good: a crash that loses this must not have both of them believed. See hello.
            delete from $schema$.sessions where member = k.member;
            if found then
                perform set_config('synchronous_commit', 'on', true);
            end if;
            v_token := greatest(v_token, k.token + 1);
            update $schema$.keys set member = p_member, ref = v_ref, token = v_token, shown = true,
                value = op->>3, who = op->>4
                where registry = p_registry and key = v_key and member = k.member and ref = k.ref;
            continue when not found;
            return jsonb_build_array('claimed', v_token);
        end loop;
    end case;
end $$;

-- Operations of several registries, in the order of registries and keys: no two steps wait for each other.
create or replace function $schema$.step_keys(p_session integer, p_member bigint, p_requests jsonb)
returns jsonb language plpgsql as $$
declare
    v_quiet double precision;
    v_request jsonb;
    v_op jsonb;
    v_facts jsonb[];
    v_answers jsonb[] := '{}';
begin
    perform $schema$.check_session(p_session, p_member);
    v_quiet := $schema$.quiet_seconds();
    for v_request in select value from jsonb_array_elements(p_requests) loop
        v_facts := '{}';
        for v_op in select value from jsonb_array_elements(v_request->1) loop
            v_facts := v_facts || $schema$.step_key(p_member, v_request->>0, v_op, v_quiet);
        end loop;
        v_answers := v_answers || to_jsonb(v_facts);
    end loop;
    return to_jsonb(v_answers);
end $$;
"""


def text_of(who: str) -> str:
    """What PostgreSQL takes for a text."""
    return utf8(who.replace("\0", ""))


def packed(request: KeyRequest) -> list[object]:
    """A request as the function takes it."""
    return [request.registry, [_packed(each) for each in request.operations]]


def _packed(operation: KeyOperation) -> list[object]:
    match operation:
        case ClaimKey(ref, key, value, who):
            return ["c", ref, key, value, text_of(who)]
        case ReleaseKey(ref, key):
            return ["r", ref, key]
        case ChangeKey(ref, key, value, shown):
            return ["x", ref, key, value, shown]
        case KeepKey(ref, key, token, value, shown, who):
            return ["k", ref, key, token, value, shown, text_of(who)]
        case FindKey(ref, key):
            return ["f", ref, key]
        case _:
            assert_never(operation)


_FACTS: Mapping[str, type[Any]] = {
    "claimed": KeyClaimed,
    "owned": KeyOwned,
    "free": KeyFree,
    "undecided": KeyUndecided,
    "done": KeyDone,
    "gone": KeyGone,
}


def facts_of(answer: Sequence[Sequence[Any]]) -> list[KeyFact]:
    """What the function says of one request."""
    return [_FACTS[kind](*values) for kind, *values in answer]


def rows_of(rows: Sequence[Sequence[Any]]) -> Mapping[str, Mapping[int, KeyRow]]:
    """What there is of a member, by registry and number."""
    found: dict[str, dict[int, KeyRow]] = {}
    for registry, ref, key, token in rows:
        found.setdefault(registry, {})[ref] = KeyRow(key, token)
    return found
