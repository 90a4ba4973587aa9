"""A recipe and key=value settings in, a frozen, checked settings object out.

Read in this order:
    fields    settings classes and their fields
    registry  choices by name, such as the kinds of a table, to which plugins add
    schema    the shape of a settings class: keys, the class of each table, earlier names; an object's single settings
    loading   TOML, shipped recipes and overrides → a checked object, and back
    faults    messages about a wrong setting
    plugins   Python files of the user that register more
"""
