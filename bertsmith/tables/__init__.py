"""TSV, CSV, JSONL and Parquet files in, checked columns out.

In reading order:
    files        a file → a table of the wanted columns, each of whose cells is read by one function
    rows         a file's rows with their lines, as its layout has them
    cells        values in cells → texts, labels, words, numbers
    cell_lists   lists in cells, as Python, NumPy and JSON write them
    labels       what makes two labels one, and what a class is called
"""
