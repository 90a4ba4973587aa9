"""Questions about a text in, spans of that text out: extractive question answering, as SQuAD asks it.

In reading order:
    squad    files in SQuAD's layout → Questions, checked
    windows  questions and their contexts → token windows; spans of tokens → the context's own characters
"""
