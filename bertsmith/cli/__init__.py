"""The program: a command line in, lines for people or JSON for programs out. Nothing else prints a result or exits.

Read in this order:
    app          the verbs and their options; each imports its room when it is called
    preparing    the verb `prepare`: a corpus, a part of one, or parts to merge
    filtering    the verb `filter`: a corpus's documents that pass, and a table of what was dropped
    tasks        the verbs of labelled tasks
    asking       the verbs that ask a model: evaluate, predict, score, embed
    planning     the verbs that train nothing: recipe, show, plan, doctor
    records      the verb of the record: an entry is written or checked
    arguments    shared by the verbs: their arguments, their last lines, how they are stopped
    usage        errors of a command line that does not parse
    show         `show`: settings of recipes and verbs, contents of folders
    answers      the results of `predict`, `score`, `evaluate` and `plan`
"""
