"""Stands in for a process of trials, without torch: does what a trial's source says ("act"), in lines as those are."""

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.stdin.readline()
signal.pthread_sigmask(signal.SIG_SETMASK, ())
for line in sys.stdin:
    job = json.loads(line)
    act, folder = job["source"]["act"], Path(job["folder"])
    begun = folder.with_name(f"{folder.name}.begun")
    again = begun.exists()
    begun.touch()
    print(json.dumps({"outcome": "read", "text": "2 classes\nof 20"}), flush=True)
    answer = {"outcome": "done"}
    partial = folder.with_name(f"{folder.name}.bertsmith-partial")
    partial.mkdir(exist_ok=True)
    if act == "die" or (act == "die once" and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "die done":
        partial.rename(folder)
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "close" and not again:
        os.close(1)
        time.sleep(60)
    elif act == "end":
        sys.exit(3)
    elif act == "refuse":
        answer = {"outcome": "refused", "text": "the disk is full"}
    elif act == "fail":
        answer = {"outcome": "failed", "text": "KeyError: 'x'", "traceback": "Traceback: line 7"}
    elif act in ("wait", "wait for ever"):
        print(f"at work\n{folder.name}: 50 %", file=sys.stderr, flush=True)
        begun.write_text(str(os.getpid()))
        time.sleep(1.5 if act == "wait" else 60)
    partial.rmdir()
    folder.with_name(f"{folder.name}.done").touch()
    print(json.dumps(answer), flush=True)
