-- Permission: mailings, the ledger of consents, suppressions.

create table mailing (
    id          text collate "C" primary key,   -- 26 characters; sent in the header
    account_id  bigint not null references account,
    name        text not null,              -- the account's own name for it
    topic       text not null,
    category    text not null default '',   -- the kind of goods that it is about; '': its topic
    list        text not null,
    created_at  timestamptz not null default now(),
    created_by  text not null default '',
    confirmed_at timestamptz,
    confirmed_by text,
    confirmed_terms text,
    sample      int,                        -- so many messages are sent before the rest is released; null: no sampling
    sampled     int not null default 0,
    released_at timestamptz,
    released_by text,
    stopped_at  timestamptz,
    stopped_by  text,
    stopped     text,                       -- why nothing more is sent
    stop_bounces bool not null default false,   -- a stop makes queued recipients fail; otherwise they are held
    changed_at  timestamptz not null default now(),     -- tells the copies in memory what to read again
    unique (account_id, name)
);
create index on mailing (changed_at);
create index on mailing (account_id, list);

-- What was confirmed: a message of the mailing, as it was shown to the person who confirmed it. Never changed.
create table mailing_reference (
    mailing     text collate "C" not null references mailing,
    number      int not null,               -- 1, 2, 3 ... within the mailing
    at          timestamptz not null default now(),
    by          text not null,
    terms       text not null,
    sample_of   int,                        -- the reference of which it is another copy: what differs may vary
    digest      bytea not null,             -- sha256 of the content
    content     bytea not null,             -- as an application submits it
    outgoing    bytea not null,             -- as its recipient would get it
    preview     text not null,              -- its text, as it shows
    picture     bytea,                      -- PNG; null: there was no browser
    evidence    jsonb not null,             -- what was found when it was judged
    removed_at  timestamptz,                -- no message may match it any more
    removed_by  text,
    redacted_at timestamptz,                -- an address was erased from it: no message matches it any more either
    primary key (mailing, number)
);

create table mailing_copy (                 -- who has a copy of a mailing: each mailbox gets one
    mailing     text collate "C" not null,
    mailbox     bytea not null,             -- keyed hash of what all spellings of the address have in common, 16 octets
    message_id  uuid not null,              -- that carries it
    again       bool not null default false,    -- a further copy was left out: this message must not be withdrawn
    primary key (mailing, mailbox)
);

-- The ledger. An entry never changes, except that erasure empties its evidence. The digest stays, so the chain of hashes
-- can still be verified. hash = sha256(previous hash, number, time, kind, address key, digest of the evidence).
create table consent_entry (
    account_id  bigint not null references account,
    entry       bigint not null,            -- 1, 2, 3 ... within the account, without gaps
    at          timestamptz not null,
    kind        text not null,              -- 'given', 'revoked', 'renewed', 'erased'
    address_key bytea not null,
    digest      bytea not null,             -- sha256 of the evidence
    hash        bytea not null,
    evidence    bytea,                      -- JSON with a random salt; null: erased
    fingerprint bytea,                      -- keyed hash of the record, so that it is not recorded twice
    primary key (account_id, entry)
);
create index on consent_entry (address_key, account_id);

create table consent_head (                 -- the end of each account's chain; locked while entries are appended
    account_id  bigint primary key references account,
    entry       bigint not null,
    hash        bytea not null
);

create table consent (                      -- current result of the ledger: one row per address, account and topic
    address_key bytea not null,
    account_id  bigint not null,
    topic       text not null,              -- '*' for every topic
    basis       text not null,
    given_at    timestamptz not null,
    confirmed_at timestamptz,
    revoked_at  timestamptz,
    missing     text[] not null default '{}',
    facts       jsonb not null default '{}',    -- what rules need, e.g. objection_offered, category
    entry       bigint not null,
    primary key (address_key, account_id, topic)
);

create table consent_import (               -- how far each file was imported: an interrupted import continues there
    account_id  bigint not null,
    file        bytea not null,             -- sha256 of its content
    records     bigint not null default 0,  -- read so far
    started_at  timestamptz not null default now(),
    finished_at timestamptz,
    primary key (account_id, file)
);

create table address_list (                 -- what is known of an imported list: policy.permission.address_list
    account_id  bigint not null,
    file        bytea not null,             -- sha256 of its content; empty: records that came one by one
    addresses   bigint not null,            -- records that were new
    roles       bigint not null,            -- role addresses among them
    traps       bigint not null,            -- and trap addresses
    sketch      bytea not null,             -- the smallest keyed hashes of its addresses, 8 octets each, at most 4,096
    changed_at  timestamptz not null default now(),
    checked_at  timestamptz,
    primary key (account_id, file)
);
alter table address_list alter column sketch set storage external;
create index on address_list (changed_at) where checked_at is null;

create table list_finding (                 -- signs that a list was not collected by its owner
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account,
    file        bytea not null,
    sign        text not null,              -- policy.permission.address_list.ListSign
    other_id    bigint,                     -- the account whose list overlaps
    hold        bool not null,              -- no mailing of the account is confirmed before it is dismissed
    text        text not null,
    found_at    timestamptz not null default now(),
    dismissed_at timestamptz,
    dismissed_by text,
    reason      text
);
create unique index on list_finding (account_id, file, sign, other_id) nulls not distinct;

create table recipient_activity (           -- contacts between an account and an address
    address_key bytea not null,
    account_id  bigint not null,
    contacted_at timestamptz,               -- last message delivered
    clicked_at  timestamptz,
    bought_at   timestamptz,
    accepted    timestamptz[] not null default '{}',    -- marketing mail accepted recently, newest last, at most 30
    primary key (address_key, account_id)
);
alter table recipient_activity set (fillfactor = 80);
alter table recipient_activity alter column accepted set statistics 0;

create table suppression (
    address_key bytea not null,
    account_id  bigint not null,            -- 0: all accounts
    topic       text not null default '',   -- '' all mail, '*' all marketing, otherwise that topic
    address     text,                       -- null: an unsubscribe link carries only the hash
    reason      text not null check (reason in (
        'soft_bounces', 'hard_bounce', 'requested', 'revoked', 'unsubscribe', 'manual', 'complaint', 'objection',
        'erased'
    )),
    detail      text not null default '',   -- the reason in words
    rule        text not null,
    evidence    text not null,
    message_id  uuid,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz,                -- null: never. What a person has asked for never expires.
    primary key (address_key, account_id, topic),
    check (expires_at is null or reason in ('soft_bounces', 'hard_bounce', 'manual'))
);
create index on suppression (account_id, created_at, address_key, topic);
create index on suppression (created_at, address_key, account_id, topic);
create index on suppression (expires_at) where expires_at is not null;
