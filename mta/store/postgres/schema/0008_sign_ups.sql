-- Sign-up forms, and what people asked for with them.

create table sign_up_form (
    id          text collate "C" primary key,   -- 22 random hexadecimal digits, in its URL
    account_id  bigint not null references account,
    name        text not null,
    form        json not null,              -- policy.permission.sign_up_form.SignUpForm
    created_at  timestamptz not null default now(),
    created_by  text not null,
    closed_at   timestamptz,
    closed_by   text,
    unique (account_id, name)
);

-- One request of a person. Its texts are kept as they were shown: the form may change before they confirm.
create table sign_up (
    id          bigint generated always as identity primary key,
    form_id     text collate "C" not null references sign_up_form,
    account_id  bigint not null,
    address     text not null,
    address_key bytea not null,
    client      text not null,              -- IP address
    network     text not null,              -- IPv4 address, or /64 of the IPv6 address, as limits count it
    asked       jsonb not null,             -- topics, language, statement, its version, sponsors, page, agent
    at          timestamptz not null default now(),
    claimed_at  timestamptz,                -- when the mail was last composed; tried again until it is queued
    sent_at     timestamptz,
    confirmed_at timestamptz,
    confirm_client text,
    recorded_at timestamptz                 -- when the consent was in the ledger
);
create index on sign_up (at);
create index on sign_up (form_id);
create index on sign_up (address_key, at);
create index on sign_up (network, at);
create index on sign_up (id) where sent_at is null;
create index on sign_up (id) where confirmed_at is not null and recorded_at is null;
