"""Texts and pairs of texts in, classes, labels or numbers out.

In reading order:
    text_task         the task: files → rows, encoder, head and loss, scores and predictions
    examples          texts with their answers, read from a task of one's own, and as token rows
    classifier        a fine-tuned model, opened, and its answers about texts
"""
