"""Text in, token shards out; no torch in this room.

In reading order:
    corpora       a path in any layout → a corpus; the registry of layouts
    layouts/      a corpus's files → parts → documents
    blank_lines   documents between blank lines, with any line ends
    archives      tar, read in memory
    compression   gzip, xz, zstd, bzip2, in bounded memory
    learning      a corpus → a trained tokenizer's folder
    encoding      documents → the arrays of a shard
    workers       parts of a corpus → tokens, in parallel and in corpus order
    journal       the progress of a preparation on disk, so that a killed one continues
    prepare       a corpus → a data folder: parallel, restartable, the same bytes for any number of workers
    shard_checks  hashes and formats of a shard's files
    shards        the data folder: memory-mapped token shards and their manifest
    segments      documents of a shard → training rows of a sequence length (pure functions)
    docstrings    English text out of the installed packages, for the quickstart
"""
