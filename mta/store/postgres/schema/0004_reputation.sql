-- Reputation: reports that come back, soft bounces, complaint cases, breakers, blocklists.

create table inbound_report (               -- what came back by mail, until it is processed
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    sender      text,                       -- null: <>
    recipients  text[] not null,            -- our addresses as they were written
    client      text not null,
    hello       text not null,
    content     bytea not null,
    tries       int not null default 0,     -- number of the current try, or how many there were
    due_at      timestamptz not null default now(),     -- while a worker processes it: when that times out
    error       text                        -- how the last try failed
);
create index on inbound_report (due_at);

create table processed_report (             -- a second copy of a report changes nothing
    digest      bytea primary key,          -- of what identifies the report: message, recipient, kind
    at          timestamptz not null default now()
);
create index on processed_report (at);

create table soft_bounce (                  -- until the address is delivered to or suppressed; one a mailing and day
    address_key bytea not null,
    account_id  bigint not null,
    category    text not null,
    mailing     text not null default '',
    day         date not null,
    primary key (address_key, account_id, category, mailing, day)
);
create index on soft_bounce (day);

create type case_state as enum ('open', 'sent', 'answered', 'agreed', 'closed', 'overdue', 'suspended');

create table complaint_case (
    id          bigint generated always as identity primary key,   -- shown as C-<id>
    account_id  bigint not null references account,
    source      text not null,              -- policy.reputation.complaint.Source
    state       case_state not null default 'open',
    profile     text not null,              -- whose deadlines apply
    mailing     text,
    message_id  uuid,
    address     text,                       -- of the person who complains; null: unknown
    address_key bytea,
    summary     text not null,
    cause       jsonb,                      -- what it is about if no person has said so: {"kind", "facts"}
    dossier     jsonb,                      -- the consent as the ledger had it then
    urgent      bool not null default false,    -- the account is being used for spam: hours, not a day
    complaints  int not null default 1,     -- how many about the same thing
    opened_at   timestamptz not null default now(),
    due_at      timestamptz,                -- the deadline; its consequence depends on state and profile
    until       text not null default 'answered',   -- what stops the clock: policy.reputation.complaint.Until
    remaining   interval,                   -- of the account's clock while an answer waits for a decision
    decide_within interval not null default '1 day',    -- how long that may take until the desk is reminded
    told_at     timestamptz,                -- the account was notified
    answered_at timestamptz,
    unproven_at timestamptz,                -- an answer came of which nothing proves who wrote it
    proof_asked bool not null default false,    -- and the account was told so
    closed_at   timestamptz,
    upheld      bool,                       -- whether the complaint was justified; null: not decided
    costs       jsonb not null default '[]' -- [{"what", "amount", "currency", "at", "by"}]
);
create index on complaint_case (account_id, opened_at);
create index on complaint_case (due_at) where due_at is not null;
create index on complaint_case (id) where state = 'open';
create index on complaint_case (id) where unproven_at is not null and not proof_asked;
-- One open case about one thing: further complaints are added to it. Letters of authorities are always new cases.
create unique index complaint_case_open on complaint_case (account_id, source, mailing, address_key)
    nulls not distinct where state <> 'closed' and source not in ('regulator', 'advertising_body', 'csa');

create table case_event (                   -- append-only history of a case
    id          bigint generated always as identity primary key,
    case_id     bigint not null references complaint_case,
    at          timestamptz not null default now(),
    by          text not null,
    kind        text not null,              -- policy.reputation.complaint.CaseEventKind
    data        jsonb not null default '{}',
    evidence    bytea                       -- the complaint or the answer as received, at most 64 KiB
);
create index on case_event (case_id);

create table complaint_receipt (            -- whom we have told lately that a complaint of theirs came
    address_key bytea primary key,
    at          timestamptz not null default now()
);
create index on complaint_receipt (at);

-- What breakers look at: hourly counts for each mailing (provider '') and each provider (mailing '').
create table delivery_stats (
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
create index on delivery_stats (hour);
alter table delivery_stats set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);

create table breaker (                      -- one row for each trip; resetting it releases the mail it holds
    id          bigint generated always as identity primary key,
    name        text collate "C" not null,  -- e.g. complaints:mailing:01abc...
    account_id  bigint not null references account,
    mailing     text,                       -- it holds this mailing, or
    provider    text,                       -- mail to this provider
    stream      stream,                     -- in this stream
    kind        text not null,              -- policy.reputation.breaker.BreakerKind
    cases       bigint not null,
    rate        float8 not null,
    ceiling     float8 not null,
    volume      bigint not null,
    words       text not null,              -- the finding as text
    tripped_at  timestamptz not null default now(),
    case_id     bigint references complaint_case,
    cancelled_at timestamptz,
    cancelled_by text,
    reset_reason text,
    forgiven    jsonb                       -- counts of the hour of the reset, which do not count again
);
create unique index on breaker (name) where cancelled_at is null;
create index on breaker (tripped_at);
create index on breaker (cancelled_at) where cancelled_at is not null;

create table blocklist_listing (            -- listings of our addresses and domains
    list        text not null,
    subject     text not null,              -- an egress address or a sender domain
    seen_at     timestamptz not null default now(),     -- first
    confirmed_at timestamptz,               -- seen a second time, some time later
    ended_at    timestamptz,                -- no longer listed, or never confirmed
    answer      text not null,              -- the list's answer
    case_id     bigint references complaint_case,
    primary key (list, subject, seen_at)
);
create unique index on blocklist_listing (list, subject) where ended_at is null;

create table warmup_day (                   -- what a source that warms up has sent to a provider group on a day
    source      text not null,
    provider    text not null,
    day         date not null,              -- UTC
    step        int not null,               -- of its curve, from 0
    used        bigint not null default 0,  -- recipients lent to workers and not brought back
    good        bigint not null default 0,
    bad         bigint not null default 0,  -- answers against us as a sender
    paused      text not null default '',   -- why nothing more is sent on this day
    primary key (source, provider, day)
);
alter table warmup_day set (fillfactor = 50);

create table source_check (                 -- what the last check of an egress source found, on each machine
    host        text not null,
    source      text not null,
    address     text not null,
    checked_at  timestamptz not null,
    faults      jsonb not null,             -- [{"kind", "text", "remedy"}]
    unknown     jsonb not null,             -- {kind: why it could not be looked up}
    primary key (host, source)
);

create table takedown (                     -- hosts and addresses that no message may link to
    id          bigint generated always as identity primary key,
    host        text not null,              -- lower-case A-labels
    path        text not null,              -- '': the host with all below it
    query       text not null,
    reason      text not null,
    added_by    text not null,
    added_at    timestamptz not null default now(),
    removed_by  text,
    removed_at  timestamptz,                -- null: in force
    removal_reason text
);
create unique index on takedown (host, path, query) where removed_at is null;
