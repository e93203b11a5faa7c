-- The journal: events that are sent to accounts by webhooks.

create table webhook (
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account,
    url         text not null,
    kinds       text[] not null default '{}',   -- empty: all
    sealed      bytea not null,             -- the signing secret, encrypted
    sealed_before bytea,                    -- the previous secret, which also signs until before_until
    before_until timestamptz,
    cursor      bigint not null default 0,  -- outbox id up to which events were accepted with 2xx, or not wanted
    due_at      timestamptz not null default now(),
    failures    int not null default 0,     -- in a row
    last_error  text,
    last_success_at timestamptz,
    lease       bigint,                     -- a number of the process that is sending
    lease_until timestamptz,
    paused_at   timestamptz,
    created_at  timestamptz not null default now()
);
create index on webhook (account_id);

-- Events for accounts, in order. Written by the transactions in which they happen, only for accounts with a webhook.
create table outbox (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    account_id  bigint not null,
    message_id  uuid,
    recipient_index int,
    kind        text not null,
    data        jsonb not null
);
create index on outbox (account_id, id);
alter table outbox alter column data set statistics 0;

-- A transaction that draws an id here already has a transaction id. mta.store.postgres.commit_watermark relies on it.
create function outbox_begin() returns trigger language plpgsql as $$
begin
    perform pg_current_xact_id();
    return null;
end $$;
create trigger outbox_begin before insert on outbox for each statement execute function outbox_begin();

-- Accounts are told what is recorded about their messages, in the transaction that records it.
create function outbox_of_messages() returns trigger language plpgsql as $$
begin
    if exists (select from webhook) then
        insert into outbox (at, account_id, message_id, recipient_index, kind, data)
        select m.received_at, m.account_id, m.id, one.recipient_index, 'accepted', jsonb_strip_nulls(jsonb_build_object(
            'size', m.size,
            'holds', (
                select jsonb_agg(jsonb_build_object('source', source, 'ref', ref, 'text', text)) from hold h
                where h.message_id = m.id and h.recipient_index = one.recipient_index
            )
        ))
        from written m cross join generate_series(0, m.recipients - 1) as one (recipient_index)
        where exists (select from webhook w where w.account_id = m.account_id);
    end if;
    return null;
end $$;
create trigger outbox_of_messages after insert on message
    referencing new table as written for each statement execute function outbox_of_messages();

create function outbox_of_events() returns trigger language plpgsql as $$
begin
    if exists (select from webhook) then
        insert into outbox (at, account_id, message_id, recipient_index, kind, data)
        select at, account_id, message_id, recipient_index, kind, data
        from (
            select
                e.id, e.at, e.message_id, e.recipient_index, e.data,
                case
                    when e.message_id is null then (e.data ->> 'account_id')::bigint
                    else (select m.account_id from message m where m.id = e.message_id)
                end as account_id,
                case
                    when e.kind = 'suppressed' and e.data ->> 'reason' = 'unsubscribe' then 'unsubscribed'
                    else e.kind
                end as kind
            from written e
            where e.kind in (
                'delivered', 'deferred', 'failed', 'expired', 'dropped', 'held', 'released', 'suppressed',
                'unsuppressed'
            )
        ) told
        where exists (select from webhook w where w.account_id = told.account_id)
        order by id;
    end if;
    return null;
end $$;
create trigger outbox_of_events after insert on event
    referencing new table as written for each statement execute function outbox_of_events();
