"""Published tasks: a file for each, or for tasks whose files are alike, with its `SPECS`; the registry takes all.

boolq     BoolQ, of SuperGLUE
chunking  CoNLL-2000
glue      the GLUE tasks
mrqa      MRQA 2019: NewsQA, Natural Questions, TriviaQA, SearchQA
squad     SQuAD 1.1 and 2.0
"""
