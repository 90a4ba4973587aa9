"""Run folders in, one self-contained HTML page out.

In reading order:
    page         the page: a section for each kind of run, put together and written
    runs         a run folder, finished or not → Run
    facts        what was trained on what, as rows of a table
    scores       fine-tuning scores beside published ones
    glue_scores  GLUE runs beside published models: both averages, then every task
    published    the published ones, with source and protocol
    averages     the two ways of averaging GLUE
    glue_table   all of GLUE as text, with both averages beside published ones
    charts       measures by step → charts (plain plotly figures)
    metric_names what metrics are called, for people
    markup       escaped text, tables
    template     the page's style, script and frame
"""
