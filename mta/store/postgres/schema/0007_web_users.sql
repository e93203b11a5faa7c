-- People who log in to the pages, and their sessions.

create table web_user (
    id          bigint generated always as identity primary key,
    name        text not null unique,       -- as it is typed, lower case; never given twice
    role        text not null check (role in ('operator', 'abuse_desk', 'account')),
    account_id  bigint references account,
    password    text,                       -- argon2id hash; null: none is set
    totp        bytea,                      -- the secret of the authenticator app, sealed; null: none is set
    totp_step   bigint not null default 0,  -- of the last code that was taken: no code is taken twice
    failures    int not null default 0,     -- wrong passwords and codes in a row
    locked_until timestamptz,
    disabled_at timestamptz,
    created_by  text not null,
    created_at  timestamptz not null default now(),
    last_login_at timestamptz,
    last_login_from text,                   -- IP address
    check ((role = 'account') = (account_id is not null))
);
create index on web_user (account_id);

create table passkey (                      -- WebAuthn
    id          bytea primary key,          -- of the credential
    user_id     bigint not null references web_user,
    name        text not null,              -- the user's own, such as "office laptop"
    public_key  bytea not null,
    sign_count  bigint not null,
    created_at  timestamptz not null default now(),
    last_used_at timestamptz
);
create index on passkey (user_id);

create table web_session (
    digest      bytea primary key,          -- SHA-256 of what the cookie holds, which has 256 random bits
    user_id     bigint not null references web_user,
    waits_for_code bool not null,           -- the password was right, and the code is still to come
    created_at  timestamptz not null default now(),
    seen_at     timestamptz not null default now(),     -- to the minute
    expires_at  timestamptz not null,
    source      text not null,              -- IP address at the login
    agent       text not null               -- User-Agent at the login, shortened
);
create index on web_session (user_id);
create index on web_session (expires_at);

create table login_link (                   -- logs in once, to set up a password or passkey
    digest      bytea primary key,
    user_id     bigint not null references web_user,
    expires_at  timestamptz not null
);

create table passkey_challenge (            -- each is answered once
    challenge   bytea primary key,
    user_id     bigint references web_user, -- who adds a passkey; null: someone logs in
    expires_at  timestamptz not null
);
