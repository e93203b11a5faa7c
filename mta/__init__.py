"""The service, stage by stage, in the order a message meets them.

``mail``      the nouns: addresses, messages, replies, deliveries
``inbound``   1. a client's session; one message is accepted or refused
``signing``   2. DKIM
``queue``     3. lanes decide which delivery starts when; outcomes are settled
``outbound``  4. MX, TLS, connections, the SMTP transaction with the receiver
``returns``   5. what comes back: bounces, complaints, unsubscribes by mail, letters
``store``     PostgreSQL: the queue, accounts, suppressions, events
``observe``   what operators see: events, metrics, live traces
``web``       health and metrics over HTTP, pages for recipients, webhooks
``worker``    one process with all stages plugged together; ``supervisor`` keeps the processes
``cli``       the ``mta`` command
"""
