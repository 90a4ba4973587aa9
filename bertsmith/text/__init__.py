"""Text in, token shards out; no torch in this room.

In reading order:
    tokenizer   WordPiece: a vocabulary file or a tokenizer file → ids, as transformers' fast BERT tokenizer gives them
    vocabulary  a corpus → a WordPiece vocabulary
    corpora     a path in any layout → documents, in units that can be read apart
    prepare     corpus → data folder: parallel, restartable, the same bytes for any number of workers
    shards      the data folder: memory-mapped token shards and their manifest
    docstrings  a corpus that every installation already carries
    segments    documents of a shard → training rows of a sequence length (pure functions)
"""
