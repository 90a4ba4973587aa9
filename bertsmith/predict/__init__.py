"""A model and texts in, answers out.

In reading order:
    predictor       a model on a machine: fill, score, replaced, classify, tag, answer, embed, evaluate
    embedding       texts → vectors, by an encoder and a way of pooling
    pipelines       rows → lines of answers: classify, tag, answer, fill, detect replaced, score
    rows            the rows of texts, of a table and of words, and their answers; the table of `predict --out`
    vectors         a file of texts → a NumPy file of vectors
    sts             cosines of texts' vectors held to STS-B's scores
    submit          GLUE's test sets, answered by a run's trials, in the archive of its server; a file of questions
    evaluate        `evaluate`: held-out losses, BLiMP, STS-B and a quick reading of GLUE, of any model
"""
