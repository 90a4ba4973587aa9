"""Files that are whole or absent; folders that say what they are and whose.

Read in this order:
    files          atomic writes, hashes, locks; nothing is written through a link
    json_files     the one reader of JSON
    manifests      a folder's manifest
    folder_kinds   what is made in each kind of folder
    identities     what tells one run from another
    folders        who may write in a folder, and what may be removed there
    outputs        which files a command may write to
    results        results.json, read
"""
