"""What an engine does in PostgreSQL with locks: one function a step."""

from __future__ import annotations

BLOCK = 16
"""So many tokens are taken at once: fewer than there are microseconds in the shortest step, so that they stay
behind the clock, which is what they go on from when all else is lost."""

FUNCTIONS = """\
-- Takes out the claims on a lock of sessions that have ended; when to look again, and whose they were.
create or replace function $schema$.reap(p_session integer, p_lock text) returns jsonb language plpgsql as $$
declare
    v_other integer;
    v_session $schema$.sessions;
    v_left double precision;
    v_again double precision;
    v_count integer;
    v_facts jsonb := '[]';
begin
    for v_other in select distinct session from $schema$.claims
            where lock = p_lock and session <> p_session loop
        select * into v_session from $schema$.sessions where session = v_other;
        -- Without a row it was found to have ended before.
        if v_session.session is not null then
            v_left := $schema$.seconds_left(v_session);
            continue when v_left is null;
            if v_left > 0 then
                v_again := least(v_again, v_left);
                continue;
            end if;
        elsif not $schema$.is_free(v_other) then
            continue;
        end if;
        -- No crash may lose that it has ended, or it would be believed when it comes back.
        perform set_config('synchronous_commit', 'on', true);
        with gone as (select member, ref from $schema$.claims
            where lock = p_lock and session = v_other for update skip locked)
        delete from $schema$.claims c using gone where c.member = gone.member and c.ref = gone.ref;
        get diagnostics v_count = row_count;
        v_facts := v_facts || jsonb_build_array(
            jsonb_build_array('reaped', coalesce(v_session.node, ''), v_count));
        delete from $schema$.sessions where session in (select session from $schema$.sessions
                where session = v_other for update skip locked)
            and not exists (select from $schema$.claims where session = v_other);
    end loop;
    return jsonb_build_array(v_again, v_facts);
end $$;

-- Takes out the oldest grants that are too many, after a crash: of those who had lost their slots before the
-- server lost anything, and do not know that yet. (Or all are good, and the lock was made smaller just
-- before: nobody can tell.) Those of a member itself are answered.
create or replace function $schema$.drop_oldest(p_lock text, p_slots bigint, p_member bigint) returns jsonb
language plpgsql as $$
declare
    v_gone $schema$.claims;
    v_refs jsonb := '[]';
begin
    loop
        exit when p_slots >= (select coalesce(sum(weight), 0) from $schema$.claims
            where lock = p_lock and not waiting);
        select * into v_gone from $schema$.claims where lock = p_lock and not waiting
            order by token limit 1 for update skip locked;
        exit when not found;
        delete from $schema$.claims where member = v_gone.member and ref = v_gone.ref;
        if v_gone.member = p_member then
            v_refs := v_refs || jsonb_build_array(v_gone.ref);
        elsif $schema$.try_member(v_gone.member) then
            -- It hears of that when it begins anew, at its next step. If it does so just now, it waits for
            -- this lock with its row in hand, and nobody is to wait for that.
            update $schema$.sessions set anew = true where session = v_gone.session;
        end if;
    end loop;
    return v_refs;
end $$;

-- Whether a claim was said before, so that it is not refused anew: its answer may have been lost.
create or replace function $schema$.is_asked(p_member bigint, p_ref bigint) returns boolean language sql as
    'select exists (select from $schema$.claims where member = p_member and ref = p_ref)';

-- What one lock asks, and what that leads to. An update takes the lock over, and some tokens with it: a grant
-- needs no other one. A claim whose row a transaction uses that has asserted it stays until that has ended.
create or replace function $schema$.step_lock(
    p_session integer, p_member bigint, p_lock text, p_slots bigint, p_ops jsonb, p_poll boolean,
    p_rate double precision, p_burst bigint)
returns jsonb language plpgsql as $$
declare
    l $schema$.locks;
    v_quiet boolean;
    v_next bigint;
    v_end bigint;
    v_resized boolean := false;
    v_serve boolean := p_poll;
    v_busy boolean;
    v_used bigint;
    v_head $schema$.claims;
    v_facts jsonb := '[]';
    v_watch boolean;
    v_first integer;
    v_again double precision;
    v_left double precision;
    v_spent boolean := false;
    v_ref bigint;
    v_rank bigint;
    v_weight bigint;
    v_place bigint;
    v_token bigint;
    v_tokens bigint;
    v_lost bigint;
    v_reap jsonb;
    v_count integer := jsonb_array_length(p_ops);
    v_done integer := 0;
    v_refs bigint[];
    v_number integer;
    v_granted jsonb;
    op jsonb;
begin
    perform $schema$.check_session(p_session, p_member);
    loop
        if v_count = 0 then
            select * into l from $schema$.locks where name = p_lock for no key update;
            if l.rate is not null and l.used_at > clock_timestamp() then
                l.due := $schema$.due_by_now(l.due, l.used_at);
                v_spent := true;
            end if;
        else
            update $schema$.locks set used_at = now(),
                due = case when rate is null then due else $schema$.due_by_now(due, used_at) end,
                token = greatest(token, (extract(epoch from clock_timestamp()) * 1000000)::bigint) + $block$
                where name = p_lock returning * into l;
        end if;
        exit when found;
        insert into $schema$.locks (name, num_slots, declared, paused, rate, burst)
            values (p_lock, p_slots, p_slots, false, p_rate, p_burst) on conflict do nothing;
    end loop;
    v_end := l.token;
    v_next := case when v_count = 0 then l.token else l.token - $block$ end;
    select quiet_until > 'epoch' into v_quiet from $schema$.server;
    if v_quiet then
        v_quiet := $schema$.quiet_seconds() > 0;
    end if;

    -- Many at once: what is given back first, then what is asked for, if all of it is free. The loop does the
    -- same, and takes twice as long.
    if v_count > 2 then
        select coalesce(min(at) filter (where asked->>0 <> 'l') - 1, v_count),
            coalesce(sum((asked->>2)::bigint) filter (where asked->>0 = 'j'), 0)
            into v_done, v_weight from jsonb_array_elements(p_ops) with ordinality o(asked, at);
        if v_done > 0 then
            v_refs := array(select (asked->>1)::bigint
                from jsonb_array_elements(p_ops) with ordinality o(asked, at) where at <= v_done);
            delete from $schema$.claims c using (select member, ref from $schema$.claims
                where member = p_member and ref = any(v_refs) for update skip locked) gone
                where c.member = gone.member and c.ref = gone.ref;
            get diagnostics v_number = row_count;
            if v_number < v_done then
                v_facts := coalesce((select jsonb_agg(jsonb_build_array('locked', ref))
                    from $schema$.claims where member = p_member and ref = any(v_refs)), v_facts);
            end if;
            v_serve := true;
        end if;
        if v_count - v_done > 1 and not (v_quiet or l.paused) and l.rate is null
            and not exists (select from $schema$.claims where lock = p_lock and waiting)
            and not exists (select from jsonb_array_elements(p_ops) with ordinality o(asked, at)
                where at > v_done and asked->>0 <> 'j')
            and v_weight <= l.num_slots - (select coalesce(sum(weight), 0) from $schema$.claims
                where lock = p_lock and not waiting)
        then
            with joins as (select asked, coalesce((asked->>8)::bigint, 1) as block, at
                from jsonb_array_elements(p_ops) with ordinality o(asked, at) where at > v_done),
            granted as (insert into $schema$.claims
                (member, ref, session, lock, waiting, rank, place, weight, token, block, who)
                select p_member, (asked->>1)::bigint, p_session, p_lock, false, -(asked->>3)::bigint, 0,
                    (asked->>2)::bigint, v_next + 1 + sum(block) over (order by at) - block, block, asked->>6
                    from joins on conflict do nothing returning ref, token, block)
            select count(*), max(token + block - 1),
                jsonb_agg(jsonb_build_array('granted', ref, token) order by token)
                into v_number, v_token, v_granted from granted;
            v_next := greatest(v_next, v_token);
            -- Else some were asked for before, and the loop knows what became of all of them.
            if v_number = v_count - v_done then
                v_facts := v_facts || v_granted;
                v_done := v_count;
                v_serve := p_poll;
            end if;
        end if;
    end if;

    for i in v_done .. v_count - 1 loop
        op := p_ops->i;
        case op->>0
        when 'j' then  -- ref, weight, priority, once, max_waiting, who, place, block
            v_ref := op->1;
            v_weight := op->2;
            v_rank := -(op->3)::bigint;
            v_token := null;
            v_place := 0;
            if v_weight > l.num_slots and not $schema$.is_asked(p_member, v_ref) then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('refused', v_ref, 'heavy'));
                continue;
            end if;
            select exists (select from $schema$.claims where lock = p_lock and waiting and rank <= v_rank
                    and weight <= l.num_slots),
                coalesce(v_used, (select coalesce(sum(weight), 0) from $schema$.claims
                    where lock = p_lock and not waiting)) into v_busy, v_used;
            v_tokens := coalesce((op->>8)::bigint, 1);
            v_left := case when v_busy or v_quiet or l.paused or v_used + v_weight > l.num_slots then null
                when l.rate is null then 0
                else $schema$.seconds_to_wait(l.rate, l.burst, l.due, v_weight) end;
            if v_left <= 0 then
                v_token := v_next + 1;
                v_next := v_next + v_tokens;
            elsif (op->4)::boolean and not $schema$.is_asked(p_member, v_ref) then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('refused', v_ref, 'busy'));
                continue;
            elsif op->>5 is not null and (op->5)::bigint <=
                    (select count(*) from $schema$.claims where lock = p_lock and waiting)
                    and not $schema$.is_asked(p_member, v_ref) then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('refused', v_ref, 'full'));
                continue;
            else
                v_place := coalesce((op->>7)::bigint, nextval('$schema$.places'));
                v_again := least(v_again, v_left);
            end if;
            insert into $schema$.claims
                (member, ref, session, lock, waiting, rank, place, weight, token, block, who)
                values (p_member, v_ref, p_session, p_lock, v_token is null, v_rank, v_place, v_weight,
                    v_token, v_tokens, op->>6) on conflict do nothing;
            if not found then
                select token, place into v_token, v_place from $schema$.claims
                    where member = p_member and ref = v_ref;
                v_used := null;
            elsif v_token is not null then
                v_used := v_used + v_weight;
                if l.rate is not null then
                    l.due := $schema$.due_after(l.rate, l.due, v_weight);
                    v_spent := true;
                end if;
            end if;
            v_facts := v_facts || jsonb_build_array(case when v_token is null
                then jsonb_build_array('queued', v_ref, v_place)
                else jsonb_build_array('granted', v_ref, v_token) end);
        when 'l' then  -- ref
            v_ref := op->1;
            v_serve := true;
            delete from $schema$.claims c using (select member, ref from $schema$.claims
                where member = p_member and ref = v_ref for update skip locked) gone
                where c.member = gone.member and c.ref = gone.ref
                returning case when c.waiting then 0 else c.weight end into v_weight;
            if found then
                v_used := v_used - v_weight;
            elsif exists (select from $schema$.claims where member = p_member and ref = v_ref) then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('locked', v_ref));
            end if;
        when 'k' then  -- ref, token, weight, priority, who, block
            v_ref := op->1;
            v_used := null;
            if v_quiet then
                insert into $schema$.claims
                    (member, ref, session, lock, waiting, rank, place, weight, token, block, who)
                    values (p_member, v_ref, p_session, p_lock, false, -(op->4)::bigint, 0,
                        (op->3)::bigint, (op->2)::bigint, coalesce((op->>6)::bigint, 1), op->>5)
                    on conflict (member, ref) do update set token = excluded.token, waiting = false
                        where claims.waiting;
                v_next := greatest(v_next, (op->2)::bigint + coalesce((op->>6)::bigint, 1) - 1);
                for v_lost in select value::bigint from jsonb_array_elements_text(
                        $schema$.drop_oldest(p_lock, l.num_slots, p_member)) loop
                    if v_lost <> v_ref then
                        v_facts := v_facts || jsonb_build_array(jsonb_build_array('lost', v_lost));
                    end if;
                end loop;
            end if;
            v_token := null;
            select token into v_token from $schema$.claims where member = p_member and ref = v_ref;
            if v_token is distinct from (op->2)::bigint then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('lost', v_ref));
            end if;
        when 'd' then  -- num_slots, paused, rate, burst
            if l.created_at = now() then
                l.paused := (op->2)::boolean;
                v_resized := true;
            elsif (l.rate, l.burst) is distinct from ((op->>3)::double precision, (op->>4)::bigint) then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('rerated', l.rate, l.burst));
                l.due := 0;
                v_resized := true;
            end if;
            l.rate := op->>3;
            l.burst := op->>4;
            if l.declared <> (op->1)::bigint then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('redeclared', l.declared));
                l.declared := (op->1)::bigint;
                l.num_slots := l.declared;
                v_resized := true;
            end if;
        when 'r' then  -- num_slots
            l.num_slots := op->1;
            v_resized := true;
        when 'p' then  -- paused
            l.paused := op->1;
            v_resized := true;
        end case;
    end loop;

    if v_resized then
        update $schema$.locks set num_slots = l.num_slots, declared = l.declared, paused = l.paused,
            rate = l.rate, burst = l.burst, due = l.due where name = p_lock;
        v_serve := true;
    end if;
    if p_poll and not v_quiet then
        v_reap := $schema$.reap(p_session, p_lock);
        v_again := least(v_again, (v_reap->>0)::double precision);
        v_facts := v_facts || (v_reap->1);
        v_used := null;
    end if;
    if v_serve and not v_quiet and not l.paused then
        loop
            -- Who asks for more than there is gives up as soon as it hears that, if that is still so.
            select * into v_head from $schema$.claims where lock = p_lock and waiting
                and weight <= l.num_slots order by rank, place limit 1;
            exit when not found;
            if v_used is null then
                select coalesce(sum(weight), 0) into v_used from $schema$.claims
                    where lock = p_lock and not waiting;
            end if;
            exit when v_used + v_head.weight > l.num_slots;
            -- The head may have ended, which is known when its grace is over; nobody overtakes it until then.
            exit when v_head.session <> p_session and $schema$.is_free(v_head.session);
            if l.rate is not null then
                v_left := $schema$.seconds_to_wait(l.rate, l.burst, l.due, v_head.weight);
                if v_left > 0 then
                    v_again := least(v_again, v_left);
                    exit;
                end if;
                l.due := $schema$.due_after(l.rate, l.due, v_head.weight);
                v_spent := true;
            end if;
            v_token := greatest(v_next + 1, case when v_next < v_end then 0
                else (extract(epoch from clock_timestamp()) * 1000000)::bigint end);
            v_next := v_token + v_head.block - 1;
            update $schema$.claims set waiting = false, token = v_token, since = clock_timestamp()
                where member = v_head.member and ref = v_head.ref;
            v_used := v_used + v_head.weight;
            if v_head.member = p_member then
                v_facts := v_facts || jsonb_build_array(jsonb_build_array('granted', v_head.ref, v_token));
            else
                perform pg_notify('$schema$_' || v_head.member, v_head.ref || ' ' || v_token);
            end if;
        end loop;
    end if;
    if v_next > v_end or v_spent then
        update $schema$.locks set token = greatest(v_next, v_end), due = l.due, used_at = now()
            where name = p_lock;
    end if;
    if p_poll then
        v_facts := v_facts || coalesce((select jsonb_agg(jsonb_build_array('granted', ref, token))
            from $schema$.claims where lock = p_lock and not waiting and member = p_member), '[]');
        -- Whoever is first, and whoever is first of the others, should both end at once.
        select session into v_first from $schema$.claims where lock = p_lock and waiting
            order by rank, place limit 1;
        v_watch := coalesce(v_first = p_session or p_session = (select session from $schema$.claims
            where lock = p_lock and waiting and session <> v_first order by rank, place limit 1), false);
    end if;
    return jsonb_build_array(l.num_slots, l.paused, v_facts, v_watch, v_again);
end $$;

-- For several locks at once. All are taken over first, in one order: no two steps wait for each other.
create or replace function $schema$.step(p_session integer, p_member bigint, p_requests jsonb)
returns jsonb language plpgsql as $$
declare
    v_request jsonb;
    v_answers jsonb := '[]';
begin
    perform $schema$.check_session(p_session, p_member);
    if jsonb_array_length(p_requests) = 0 then
        perform $schema$.quiet_seconds();
    elsif jsonb_array_length(p_requests) > 1 then
        perform 1 from $schema$.locks where name in (select value->>0 from jsonb_array_elements(p_requests))
            order by name for no key update;
    end if;
    for v_request in select value from jsonb_array_elements(p_requests) loop
        v_answers := v_answers || jsonb_build_array($schema$.step_lock(p_session, p_member, v_request->>0,
            (v_request->>1)::bigint, v_request->2, (v_request->>3)::boolean,
            (v_request->>4)::double precision, (v_request->>5)::bigint));
    end loop;
    return v_answers;
end $$;

-- In a transaction of the user's: go on only with a grant that is good, and keep it until the end.
-- By the index, whatever the user's session thinks of a table that is empty most of the time. Whoever may use
-- the schema may do this, and needs no right to the table.
create or replace function $schema$.assert_held(p_lock text, p_token bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off as $$
begin
    perform 1 from $schema$.claims where lock = p_lock and not waiting
        and token <= p_token and p_token < token + block for key share;
    if not found then
        raise exception 'the grant of lock % with token % is void', quote_literal(p_lock), p_token
            using errcode = 'RS001', hint = 'somebody else may hold the lock by now';
    end if;
end $$;
"""
