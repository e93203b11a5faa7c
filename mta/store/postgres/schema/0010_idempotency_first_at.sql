-- compatible: 8
-- When a request was made for the first time: what it queued is looked for from there on, not among the messages of days.

alter table idempotency add column first_at timestamptz not null default now();
update idempotency set first_at = begun_at - interval '3 days';
