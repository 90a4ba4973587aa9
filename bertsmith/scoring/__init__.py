"""Predictions and gold answers in, scores out, as the official script of the task counts them; no model, no torch.

Reading and scoring are apart: what scores takes plain mappings, sequences and arrays, so that fine-tuning and
`bertsmith grade` share it; what reads names a fault by its file and line or id.

In reading order:
    text_answers  texts → exact match and F1: SQuAD 1.1 and 2.0 with its thresholds, MRQA 2019
    malformed     what is done with the malformed parts of a file
    questions     SQuAD's and MRQA's gold files, predicted texts, no-answer odds
    entities      tags of words → entities → precision, recall, F1: conlleval, seqeval
    word_lines    word-per-line files, which of their lines are words, and the tags in them

The metrics of classes and numbers are in `bertsmith.tasks.metrics`; `bertsmith.tasks.grade` reads predictions of them.
"""
