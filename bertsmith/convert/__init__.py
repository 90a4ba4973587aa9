"""Our runs ↔ other people's formats.

In reading order:
    export         a run → a Hugging Face folder, or two where it trained a generator
    importing      another program's model → the same
    from_electra   the settings of google-research/electra → a recipe
"""
