-- What operators and accounts do over the command line, the API and the pages: tokens, the audit, repeated requests.

create table api_token (
    id          bigint generated always as identity primary key,
    name        text not null unique,       -- never given twice, so that old records stay unambiguous
    digest      bytea not null unique,      -- SHA-256 of the token, which has 256 random bits
    role        text not null check (role in ('operator', 'abuse_desk', 'account')),
    account_id  bigint references account,
    scopes      text[],                     -- null: all that the role may do
    created_by  text not null,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    last_used_at timestamptz,               -- to the minute
    last_used_from text,                    -- IP address
    check ((role = 'account') = (account_id is not null))
);
create index on api_token (account_id);

-- Written before a change is made and completed after it: there is no change without its row.
create table audit (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    actor       text not null,              -- 'ann', 'token deploy'
    role        text not null,
    via         text not null check (via in ('cli', 'api', 'page')),
    source      text not null default '',   -- IP address of the client
    action      text not null,              -- 'suppression.remove'
    subject     text not null default '',   -- what it was done to
    account_id  bigint,
    address_key bytea,                      -- of the recipient that it is about, for erasure
    reason      text not null default '',
    outcome     text not null default 'begun' check (outcome in ('begun', 'done', 'refused', 'failed')),
    before      jsonb,
    after       jsonb
);
create index on audit (account_id, id);
create index on audit (at);
create index on audit (address_key) where address_key is not null;

-- The result of a request that a client may repeat (Idempotency-Key), so that a repetition changes nothing.
create table idempotency (
    token_id    bigint not null references api_token,
    key         text not null,
    request     bytea not null,             -- SHA-256 of method, path and body
    begun_at    timestamptz not null default now(),
    status      int,                        -- null: still running, or its process died
    headers     jsonb,
    body        bytea,                      -- sealed
    primary key (token_id, key)
);
create index on idempotency (begun_at);

-- What takes longer than a request: imports.
create table job (
    id          bigint generated always as identity primary key,
    kind        text not null,
    account_id  bigint references account,      -- null: about all
    state       text not null default 'running' check (state in ('running', 'done', 'failed')),
    created_by  text not null,
    created_at  timestamptz not null default now(),
    changed_at  timestamptz not null default now(),
    finished_at timestamptz,
    result      jsonb not null default '{}',    -- counts
    errors      jsonb not null default '[]'     -- the first mistakes, with their lines
);
create index on job (account_id, id);
