-- What comes back: reports, complaints with a clock, soft bounces, breakers, and the events that go out.

-- Reports that were taken: a second copy changes nothing.
create table report_taken (
    digest      bytea primary key,          -- of what identifies the report: message, recipient, kind
    at          timestamptz not null default now()
);
create index on report_taken (at);

-- Soft bounces of an address, until it is delivered to or suppressed. One a mailing and day counts.
create table soft_bounce (
    address_key bytea not null,
    account_id  bigint not null,
    category    text not null,
    mailing     text not null default '',
    day         date not null,
    primary key (address_key, account_id, category, mailing, day)
);

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
    source      text not null,              -- policy.complaint.Source
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
-- One open case about one thing: further complaints are added to it.
create unique index complaint_case_open on complaint_case (account_id, source, mailing, address_key)
    nulls not distinct where state <> 'closed';

create table case_event (                   -- append-only: what happened to a case
    id          bigint generated always as identity primary key,
    case_id     bigint not null references complaint_case,
    at          timestamptz not null default now(),
    by          text not null,
    kind        text not null,              -- policy.complaint.Happening
    data        jsonb not null default '{}',
    evidence    bytea                       -- the complaint or the answer as it came, at most 64 KiB
);
create index on case_event (case_id);

-- What breakers look at: counts by hour. provider '' is all of them, mailing '' the whole account.
create table tally (
    hour        timestamptz not null,
    account_id  bigint not null,
    mailing     text not null default '',
    provider    text not null default '',
    accepted    bigint not null default 0,
    delivered   bigint not null default 0,
    hard        bigint not null default 0,
    unknown     bigint not null default 0,  -- hard bounces that say "no such user"
    soft        bigint not null default 0,
    complaints  bigint not null default 0,
    traps       bigint not null default 0,
    policy      bigint not null default 0,  -- refused for reputation or policy
    primary key (hour, account_id, mailing, provider)
);

create table breaker (                      -- one row for each time something was stopped, visible and cancellable
    id          bigint generated always as identity primary key,
    name        text not null,              -- e.g. complaints:mailing:01abc...
    account_id  bigint not null references account,
    mailing     text,
    provider    text,
    kind        text not null,              -- policy.breaker.Kind
    rate        float8 not null,
    ceiling     float8 not null,
    volume      bigint not null,
    tripped_at  timestamptz not null default now(),
    case_id     bigint references complaint_case,
    cancelled_at timestamptz,
    cancelled_by text,
    because     text
);
create unique index on breaker (name) where cancelled_at is null;

create table listing (                      -- what blocklists say of our addresses and domains
    list        text not null,
    subject     text not null,              -- an egress address or a sender domain
    seen_at     timestamptz not null,       -- first
    confirmed_at timestamptz,               -- seen twice
    ended_at    timestamptz,
    answer      text not null,
    case_id     bigint references complaint_case,
    primary key (list, subject, seen_at)
);

create table webhook (
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account,
    url         text not null,
    kinds       text[] not null default '{}',   -- empty: all
    sealed      bytea not null,             -- the signing secret, sealed
    cursor      bigint not null default 0,  -- the last outbox id that was taken with 2xx
    due_at      timestamptz not null default now(),
    failures    int not null default 0,
    last_error  text,
    lease       bigint,                     -- worker.id that is at it
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
