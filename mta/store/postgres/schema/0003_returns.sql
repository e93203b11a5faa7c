-- What comes back: reports, complaints with a clock, soft bounces, breakers, and the events that go out.

-- Reports that were taken: a second copy changes nothing.
create table report_taken (
    digest      bytea primary key,          -- of what identifies the report: message, recipient, kind
    at          timestamptz not null default now()
);
create index on report_taken (at);

create table report_in (                    -- what came back by mail, until it is worked off
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    sender      text,                       -- null: <>
    recipients  text[] not null,            -- ours, as they were named
    client      text not null,
    hello       text not null,
    content     bytea not null,
    tries       int not null default 0,     -- which one is under way, or how many there were
    due_at      timestamptz not null default now(),     -- while somebody is at it: when he is given up
    error       text                        -- how the last try ended
);
create index on report_in (due_at);

-- Soft bounces of an address, until it is delivered to or suppressed. One a mailing and day counts.
create table soft_bounce (
    address_key bytea not null,
    account_id  bigint not null,
    category    text not null,
    mailing     text not null default '',
    day         date not null,
    primary key (address_key, account_id, category, mailing, day)
);
create index on soft_bounce (day);

alter table suppression
    add column detail text not null default '',     -- the reason in words
    add column expires_at timestamptz,              -- null: never, and what a person has said never does
    alter column address drop not null;             -- an unsubscribe link knows the hash only
-- Reasons were free text before.
update suppression set
    detail = reason,
    reason = case
        when rule in ('operator', 'import') then 'manual'
        when reason = 'erased' then 'erased'
        when rule = 'consent' then 'revoked'
        else 'hard_bounce'
    end;
alter table suppression add check (reason in (
    'soft_bounces', 'hard_bounce', 'revoked', 'unsubscribe', 'manual', 'complaint', 'objection', 'erased'
));
alter table suppression add check (
    expires_at is null or reason in ('soft_bounces', 'hard_bounce', 'manual')
);
create index on suppression (expires_at) where expires_at is not null;

create type case_state as enum ('open', 'sent', 'answered', 'agreed', 'closed', 'overdue', 'suspended');

create table complaint_case (
    id          bigint generated always as identity primary key,   -- shown as C-<id>
    account_id  bigint not null references account,
    source      text not null,              -- policy.reputation.complaint.Source
    state       case_state not null default 'open',
    profile     text not null,              -- whose clock runs
    mailing     text,
    message_id  uuid,
    address     text,                       -- of the one who complains; null: not known, or nobody in particular
    address_key bytea,
    summary     text not null,
    dossier     jsonb,                      -- the consent as the ledger had it then
    urgent      bool not null default false,    -- the account is being used for spam: hours, not a day
    complaints  int not null default 1,     -- how many came about the same
    opened_at   timestamptz not null default now(),
    due_at      timestamptz,                -- what happens then is decided by state and profile
    until       text not null default 'answered',   -- what stops the clock: policy.reputation.complaint.Until
    remaining   interval,                   -- of a clock that stands still while the answer is looked at
    told_at     timestamptz,                -- the account was told
    answered_at timestamptz,                -- and has answered
    closed_at   timestamptz,
    upheld      bool,                       -- whether it was justified; null: not decided
    costs       jsonb not null default '[]' -- what it cost: [{"what", "amount", "currency", "at", "by"}]
);
create index on complaint_case (account_id, opened_at);
create index on complaint_case (due_at) where due_at is not null;
create index on complaint_case (id) where state = 'open';
-- One open case about one thing: further complaints are added to it. What authorities write is a case each time.
create unique index complaint_case_open on complaint_case (account_id, source, mailing, address_key)
    nulls not distinct where state <> 'closed' and source not in ('regulator', 'advertising_body', 'csa');

create table case_event (                   -- append-only: what happened to a case
    id          bigint generated always as identity primary key,
    case_id     bigint not null references complaint_case,
    at          timestamptz not null default now(),
    by          text not null,
    kind        text not null,              -- policy.reputation.complaint.Happening
    data        jsonb not null default '{}',
    evidence    bytea                       -- the complaint or the answer as it came, at most 64 KiB
);
create index on case_event (case_id);

-- What breakers look at: counts by hour, for each mailing (provider '') and each provider (mailing '').
create table tally (
    hour        timestamptz not null,
    account_id  bigint not null,
    mailing     text collate "C" not null default '',
    provider    text collate "C" not null default '',
    stream      stream not null,
    delivered   bigint not null default 0,
    hard        bigint not null default 0,
    unknown     bigint not null default 0,  -- hard bounces that say "no such user"
    soft        bigint not null default 0,
    complaints  bigint not null default 0,
    traps       bigint not null default 0,
    refused     bigint not null default 0,  -- for reputation, policy or authentication: the sender's fault
    primary key (account_id, mailing, provider, stream, hour)
);
create index on tally (hour);
alter table tally set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);

create table breaker (                      -- one row for each time something was stopped, visible and cancellable
    id          bigint generated always as identity primary key,
    name        text collate "C" not null,  -- e.g. complaints:mailing:01abc...
    account_id  bigint not null references account,
    mailing     text,                       -- this mailing, or
    provider    text,                       -- what goes to this provider
    stream      stream,                     -- in this stream
    kind        text not null,              -- policy.reputation.breaker.Kind
    cases       bigint not null,
    rate        float8 not null,
    ceiling     float8 not null,
    volume      bigint not null,
    words       text not null,              -- the finding for people
    tripped_at  timestamptz not null default now(),
    case_id     bigint references complaint_case,
    cancelled_at timestamptz,
    cancelled_by text,
    because     text,
    forgiven    jsonb                       -- counts of the hour of the cancellation that do not count again
);
create unique index on breaker (name) where cancelled_at is null;
create index on breaker (tripped_at);
create index on breaker (cancelled_at) where cancelled_at is not null;
create index queue_tripped on queue (account_id) where starts_with(held, 'breaker: ');

create table listing (                      -- what blocklists say of our addresses and domains
    list        text not null,
    subject     text not null,              -- an egress address or a sender domain
    seen_at     timestamptz not null default now(),     -- first
    confirmed_at timestamptz,               -- seen twice, at a distance
    ended_at    timestamptz,                -- not listed any more, or never confirmed
    answer      text not null,              -- what the list said
    case_id     bigint references complaint_case,
    primary key (list, subject, seen_at)
);
create unique index on listing (list, subject) where ended_at is null;

create table webhook (                      -- where an account's events go
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account,
    url         text not null,
    kinds       text[] not null default '{}',   -- empty: all
    sealed      bytea not null,             -- the signing secret, sealed
    sealed_before bytea,                    -- the one before, which signs too until ...
    before_until timestamptz,
    cursor      bigint not null default 0,  -- the outbox id up to which events were taken with 2xx, or are not wanted
    due_at      timestamptz not null default now(),
    failures    int not null default 0,     -- in a row
    last_error  text,
    taken_at    timestamptz,                -- when a batch was last taken
    lease       bigint,                     -- a number of the process that is at it
    lease_until timestamptz,
    paused_at   timestamptz,
    created_at  timestamptz not null default now()
);
create index on webhook (account_id);

-- Events for accounts, in order. Written by the transactions in which things happen, only for accounts with a webhook.
create table outbox (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    account_id  bigint not null,
    message_id  uuid,
    n           int,
    kind        text not null,
    data        jsonb not null
);
create index on outbox (account_id, id);

-- Whoever draws an id here has an id of its transaction by then, on which mta.store.postgres.commit_watermark relies.
create function outbox_begin() returns trigger language plpgsql as $$
begin
    perform pg_current_xact_id();
    return null;
end $$;
create trigger outbox_begin before insert on outbox for each statement execute function outbox_begin();

-- What is written of messages is what accounts are told: by whatever way it comes about, and in its transaction.
create function outbox_of_messages() returns trigger language plpgsql as $$
begin
    if exists (select from webhook) then
        insert into outbox (at, account_id, message_id, n, kind, data)
        select m.received_at, m.account_id, m.id, n, 'accepted', jsonb_strip_nulls(jsonb_build_object(
            'size', m.size,
            'held', (select held from queue q where q.message_id = m.id and q.n = one.n)
        ))
        from written m cross join generate_series(0, m.recipients - 1) as one (n)
        where exists (select from webhook w where w.account_id = m.account_id);
    end if;
    return null;
end $$;
create trigger outbox_of_messages after insert on message
    referencing new table as written for each statement execute function outbox_of_messages();

create function outbox_of_events() returns trigger language plpgsql as $$
begin
    if exists (select from webhook) then
        insert into outbox (at, account_id, message_id, n, kind, data)
        select at, account_id, message_id, n, kind, data
        from (
            select
                e.id, e.at, e.message_id, e.n, e.data,
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
