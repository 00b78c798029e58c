"""Downloading a click log: lists of URLs and queries become pictures with their queries.

    settings.py   every choice; which of them shape the result
    lists.py      metadata.json and images.json become one table, once
    state.py      the table: what is wanted, downloaded, failed; SQLite, survives ``kill -9``
    store.py      files of the result; every step can be cut off and done again
    shards.py     tar shards and their parquet tables
    outcome.py    what can become of an image
    addresses.py  which addresses may be connected to
    urls.py       URLs as they are sent
    heads.py      heads of answers, as browsers read them
    headers.py    what headers say
    fetch.py      one request
    hosts.py      how fast each host is asked
    schedule.py   many requests: their order, retries, deadlines
    shrink.py worker.py pool.py   decoding and encoding, in processes of their own
    report.py     counts for people and programs
    run.py        all of it together; spread.py: the same over Ray

Imports nothing by itself: worker processes start from here, and their start counts.
"""
