"""A checkpoint and a labelled task in, scores and predictions out.

In reading order:
    finetune        the program: task, model, a trial a seed, results.json
    recipe          what it can be told
    task            what a task is: Task, Examples, LabelledData
    tables          TSV, CSV, JSONL and Parquet files → columns
    glue            the GLUE tasks, one row a task
    custom          a task of one's own
    sentences       word-per-line files → a tagging task
    encode          texts and pairs of texts → token rows
    encode_words    sentences of words → token rows, and where each word's first piece is
    starting_point  the model that fine-tuning starts from: a pre-training run or a Hugging Face folder
    classification  the objective: encoder, head, loss; layer-wise learning rates
    tagging         the objective of a tagging task: an answer a word
    trial           one seed: train, predict, score
    metrics         predicted classes and numbers → scores
    tag_scores      predicted tags → scores
    runs            a run folder, read: what export starts from
    classifier      a fine-tuned model, opened, and its answers about texts
    tagger          a fine-tuned tagging model, opened, and its tags of words
    answering/      questions about a text as token windows, and spans of these as the text's own characters
    submission      the GLUE server's files
    submit          the test sets, answered by a run's trials, as such files
    scoring/        predicted texts, tags and labels, anybody's, against gold files
"""
