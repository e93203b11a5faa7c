-- The queue, what came of each message, and who may send.
-- Content is kept in pieces of one heap page, uncompressed: TOAST would cut it into 2 kB slices with an index entry each.

create table worker (                       -- one row for each life of a worker process: its id is the lease token
    id          bigint generated always as identity primary key,
    host        text not null,
    pid         int not null,
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
    mailing     text,
    sender      text,                       -- null: <>
    size        int not null,
    body        text not null,              -- 7BIT or 8BITMIME
    smtputf8    bool not null,
    ret         text,
    envid       text,
    recipients  int not null,
    received_at timestamptz not null,
    expires_at  timestamptz not null,
    origin      jsonb not null,             -- credential, client, hello, session, protocol, tls
    summary     jsonb not null,             -- subject, from, message-id as shown to operators
    findings    jsonb not null              -- the compliance record: [[policy, verdict, evidence], ...]
);
create index on message (received_at);

create table content (
    message_id  uuid not null,
    part        smallint not null,
    octets      bytea not null,
    primary key (message_id, part)
);
alter table content alter column octets set storage plain;

create type queue_state as enum ('ready', 'held');

create table queue (                        -- one row for each recipient still to be served
    message_id  uuid not null,
    n           int not null,               -- place in the envelope
    account_id  bigint not null,
    mailing     text,
    destination text not null,
    address     text not null,
    address_key bytea not null,             -- keyed hash of the canonical address
    notify      smallint,                   -- bits: 1 success, 2 failure, 4 delay; 0 never; null not given
    orcpt       text,
    state       queue_state not null default 'ready',
    held_reason text,
    lease       bigint,                     -- worker.id; null: anybody's
    attempts    int not null default 0,
    queued_at   timestamptz not null,
    due_at      timestamptz not null,
    expires_at  timestamptz not null,
    delay_told  bool not null default false,
    last_reply  text,
    primary key (message_id, n)
);
create index queue_due on queue (due_at) where lease is null and state = 'ready';
create index queue_leased on queue (lease) where lease is not null;
create index queue_address on queue (address_key);

create table event (                        -- append-only: what happened to each message, in order
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    message_id  uuid,
    n           int,
    kind        text not null,
    data        jsonb not null
);
create index on event (message_id);

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
