"""Run folders → one self-contained HTML page.

In reading order:
    page         the page, with a section for each kind of run
    runs         reading a run folder, finished or not; titles of measures and metrics
    facts        data, model, training and speed, as rows of a table
    scores       fine-tuning scores beside published ones; of GLUE runs both averages, then every task
    averages     published scores, with source and protocol; the two ways of averaging GLUE; its results as text
    charts       measures by step → plotly figures
    markup       escaped text, tables; the page's style, script and frame
"""
