-- compatible: 8
-- What was found in a list named the other account to the account: in the finding, and in the account's history.

update list_finding set text = regexp_replace(text, 'in a list of account .+, too$', 'in a list of another account, too')
where sign = 'overlap';

update account_change set data = jsonb_set(data, '{text}', to_jsonb(
    regexp_replace(data ->> 'text', 'in a list of account .+, too$', 'in a list of another account, too')
))
where kind = 'list' and data ->> 'sign' = 'overlap';
