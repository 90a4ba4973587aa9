"""The program: what is typed in, lines for people or JSON for programs out. Nothing else prints an answer or exits.

Read in this order:
    app          the verbs and their options; each imports its room when it is called
    tasks        the verbs of labelled tasks
    planning     the verbs that train nothing: recipe, show, plan, doctor
    arguments    what the verbs share: their arguments, what is said last, how they are stopped
    usage        what is said of a command line that does not parse
    show         the settings of a recipe; what a folder holds
    overview     `show` without a name
    answers      what `predict`, `score` and `evaluate` print
    plan_tables  what `plan` prints
"""
