"""A model and texts in, answers out.

Read in this order:
    predictor       a model on a machine: fill, score, replaced, classify, tag, answer, evaluate
    lines           an answer as a line, as JSON and as columns of a table
    pipelines       what a model can be asked of rows: classify, tag, answer, fill, judge, score
    rows            the rows of texts, of a table and of words
    answers         what `predict` and `score` print and write
    evaluation      what `evaluate` prints
    answer_tables   what `predict --out` writes
"""
