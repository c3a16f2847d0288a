"""Runs command lines of pingraph as processes that need not import torch anew: it forks.

Reads jobs as JSON lines; answers each with the process id, and with the exit status at its end.
"""

import json
import multiprocessing.util
import os
import signal
import sys
import traceback


def main():
    # Imported once; torch computes nothing here, so that no thread is there to be lost by forking.
    import torch.utils.tensorboard  # noqa: F401

    import pingraph.evaluation
    import pingraph.fit
    import pingraph.grid
    import pingraph.judging
    import pingraph.leaks
    import pingraph.runs
    import pingraph.subject  # noqa: F401
    from pingraph.graph import PinBoardGraph

    PinBoardGraph.from_edges([0], [0])  # numba reads the kernels from disk: 0.6 s a command

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            become(job)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(job):
    """Be what a shell would have started for the job, up to the exit status."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, ignores it
    os.chdir(job["cwd"])
    sys.path[:0] = job["path"]
    sys.argv[1:] = job["args"]
    for descriptor, key in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        os.dup2(os.open(job[key], os.O_RDONLY if key == "stdin" else os.O_WRONLY), descriptor)
    status = 1
    try:
        from pingraph.cli import main as command

        command(job["args"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        multiprocessing.util._exit_function()  # ends the data-loader workers
        os._exit(status)


if __name__ == "__main__":
    main()
