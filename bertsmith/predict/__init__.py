"""A model and texts in, answers out.

Read in this order:
    predictor       a model on a machine: fill, score, replaced, classify, tag, answer, evaluate
    pipelines       what a model can be asked of rows: classify, tag, answer, fill, judge, score; the lines that answer
    rows            the rows of texts, of a table and of words, and their answers
    answer_tables   what `predict --out` writes
    submit          GLUE's test sets, answered by a run's trials
    glue_archive    … as the files that the GLUE server takes
    answer_file     a file of questions, answered by a run's trial, as SQuAD's server takes it
"""
