"""Sentences of words in, a tag for each word out.

In reading order:
    tag_task      the task: files → rows, encoder, head and loss, scores and predictions
    sentences     word-per-line files and tables → a tagging task
    encode_words  sentences of words → token rows, and where each word's first piece is
    tagger        a fine-tuned model, opened, and its tags of words
"""
