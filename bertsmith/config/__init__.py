"""A recipe and key=value settings in, a frozen, checked settings object out.

Read in this order:
    fields    how a settings class is written
    registry  the kinds of a table and other choices, to which plugins add
    schema    the shape of a settings class: keys, and which class stands at each table
    leaves    its single settings, by key, and those of another kind than it is
    renamed   earlier names of settings
    loading   TOML, shipped recipes and overrides → a checked object, and back
    faults    what is wrong with a setting, in words
    plugins   files of the user's that register more
"""
