"""Layouts of a corpus, one file each: files → parts of a few megabytes, which workers read; `corpora` registers them.

layout       what each of them is made of
openwebtext  tar archives, and archives of archives
plain_text   text files, and where big ones are cut
json_lines   a field of JSON lines
parquet      a text column of Parquet files
"""
