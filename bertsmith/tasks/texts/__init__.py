"""Texts and pairs of texts in, classes, labels or numbers out.

In reading order:
    text_task         the task: files → rows, a head, scores and predictions
    examples          texts with their answers
    columns           a task of one's own
    encode            texts and pairs of texts → token rows
    classification    the objective: encoder, head, loss
    classifier        a fine-tuned model, opened, and its answers about texts
    predicted_labels  … read: anybody's predicted classes and numbers
"""
