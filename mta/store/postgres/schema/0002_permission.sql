-- Permission: accounts with a life of their own, mailings, and the ledger of consents.

create type standing as enum ('pending', 'review', 'active', 'suspended', 'terminated');
create type stream as enum ('marketing', 'transactional');

-- Accounts that were there before had been trusted by whoever made them: they go on. New ones begin as pending.
alter table account
    add column standing standing not null default 'active',
    add column reason text not null default '',
    add column complaint_case text not null default '',
    add column profile text not null default 'transactional',
    add column contact text not null default '',
    add column quota_day int,
    add column quota_month int,
    add column role_exceptions text[] not null default '{}',
    add column adult_agreed bool not null default false;
alter table account alter column standing set default 'pending';

create table account_change (               -- append-only: who changed what of an account, when and why
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account,
    at          timestamptz not null default now(),
    by          text not null,
    kind        text not null,              -- 'standing', 'terms', 'identity', 'domain', 'credential', ...
    data        jsonb not null
);
create index on account_change (account_id, at);

create table account_identity (             -- the legal identity behind the account, one row a language
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

create table list_source (                  -- where each list comes from, and whether a reviewer has approved that
    account_id  bigint not null references account,
    name        text not null,
    origin      text not null,
    created_at  timestamptz not null default now(),
    approved_at timestamptz,
    approved_by text,
    primary key (account_id, name)
);

alter table credential
    add column streams stream[] not null default '{marketing,transactional}',
    add column domains text[],              -- null: all of the account's
    add column rate float8,                 -- messages a second; null: the default
    add column burst int;

-- Domains that were there before are taken as verified.
alter table sender_domain
    add column token text not null default replace(gen_random_uuid()::text, '-', ''),  -- of the TXT record
    add column verified_at timestamptz default now(),
    add column checked_at timestamptz,
    add column receives bool not null default true,     -- has an MX that takes mail
    add column report jsonb not null default '{}';      -- what the last look found: SPF, DKIM, DMARC, MX
alter table sender_domain alter column verified_at drop default;

create table mailing (
    id          text collate "C" primary key,           -- 26 characters; goes out in the header
    account_id  bigint not null references account,
    name        text not null,                          -- the account's own
    topic       text not null,
    list        text not null,
    created_at  timestamptz not null default now(),
    confirmed_at timestamptz,
    confirmed_by text,
    confirmed_terms text,
    created_by  text not null default '',
    sample      int,                                    -- the first so many go, the rest waits; null: no sampling
    sampled     int not null default 0,
    released_at timestamptz,
    released_by text,
    stopped_at  timestamptz,
    stopped_by  text,
    stopped     text,                                   -- why nothing more may leave
    stop_bounces bool not null default false,           -- what is queued of a stopped mailing fails; else it waits
    changed_at  timestamptz not null default now(),     -- copies in memory are kept fresh by it
    unique (account_id, name)
);
create index on mailing (changed_at);
create index on mailing (account_id, list);

-- The ledger. An entry is never changed, but for its evidence, which erasure empties; its digest stays, so that the
-- chain of hashes still holds. hash = sha256(previous hash, number, moment, kind, address key, digest of the evidence).
create table consent_entry (
    account_id  bigint not null references account,
    entry       bigint not null,            -- 1, 2, 3 ... within the account, without a gap
    at          timestamptz not null,
    kind        text not null,              -- 'given', 'revoked', 'renewed', 'erased'
    address_key bytea not null,
    digest      bytea not null,             -- sha256 of the evidence
    hash        bytea not null,
    evidence    bytea,                      -- JSON with a random salt in it; null: erased
    print       bytea,                      -- keyed hash of what was recorded, so that nothing is recorded twice
    primary key (account_id, entry)
);
create index on consent_entry (address_key, account_id);

create table consent_head (                 -- the end of each account's chain; locked by whoever appends
    account_id  bigint primary key references account,
    entry       bigint not null,
    hash        bytea not null
);

create table consent (                      -- what the ledger amounts to now: one row per address, account and topic
    address_key bytea not null,
    account_id  bigint not null,
    topic       text not null,              -- '*' for every topic
    basis       text not null,
    given_at    timestamptz not null,
    confirmed_at timestamptz,
    revoked_at  timestamptz,
    missing     text[] not null default '{}',
    facts       jsonb not null default '{}',    -- the few things rules ask for, e.g. objection_offered, category
    entry       bigint not null,
    primary key (address_key, account_id, topic)
);

create table consent_import (               -- how far each file was read: an import that was cut off goes on there
    account_id  bigint not null,
    file        bytea not null,             -- sha256 of its content
    records     bigint not null default 0,  -- read so far
    started_at  timestamptz not null default now(),
    finished_at timestamptz,
    primary key (account_id, file)
);

create table contact (                      -- signs of life between an account and an address
    address_key bytea not null,
    account_id  bigint not null,
    contacted_at timestamptz,               -- last message delivered
    clicked_at  timestamptz,
    bought_at   timestamptz,
    accepted    timestamptz[] not null default '{}',    -- marketing mail accepted for it lately, newest last, at most 30
    primary key (address_key, account_id)
);
alter table contact set (fillfactor = 80);

create table allowance (                    -- quotas and rates: how much of a window was given out, over all machines
    scope       text not null,              -- 'account:7:day', 'credential:shop-1', ...
    since       timestamptz not null,       -- start of the window
    taken       bigint not null,
    primary key (scope, since)
);

create table refusal (                      -- messages that were refused, with what was found: the other half of `message`
    id          uuid primary key,
    account_id  bigint not null,
    received_at timestamptz not null,
    record      jsonb not null
);

alter table suppression add column topic text not null default '';     -- '' all mail, '*' all marketing, else that topic
alter table suppression drop constraint suppression_pkey, add primary key (address_key, account_id, topic);

alter table queue
    add column stream stream not null default 'transactional',
    add column topic text;
-- Each stream is taken from by itself; so a million rows of one are not in the way of the other.
drop index queue_due, queue_turn, queue_held;
create index queue_due on queue (stream, due_at) where lease is null and held is null;
create index queue_turn on queue (stream, account_id, destination, due_at) where lease is null and held is null;
create index queue_held on queue (stream, expires_at) where lease is null and held is not null;
create index queue_mailing on queue (mailing) where mailing is not null;
-- What waits, by mailing and by the name of the rule that holds it (a hold's reason begins with it).
create index queue_waiting on queue (mailing, split_part(held, ':', 1)) where mailing is not null and held is not null;
create index message_mailing on message ((record ->> 'mailing')) where record ->> 'mailing' is not null;
create index refusal_mailing on refusal ((record ->> 'mailing')) where record ->> 'mailing' is not null;
