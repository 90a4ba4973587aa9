"""Files that are complete or absent; folders with a manifest that says what they are, and that bertsmith wrote them.

Read in this order:
    places         where copies of remote files are; what to do where the disk is full
    files          atomic writes, hashes, locks; nothing is written through a link
    json_files     the one reader of JSON
    parts          names of files that several processes write a part of each
    manifests      a folder's manifest, and the types of folder
    folders        who may write in a folder, and what may be removed there
    remote         files behind addresses (s3://…), through fsspec
    file_cache     copies of such files on this disk, up to a size
    file_types     types of single file that commands write, and may write over
    results        results.json, read
    code_version   which code is running
"""
