"""Text in, token shards out; no torch in this room.

In reading order:
    learning    a corpus → a tokenizer's folder: what `bertsmith tokenizer` does
    corpora     a path in any layout → a corpus
    units       a corpus → pieces that can be read apart
    unit_kinds  such a piece → its documents
    text_files  where big text files are cut
    blank_lines where blank lines are, whatever ends a line
    archives    tar, walked in memory
    compression gzip, xz, zstd, bzip2, in bounded memory
    columns     a text column of a Parquet file
    encoding    documents → the arrays of a shard
    workers     units → encoded units, in parallel and in corpus order
    journal     what is done so far, so that a killed prepare goes on
    prepare     corpus → data folder: parallel, restartable, the same bytes for any number of workers
    shard_checks  a shard's arrays, held to their hashes and to what a shard is
    shards      the data folder: memory-mapped token shards and their manifest
    segments    documents of a shard → training rows of a sequence length (pure functions)
    docstrings  a corpus that every installation already carries
"""
