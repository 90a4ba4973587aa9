"""A model and texts in, answers out.

Read in this order:
    predictor       a model on a machine: fill, score, replaced, classify, tag, answer, evaluate
    answers         the lines that `predict`, `score` and `evaluate` print
    file_answers    the same of a file's rows
    answer_tables   what `predict --out` writes
"""
