"""Kinds of answers to texts: a class, any number of labels, a number. A new kind is a file here,
a branch of `task_spec.answer_kind_of`, and one of `texts/examples.py` for the user's own files.

Shapes: N texts, C outputs of the head.

In reading order:
    answer_kind   what all kinds own
    labels        one label, or any number of them
    number        a number
"""
