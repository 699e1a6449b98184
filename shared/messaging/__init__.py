"""Everything that knows NATS or FastStream: nothing else in the project imports either.

``broker`` connects, ``publishing`` sends, ``consuming`` handles durable consumers, ``following`` keeps views of last
values, ``requests`` asks and answers, ``outbox_postgres`` moves committed events to the streams, ``provisioning`` makes
the server equal to the catalogue, ``health`` and ``runtime`` make a service out of it.
"""
