-- Accounts: who may submit mail, under which conditions, and who changed that.
--
-- In all files: message ids are UUIDs of version 7, so indexes that begin with one grow at their right end, and the
-- first rows in the order of an id are the oldest. Text that is only compared for equality is of collation "C", which
-- is the fastest and the same on every system. An address key is the keyed hash of the canonical address, 16 octets.

create type account_status as enum ('pending', 'review', 'active', 'suspended', 'terminated');
create type stream as enum ('marketing', 'transactional');

create table account (
    id          bigint generated always as identity primary key,
    name        text not null unique,
    status      account_status not null default 'pending',
    reason      text not null default '',   -- of the status, e.g. why the account was suspended
    complaint_case text not null default '',    -- the case behind a suspension, e.g. C-17
    profile     text not null default 'transactional',
    contact     text not null default '',   -- whom we write to about complaints
    bounce_notifications text not null default 'dsn' check (bounce_notifications in ('dsn', 'event', 'none')),
    quota_day   int,                        -- recipients; null: no limit
    quota_month int,
    role_exceptions text[] not null default '{}',   -- role addresses that may get transactional mail
    adult_agreed bool not null default false,
    pool        text not null default 'default',    -- of egress sources, unless a rule of the configuration chooses one
    weight      int not null default 10 check (weight between 1 and 1000),     -- in the queue, beside other accounts
    max_priority smallint not null default 0 check (max_priority between -9 and 9),   -- of RFC 6710
    created_at  timestamptz not null default now()
);

create table account_change (               -- append-only history of an account
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account,
    at          timestamptz not null default now(),
    by          text not null,
    kind        text not null,              -- mta.store.journal.account_changes.AccountChangeKind
    data        jsonb not null
);
create index on account_change (account_id, at);

create table account_identity (             -- the legal identity behind the account, one row for each language
    account_id  bigint not null references account,
    language    text not null,
    identity    jsonb not null,             -- fields of policy.accounts.account.Identity
    primary key (account_id, language)
);

create table terms_acceptance (
    account_id  bigint not null references account,
    version     text not null,
    at          timestamptz not null default now(),
    by          text not null,
    primary key (account_id, version)
);

create table list_source (                  -- where each recipient list comes from, and who approved that
    account_id  bigint not null references account,
    name        text not null,
    origin      text not null,
    created_at  timestamptz not null default now(),
    approved_at timestamptz,
    approved_by text,
    primary key (account_id, name)
);

create table credential (
    username    text primary key,
    account_id  bigint not null references account,
    argon2      text not null,              -- hash of the secret
    scram       text not null,              -- SCRAM-SHA-256 verifier: iterations$salt$stored_key$server_key, base64
    streams     stream[],                   -- null: what the account's profile is for
    purposes    text[] not null default '{}',   -- of transactional mail, with a sample: "order: Your order *"
    signs       text[] not null default '{}',   -- marks of a mailing that its transactional mail may show
    domains     text[],                     -- null: all domains of the account
    rate        float8,                     -- messages per second; null: the default
    burst       int,
    created_at  timestamptz not null default now(),
    revoked_at  timestamptz                 -- may lie in the future
);
create index on credential (account_id);

create table client_network (
    network     cidr primary key,
    account_id  bigint not null references account,
    created_at  timestamptz not null default now()
);
create index on client_network (account_id);

create table sender_domain (
    domain      text primary key,           -- lower-case A-labels; belongs to one account only
    account_id  bigint not null references account,
    token       text not null default replace(gen_random_uuid()::text, '-', ''),    -- of the TXT record
    verified_at timestamptz,
    checked_at  timestamptz,
    receives    bool not null default true,     -- has an MX that accepts mail
    report      jsonb not null default '{}',    -- results of the last check: SPF, DKIM, DMARC, MX
    created_at  timestamptz not null default now()
);
create index on sender_domain (account_id);

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

-- To how many recipients an account sent a phrase of a text. A crash may forget it, so nothing is written ahead.
create unlogged table text_count (
    hour        timestamptz not null,
    account_id  bigint not null,
    phrase      bigint not null,            -- its hash: policy.text.same_text
    recipients  bigint not null,
    primary key (hour, account_id, phrase)
);

create table quota_usage (                  -- how much of a quota or rate was given out, over all machines
    scope       text not null,              -- 'account:7:day', 'credential:shop-1', ...
    since       timestamptz not null,       -- start of the period
    used        bigint not null,
    primary key (scope, since)
);
