"""A corpus in, its documents that pass the published rules out, each text once; on datatrove.

In reading order:
    recipe       settings: which rules, with which thresholds
    words        words and sentences of a text, without a model
    language     the language of a text, by fastText's model
    tally        what was read, kept and dropped, by reason, with a sample
    rules        settings → datatrove's filters, each with its place in the tally
    documents    documents out of a corpus, and to and from files of JSON lines
    stages       a recipe → steps of datatrove, in stages of tasks
    tasks        a task of a stage, wherever it is done
    slurm        stages as jobs of SLURM
    filter       a corpus → a folder of JSON lines, its counts and its sample
"""
