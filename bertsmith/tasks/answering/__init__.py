"""Questions about a text in, spans of that text out: extractive question answering, as SQuAD asks it.

In reading order:
    question_task     the task: files → rows, a head, scores and predictions
    settings          its settings
    files             a task's files, whatever they are called, and the questions in them; files of one's own, checked
    questions         Questions: texts, contexts, answers; what was left out, and why
    windows           questions and their contexts → token windows; spans of tokens → the context's own characters
    answering         the objectives: encoder, head, loss, the best spans of a window
    best_answers      the best spans of all windows → answers to questions
    answerer          a fine-tuned model, opened, and its answers
"""
