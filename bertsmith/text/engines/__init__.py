"""Engines, one file each: where the work on a corpus is done.

engine     what each of them is, and tasks → their results in order
processes  this process, or several on this machine
ray_worker, ray_cluster, ray  tasks of Ray, on a cluster or on this machine
registry   the engines by name
settings   which of them does the work, and with how many workers
"""
