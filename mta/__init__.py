"""The service, stage by stage, in the order a message meets them.

``mail``         types: addresses, messages, replies, deliveries
``smtp_server``  the SMTP protocol, server side, for submission and for reports
``submission``   1. accept or reject a message: facts, policy chain, signature, commit
``dkim``         2. signatures, keys and their DNS records
``queue``        3. ready queues decide which delivery starts when; outcomes are recorded
``delivery``     4. MX, TLS, connections, the SMTP transaction with the receiver
``reports``      5. bounces, complaints, unsubscribes and abuse mail
``store``        PostgreSQL: queue, accounts, suppressions, events
``observe``      what operators see: events, metrics, live traces
``web``          health and metrics over HTTP, pages for recipients, webhooks
``service``      supervisor, workers, web processes and periodic jobs; all stages are composed here
``cli``          the ``mta`` command
"""

__distribution__ = "imprimatur-mta"
