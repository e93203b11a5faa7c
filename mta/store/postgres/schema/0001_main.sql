-- The queue, what came of each message, and who may send.
--
-- Ids of messages are UUIDs of version 7, so every index that begins with one grows at its right end, and age can be
-- read from it: the first rows of the queue's primary key are its oldest.
-- Text that is compared for equality only is of collation "C": the fastest, and the same everywhere.

create table worker (                       -- one row for each life of a worker process: its id is the lease token
    id          bigint generated always as identity primary key,
    host        text not null,              -- for people
    place       text not null,              -- boot and process namespace within which pid and ticks name one process
    pid         int not null,
    ticks       bigint not null,            -- when the process started, in clock ticks since boot
    started_at  timestamptz not null default now(),
    expires_at  timestamptz not null
);

create table account (
    id          bigint generated always as identity primary key,
    name        text not null unique,
    notices     text not null default 'notice' check (notices in ('notice', 'event', 'none')),
    created_at  timestamptz not null default now()
);

create table credential (
    username    text primary key,
    account_id  bigint not null references account,
    argon2      text not null,              -- hash of the secret
    scram       text not null,              -- SCRAM-SHA-256 verifier: iterations$salt$stored_key$server_key, base64
    created_at  timestamptz not null default now(),
    revoked_at  timestamptz
);
create index on credential (account_id);

create table sender_domain (
    domain      text primary key,           -- lower-case A-labels; belongs to one account only
    account_id  bigint not null references account,
    created_at  timestamptz not null default now()
);
create index on sender_domain (account_id);

create table client_network (
    network     cidr primary key,
    account_id  bigint not null references account,
    created_at  timestamptz not null default now()
);
create index on client_network (account_id);

create table message (                      -- what `mta explain` knows; outlives the queue by queue.event_retention
    id          uuid primary key,
    account_id  bigint not null,
    sender      text,                       -- null: <>
    size        int not null,
    recipients  int not null,
    received_at timestamptz not null,
    record      jsonb not null              -- envelope, origin, summary, findings (the compliance record)
);

-- Content in pieces of one heap page each, not compressed: TOAST would cut it into 2 kB slices with an index entry each,
-- which measured a quarter slower at 10 kB and at 60 kB.
create table content (
    message_id  uuid not null,
    part        smallint not null,
    octets      bytea not null,
    primary key (message_id, part)
);
alter table content alter column octets set storage plain;

create table queue (                        -- one row for each recipient still to be served
    message_id  uuid not null,
    n           int not null,               -- place in the envelope
    account_id  bigint not null,
    mailing     text,
    destination text collate "C" not null,
    address     text not null,
    address_key bytea not null,             -- keyed hash of the canonical address
    notify      smallint,                   -- bits: 1 success, 2 failure, 4 delay; 0 never; null not given
    orcpt       text,
    held        text,                       -- why it is held back; null: it is not
    bounce      text,                       -- why an operator wants it to fail; null: nobody does
    lease       bigint,                     -- worker.id; null: anybody's
    attempts    int not null default 0,
    due_at      timestamptz not null default now(),
    expires_at  timestamptz not null,
    delay_told  bool not null default false,
    last_reply  text,
    primary key (message_id, n),
    -- Expiry needs no index and cannot be forgotten: what has expired is due.
    constraint due_before_expiry check (due_at <= expires_at)
);
create index queue_due on queue (due_at) where lease is null and held is null;
create index queue_turn on queue (account_id, destination, due_at) where lease is null and held is null;
create index queue_held on queue (expires_at) where lease is null and held is not null;
create index queue_leased on queue (lease) where lease is not null;
create index queue_address on queue (address_key);

create table event (                        -- append-only: what happened to each message, in order
    id          bigint generated always as identity,
    at          timestamptz not null default now(),
    message_id  uuid,
    n           int,
    kind        text not null,
    data        jsonb not null
);
create index event_message on event (message_id) where message_id is not null;
create index event_other on event (at) where message_id is null;

create table suppression (
    address_key bytea not null,
    account_id  bigint not null,            -- 0: for everybody
    address     text not null,
    reason      text not null,
    rule        text not null,
    evidence    text not null,
    message_id  uuid,
    created_at  timestamptz not null default now(),
    primary key (address_key, account_id)
);
create index on suppression (account_id, created_at);

create type key_state as enum ('pending', 'active', 'retired');

create table dkim_key (
    domain      text not null,
    selector    text not null,
    algorithm   text not null check (algorithm in ('rsa-sha256', 'ed25519-sha256')),
    state       key_state not null default 'pending',
    sealed      bytea not null,             -- private key, encrypted with a key derived from the installation's secret
    created_at  timestamptz not null default now(),
    changed_at  timestamptz not null default now(),
    primary key (domain, selector)
);

-- Rows of the queue live for a moment: their space must come back soon, and the files must not shrink and grow again
-- (a page that is written anew costs a system call, a reused one does not).
alter table queue set (
    vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_limit = 2000
);
alter table content set (
    vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_limit = 2000
);
