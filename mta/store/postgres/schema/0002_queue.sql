-- The queue: messages, their content, and one row for each recipient that is still to be served.

create table worker (                       -- one row for each start of a worker process; its id is the lease token
    id          bigint generated always as identity primary key,
    host        text not null,              -- shown to operators
    pid_scope   text not null,              -- boot and process namespace in which pid and start_ticks name one process
    pid         int not null,
    start_ticks bigint not null,            -- start of the process in clock ticks since boot
    started_at  timestamptz not null default now(),
    renewals    bigint not null default 0   -- a reaper that sees it stand still for as long as a lease lasts ends it
);

create table clock_check (                  -- one row: up to when the times in `queue` are kept as the clock says
    id          int primary key default 1 check (id = 1),
    kept_at     timestamptz not null default now()
);
insert into clock_check default values;

create table message (                      -- kept for `mta explain` until retention.messages is over
    id          uuid primary key,
    account_id  bigint not null,
    sender      text,                       -- null: <>
    size        int not null,
    recipients  int not null,
    received_at timestamptz not null,
    record      jsonb not null,             -- recipients, envelope, summary, and whose mail it is
    details     bytea not null default ''   -- the rest of the compliance record: mta.store.journal.record_details
);
alter table message alter column details set storage plain;
create index message_mailing on message ((record ->> 'mailing')) where record ->> 'mailing' is not null;
-- No plan depends on what records hold, and to sample them takes most of the time of ANALYZE.
alter table message alter column record set statistics 0, alter column details set statistics 0;
alter index message_mailing alter column 1 set statistics 0;

-- What messages are found by, in lower case: of each recipient the local part and `@domain`, and `<sender`. The same
-- expression stands in mta.store.journal.message_terms. The list of what is not yet sorted in is short: whoever fills it
-- sorts it in, and a message waits for that.
create index message_terms on message using gin ((array_to_tsvector(
    string_to_array(replace(btrim(lower(record ->> 'recipients'), '[]"'), '@', '", "@'), '", "')
    || array['<' || coalesce(lower(sender), '')]
))) with (gin_pending_list_limit = 512);
alter index message_terms alter column 1 set statistics 0;

create table rejection (                    -- messages that were rejected, with the whole record
    id          uuid primary key,
    account_id  bigint not null,
    received_at timestamptz not null,
    record      jsonb not null
);
create index rejection_mailing on rejection ((record ->> 'mailing')) where record ->> 'mailing' is not null;
alter table rejection alter column record set statistics 0;
alter index rejection_mailing alter column 1 set statistics 0;

-- Content in pieces of one heap page each, not compressed. TOAST would cut it into 2 kB slices with an index entry each,
-- which measured a quarter slower at 10 kB and at 60 kB.
--
-- What is new is written to the current slot of a ring. Most of it is sent within a second, and is not deleted: a slot is
-- emptied as a whole (mta.store.queue.content_ring), and what somebody still needs moves to slot 0 before.
create table content (
    slot        smallint not null,
    message_id  uuid not null,
    part        smallint not null,
    octets      bytea not null
) partition by list (slot);
alter table content alter column octets set storage plain;
create index on content (message_id, part);
create table content_kept partition of content for values in (0);
create table content_1 partition of content for values in (1) with (autovacuum_enabled = off);
create table content_2 partition of content for values in (2) with (autovacuum_enabled = off);
create table content_3 partition of content for values in (3) with (autovacuum_enabled = off);
create table content_4 partition of content for values in (4) with (autovacuum_enabled = off);
create table content_5 partition of content for values in (5) with (autovacuum_enabled = off);
create table content_6 partition of content for values in (6) with (autovacuum_enabled = off);

create table content_ring (                 -- one row: the slot for new content
    slot        smallint not null default 1,
    since       timestamptz not null default now()
);
insert into content_ring default values;

create type delay_reason as enum ('release', 'send_window', 'warmup');

create table queue (                        -- one row for each recipient still to be served
    message_id  uuid not null,
    recipient_index int not null,           -- position in the envelope, from 0
    account_id  bigint not null,
    stream      stream not null default 'transactional',
    mailing     text,
    topic       text,
    destination text collate "C" not null,
    address     text not null,
    address_key bytea not null,
    notify      smallint,                   -- bits: 1 success, 2 failure, 4 delay; 0 never; null: not given
    orcpt       text,
    holds       smallint not null default 0,    -- number of its rows in `hold`; it may be sent when there are none
    bounce      text,                       -- why it is to fail at the next attempt; null: it is not
    lease       bigint,                     -- worker.id; null: free
    attempts    int not null default 0,
    due_at      timestamptz not null default now(),
    expires_at  timestamptz not null,
    delay_dsn_sent bool not null default false,
    last_reply  text,
    waits_for   bigint,                     -- shaping_action.id: the pause that has put it off; null: none
    delayed_by  delay_reason,               -- what due_at is the time of; null: of its turn, or of its next try
    priority    smallint not null default 0,    -- from -9 to 9 (RFC 6710)
    primary key (message_id, recipient_index),
    -- Whatever has expired is due, so expiry needs no index and no job of its own.
    constraint due_before_expiry check (due_at <= expires_at),
    check (holds >= 0)
);
-- Each stream is claimed separately: a million rows of one do not delay the other.
create index queue_due on queue (stream, due_at) where lease is null and holds = 0;
-- By what takes turns: accounts, in each its mailings (one turn for each priority), in each destinations.
create index queue_turn on queue (stream, account_id, (coalesce(mailing, '') collate "C"), priority, destination, due_at)
    where lease is null and holds = 0;
create index queue_held on queue (stream, expires_at) where lease is null and holds > 0;
create index queue_leased on queue (lease) where lease is not null;
create index queue_address on queue (address_key);
create index queue_mailing on queue (mailing) where mailing is not null;
create index queue_delayed on queue (due_at) where lease is null and holds = 0 and delayed_by is not null;
create index queue_waits_for on queue (waits_for) where waits_for is not null;

create type hold_source as enum ('account_status', 'breaker', 'mailing', 'sampling', 'operator', 'review');

-- Why recipients are held: mta.mail.hold. Only mta.store.queue.holds writes this table and the count in `queue`.
-- Account and mailing are those of the recipient, so that a release finds its holds without reading the queue.
create table hold (
    message_id  uuid not null,
    recipient_index int not null,
    source      hold_source not null,
    ref         text collate "C" not null,
    account_id  bigint not null,
    mailing     text,
    text        text not null,
    held_at     timestamptz not null default now(),
    primary key (message_id, recipient_index, source, ref)
);
create index hold_mailing on hold (mailing, source, ref) where mailing is not null;
create index hold_account on hold (account_id, source, ref);

-- What workers tell of their backoffs. A crash may forget it: so does the worker.
create unlogged table backoff (
    lease       bigint not null,            -- worker.id
    source      text collate "C" not null,
    site        text collate "C" not null,
    until       timestamptz not null,
    reply       text not null,              -- what began it
    primary key (lease, source, site)
);
create index backoff_until on backoff (until);

-- Limits on connections and rates, shared by all workers: mta.store.queue.limit_shares. A worker's share is its until its
-- lease ends, so a crash must not forget it.
create table egress_limit (
    scope       text collate "C" not null,
    seconds     int not null,               -- window of a rate; 0: concurrent connections
    total       int not null,
    state       jsonb not null default '{"shares": {}, "cooling": []}',
    used_at     timestamptz not null default now(),
    primary key (scope, seconds)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

create table limit_time (                   -- one row: seconds that the time of these limits is behind the clock
    id          int primary key default 1 check (id = 1),
    behind      float8 not null default 0
);
insert into limit_time default values;

create table mta_sts_policy (               -- of recipient domains (RFC 8461)
    domain      text collate "C" primary key,
    record_id   text not null,              -- id in the TXT record when it was last fetched
    policy      bytea,                      -- as fetched; null: it could not be
    fetched_at  timestamptz,
    expires_at  timestamptz,                -- of the policy
    tried_at    timestamptz not null default now(),
    used_at     timestamptz not null default now(),
    fault_result text,                      -- why the last fetch failed; null: it did not
    fault       text
);

create table tls_report (                   -- one row for each day and recipient domain that a TLS report may tell of
    day         date not null,              -- UTC
    domain      text collate "C" not null,
    due_at      timestamptz not null,
    tries       int not null default 0,
    done        bool not null default false,
    primary key (day, domain)
);
create index tls_report_due on tls_report (due_at) where not done;

create table tls_sessions (                 -- sessions with receivers, by the policy that they were held to (RFC 8460)
    day         date not null,
    domain      text collate "C" not null,
    policy_key  bytea not null,             -- digest of the policy
    policy      jsonb not null,
    successful  bigint not null,
    failed      bigint not null,
    primary key (day, domain, policy_key)
);

create table tls_failure (                  -- how some of them failed
    day         date not null,
    domain      text collate "C" not null,
    policy_key  bytea not null,
    failure_key bytea not null,
    failure     jsonb not null,
    sessions    bigint not null,
    primary key (day, domain, policy_key, failure_key)
);

-- What is done for a time about mail of a scope, by an automation rule or an operator: mta.mail.shaping_action.
create table shaping_action (
    id          bigint generated always as identity primary key,
    name        text not null,
    rule        text not null,              -- '': an operator began it
    scope       jsonb not null,
    effect      text not null,
    settings    jsonb not null,             -- of the effect: connections, message_rates, pool
    reason      text not null,
    sample      text not null,              -- the reply that began it
    author      text not null,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz not null,
    cancelled_at timestamptz,
    cancelled_by text,
    cancel_reason text,
    ended       bool not null default false -- what follows from its end was done
);
create index on shaping_action (expires_at);
create index on shaping_action (rule, scope);

-- How many replies fit an automation rule with a window. A crash may forget it.
create unlogged table reply_count (
    rule        text not null,
    scope       jsonb not null,
    minute      timestamptz not null,
    replies     bigint not null,
    matched     bigint not null,
    sample      text not null,
    primary key (rule, scope, minute)
);

-- Rows of these tables are short-lived. Their space must be reused soon, and the files must not shrink and grow
-- again: a page that is written anew costs a system call, a reused one does not.
alter table queue set (
    vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_limit = 2000
);
alter table content_kept set (
    vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_limit = 2000
);

create table event (                        -- append-only: what happened to each message, in order
    id          bigint generated always as identity,
    at          timestamptz not null default now(),
    message_id  uuid,
    recipient_index int,                    -- null: the whole message
    kind        text not null,
    data        jsonb not null
);
alter table event alter column data set statistics 0;    -- as for message
create index event_message on event (message_id) where message_id is not null;
create index event_other on event (at) where message_id is null;
