"""Text in, token shards out; no torch in this room.

In reading order:
    corpus_files  the files of a corpus, in a folder or behind an address
    corpora       a path in any layout → a corpus; the registry of layouts
    named_corpora the corpora of a recipe, one or several by name
    layouts/      a corpus's files → parts → documents
    blank_lines   documents between blank lines, with any line ends
    archives      tar, read in memory
    compression   gzip, xz, zstd, bzip2, in bounded memory
    learning      a corpus → a trained tokenizer's folder
    shares        a corpus shared out to machines that need not know of each other
    encoding      documents → the arrays of a shard
    pieces        tokens of a part of a corpus on disk, and shards that are put together of them
    part_encoder  a part of a corpus → its pieces: what a worker does
    engines/      where tasks are done; a registry of engines
    data_folders  what else may be in a folder that is made
    journal_lines the lines of a journal as they are read back
    journal       the progress of a preparation on disk, so that a killed one continues
    assembly      full shards, put together by workers and noted down in order
    uploading     a preparation whose data folder is in object storage
    shard_making  a corpus → the shards of a folder
    prepare       a corpus → a data folder: parallel, restartable, the same bytes for any number of workers
    merging       shares that were prepared each by itself → a data folder
    shard_checks  hashes and formats of a shard's files
    data_files    where these are read: in a folder, or as copies of those behind an address
    shards        the data folder: memory-mapped token shards and their manifest
    weights       of several corpora: shares of the training tokens
    segments      documents of a shard → training rows of a sequence length (pure functions)
    docstrings    English text out of the installed packages, for the quickstart
"""
