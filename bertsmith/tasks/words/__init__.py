"""Sentences of words in, a tag for each word out.

In reading order:
    tag_task      the task: files → rows, encoder, head and loss, scores and predictions
    sentences     word-per-line files and tables → a tagging task; its sentences as token rows
    tagger        a fine-tuned model, opened, and its tags of words
"""
