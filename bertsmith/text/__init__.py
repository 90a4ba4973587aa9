"""Text in, token shards out; no torch in this room.

In reading order:
    learning    a corpus → a tokenizer's folder: what `bertsmith tokenizer` does
    corpora     a path in any layout → a corpus; the registry of layouts
    layouts/    how a corpus is laid out: its files → parts → documents
    blank_lines documents between blank lines, whatever ends a line
    archives    tar, walked in memory
    compression gzip, xz, zstd, bzip2, in bounded memory
    encoding    documents → the arrays of a shard
    workers     parts of a corpus → tokens, in parallel and in corpus order
    journal     the progress of a preparation on disk, so that a killed one goes on
    prepare     corpus → data folder: parallel, restartable, the same bytes for any number of workers
    shard_checks  a shard's arrays, held to their hashes and to what a shard is
    shards      the data folder: memory-mapped token shards and their manifest
    segments    documents of a shard → training rows of a sequence length (pure functions)
    docstrings  a corpus that every installation already carries
"""
